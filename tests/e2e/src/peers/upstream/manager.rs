//! Upstream's manager: its home, its daemon, and its command line against any manager.

use super::messager::Messager;
use crate::{
    house::{House, checkout},
    process::{self, Daemon, Said},
    render,
    rpc::Rpc,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(120);
/// How long one of its commands may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A home of upstream's manager beside a house, with a config for the house's chain.
#[derive(Debug)]
pub(super) struct Manager {
    program: PathBuf,
    home: PathBuf,
    /// `host:port` of the manager that its command line speaks to.
    pub(super) address: String,
}

impl Manager {
    /// Makes the home. Its daemon will listen at a port that is free now, unless `address` names
    /// another manager for the command line.
    pub(super) async fn furnish(
        program: &Path,
        house: &House,
        messager: &Messager,
        sectors: u64,
        address: Option<String>,
    ) -> Result<Self> {
        let home = house.path("upstream");
        fs::create_dir_all(&home).with_context(|| format!("{} cannot be made", home.display()))?;
        let node = house.node_address()?;
        let node = format!("{}:{}", house.node_token()?, multiaddr(&node, "ws")?);
        let values = [
            ("NODE", node.as_str()),
            ("MESSAGER", &multiaddr(&messager.address, "http")?),
            ("HOME", &house.home().to_string_lossy()),
            ("SECTORS", &sectors.to_string()),
            ("SENDER", &house.node()?.key().await?),
        ];
        let config = checkout().join("tests/e2e/config/upstream.cfg");
        render::file(&config, &home.join("sector-manager.cfg"), &values)?;
        let address = match address {
            Some(address) => address,
            None => format!("127.0.0.1:{}", damocles_test_ports::port()),
        };
        Ok(Self {
            program: program.to_owned(),
            home,
            address,
        })
    }

    /// Starts the daemon with its poster and waits until it answers.
    pub(super) async fn start(&self, house: &House) -> Result<Daemon> {
        let mut command = process::foreign(&self.program);
        command.arg("--home").arg(&self.home).args([
            "daemon",
            "run",
            "--poster",
            "--listen",
            &self.address,
        ]);
        let mut daemon = house.start_beside("upstream-manager", command)?;
        house
            .until("upstream's manager to answer", START, async || {
                if let Err(dead) = daemon.check_alive() {
                    return Ok(Some(Err(dead)));
                }
                let version = self.rpc()?.call::<String>("Venus.Version", []).await?;
                Ok(Some(Ok(version)))
            })
            .await??;
        Ok(daemon)
    }

    /// The door of the manager that it is or speaks to.
    pub(super) fn rpc(&self) -> Result<Rpc> {
        Rpc::new(&format!("http://{}/rpc/v0", self.address), None)
    }

    /// What one of its `util` commands says.
    pub(super) async fn util(&self, words: &[String]) -> Result<Said> {
        let mut command = process::foreign(&self.program);
        command
            .arg("--home")
            .arg(&self.home)
            .args(["util", "--listen", &self.address])
            .args(words);
        process::run(command, COMMAND).await
    }
}

/// What it says of itself, as `0.13.1 (…)`.
pub(super) async fn version(program: &Path) -> Result<String> {
    let mut command = process::foreign(program);
    command.arg("--version");
    let said = process::run(command, COMMAND).await?;
    match said.out.trim().rsplit_once(' ') {
        Some((_, version)) if said.status.success() => Ok(version.to_owned()),
        Some(_) | None => bail!("it does not tell its version: {}{}", said.out, said.err),
    }
}

/// `/ip4/127.0.0.1/tcp/81/http` for `127.0.0.1:81`.
fn multiaddr(address: &str, scheme: &str) -> Result<String> {
    let (host, port) = address.rsplit_once(':').context("an address has a port")?;
    Ok(format!("/ip4/{host}/tcp/{port}/{scheme}"))
}
