//! Several managers of one house on one database: each with a home and an address of its own,
//! killed and started again as a test likes. The worker knows all of them.

use crate::{
    house::{House, begin_manager, manager_at},
    process::Daemon,
    rpc::{self, Rpc},
    wait,
};
use anyhow::{Context, Result, bail, ensure};
use damocles_api::{
    damocles::{DamoclesClient, RoleView},
    sealer_cli::SealerCliClient,
};
use std::{cell::RefCell, fs, path::PathBuf, time::Duration};

/// How long one may take until it answers.
const START: Duration = Duration::from_secs(90);

/// The managers.
#[derive(Debug)]
pub struct Managers<'a> {
    house: &'a House,
    config: PathBuf,
    /// How each of them reaches the database, where that differs.
    dsns: Vec<String>,
    all: Vec<Manager>,
}

#[derive(Debug)]
struct Manager {
    name: String,
    port: u16,
    running: RefCell<Option<Daemon>>,
}

impl<'a> Managers<'a> {
    /// So many, of which none runs yet. Others of the house that want a manager are told of the
    /// first, and the worker of all.
    pub fn new(house: &'a House, config: PathBuf, count: usize) -> Result<Self> {
        let mut all = Vec::with_capacity(count);
        for n in 0..count {
            all.push(Manager {
                name: format!("manager-{n}"),
                port: damocles_test_ports::port(),
                running: RefCell::default(),
            });
        }
        let address = |m: &Manager| format!("127.0.0.1:{}", m.port);
        let (first, others) = all.split_first().context("one manager at least")?;
        house.ask_manager_at(&address(first));
        let others: Vec<String> = others
            .iter()
            .map(|m| format!("\"http://{}\"", address(m)))
            .collect();
        house.fill("OTHERS", &others.join(", "));
        Ok(Self {
            house,
            config,
            dsns: Vec::new(),
            all,
        })
    }

    /// The same, each of which reaches the database in a way of its own.
    #[must_use]
    pub fn reaching(self, dsns: Vec<String>) -> Self {
        Self { dsns, ..self }
    }

    /// From now on questions go to that one.
    pub fn ask(&self, n: usize) {
        self.house
            .ask_manager_at(&format!("127.0.0.1:{}", self.all[n].port));
    }

    /// Whether that one runs.
    pub fn runs(&self, n: usize) -> bool {
        self.all[n].running.borrow().is_some()
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Status and body of a page of one of them.
    pub async fn page(&self, n: usize, path: &str) -> Result<(u16, String)> {
        rpc::get(&format!("127.0.0.1:{}", self.all[n].port), path).await
    }

    /// The door of one of them.
    pub fn door(&self, n: usize) -> Result<Rpc> {
        Rpc::new(
            &format!("http://127.0.0.1:{}/rpc/v0", self.all[n].port),
            None,
        )
    }

    /// Starts one and waits until it answers. From now on the house's questions go to it.
    pub async fn start(&self, n: usize) -> Result<()> {
        let manager = &self.all[n];
        let home = self.house.path(&manager.name);
        begin_manager(&home)?;
        if let Some(dsn) = self.dsns.get(n) {
            self.house.fill("DSN", dsn);
        }
        self.house
            .render(&self.config, &home.join("sector-manager.cfg"))?;
        let mut command = manager_at(&home)?;
        command
            .args(["daemon", "run", "--poster", "--listen"])
            .arg(format!("127.0.0.1:{}", manager.port));
        let daemon = self.house.start_beside(&manager.name, command)?;
        *manager.running.borrow_mut() = Some(daemon);
        let door = self.door(n)?;
        wait::until(format!("{} to answer", manager.name), START, async || {
            if let Some(daemon) = manager.running.borrow_mut().as_mut() {
                daemon.check_alive()?;
            }
            Ok(door.typed().version().await.ok())
        })
        .await?;
        self.house
            .ask_manager_at(&format!("127.0.0.1:{}", manager.port));
        Ok(())
    }

    /// `kill -9` of one. Questions go to one that runs.
    pub fn kill9(&self, n: usize) -> Result<()> {
        let Some(mut daemon) = self.all[n].running.borrow_mut().take() else {
            bail!("{} is not running", self.all[n].name);
        };
        daemon.kill9()?;
        let runs = self.all.iter().find(|m| m.running.borrow().is_some());
        if let Some(runs) = runs {
            self.house
                .ask_manager_at(&format!("127.0.0.1:{}", runs.port));
        }
        Ok(())
    }

    /// Stops all of them the gentle way.
    pub fn stop(&self) -> Result<()> {
        for manager in &self.all {
            if let Some(mut daemon) = manager.running.borrow_mut().take() {
                let status = daemon.stop(Duration::from_secs(30))?;
                ensure!(status.success(), "{} ended with {status}", manager.name);
            }
        }
        Ok(())
    }

    /// Which of them has a role, as the database says, and its fence.
    pub async fn holder(&self, role: &str) -> Result<Option<(usize, u64)>> {
        let roles = self.house.manager()?.typed().roles().await?;
        Ok(roles
            .iter()
            .find(|held| held.role == role)
            .and_then(|held| Some((self.named(held)?, held.fence))))
    }

    fn named(&self, held: &RoleView) -> Option<usize> {
        let by = held.by.as_deref()?;
        self.all
            .iter()
            .position(|m| by.contains(&format!(":{} ", m.port)))
    }

    /// The ends of their logs, for the report of a failure.
    pub fn logs(&self) -> Vec<PathBuf> {
        let logs = self.house.path("logs");
        let of = |m: &Manager| logs.join(format!("{}.log", m.name));
        self.all
            .iter()
            .map(of)
            .filter(|log| fs::exists(log).unwrap_or(false))
            .collect()
    }
}
