//! A worker with a sector whose precommit is on chain, and a manager that has lost its database,
//! has an old one, works on another network, or is no manager of this house at all: nothing of
//! the sector is removed, each time the worker says what is wrong and what to do, and with the
//! right manager back the sector is finished.

use anyhow::{Context, Result, bail, ensure};
use damocles_api::{code, worker::WorkerClient};
use damocles_e2e::{
    copy::copy,
    house::{Files, House, MINER, Role},
    process,
    scenario::{Gate, scenario},
};
use damocles_types::SectorId;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SECTOR: SectorId = SectorId::new(MINER, 1);
const SOON: Duration = Duration::from_secs(120);
/// A C2 takes most of a minute on two cores, and longer on a busy machine.
const A_C2: Duration = Duration::from_secs(400);

#[test]
fn a_manager_that_does_not_know_a_sector_costs_none() {
    let limit = Duration::from_secs(900);
    scenario("lost-manager", Files::gated(), 1, limit, async |house| {
        let c2 = Gate::of(house, "c2");
        c2.shut("after")?;
        house.start_devnet().await?;
        // what a backup of the day before has: a database without the sector
        house.start_manager().await?;
        house.stop(Role::Manager)?;
        copy(&house.path("manager"), &house.path("yesterday"))?;
        house.start_manager().await?;
        house.start_worker().await?;
        house
            .until("C2 to be done, and its answer held", A_C2, async || {
                Ok(c2.holds().then_some(()))
            })
            .await?;
        let sealed = files(&house.path("threads/0/data"))?;
        ensure!(!sealed.is_empty(), "a sealed sector is on disk");
        house.stop(Role::Manager)?;
        fs::rename(house.path("manager"), house.path("today"))?;
        c2.open()?;

        // an empty database, made by `daemon init` in a new home
        house.start_manager().await?;
        held_back(house, "an empty manager").await?;
        unharmed(house, &sealed)?;
        put_away(house)?;

        fs::rename(house.path("yesterday"), house.path("manager"))?;
        house.start_manager().await?;
        resume(house).await?;
        held_back(house, "a manager of yesterday").await?;
        unharmed(house, &sealed)?;
        put_away(house)?;

        // somebody who says of everything that it is over, as upstream's code has it
        let stranger = Stranger::listen(&house.manager_address()?).await?;
        resume(house).await?;
        held_back(house, "a stranger").await?;
        unharmed(house, &sealed)?;
        drop(stranger);

        another_network(house).await?;
        unharmed(house, &sealed)?;

        house.start_manager().await?;
        resume(house).await?;
        house
            .until("the sector to be finished", SOON, async || {
                let sectors = house.sectors().await?;
                Ok(sectors.first().filter(|s| s.finalized).map(|_| ()))
            })
            .await?;
        ensure!(c2.calls() == (1, 1), "C2 ran once: {:?}", c2.calls());
        Ok(())
    });
}

/// The right database over a chain that is not its own: the manager judges nothing and ends.
async fn another_network(house: &House) -> Result<()> {
    fs::rename(house.path("today"), house.path("manager"))?;
    house.stop(Role::Devnet)?;
    fs::rename(house.path("devnet"), house.path("devnet.ours"))?;
    house.start_devnet().await?;
    // it may serve for a moment, until it has met the node
    let started = house.start_manager().await;
    let ended = house
        .until("the manager to end", SOON, async || {
            Ok(house.check_alive().is_err().then_some(()))
        })
        .await;
    ensure!(
        started.is_err() || ended.is_err(),
        "it works on a network that is not its own"
    );
    let said = fs::read_to_string(house.log(Role::Manager))?;
    ensure!(
        said.contains("network"),
        "it says that the network is another one:\n{}",
        process::tail(&house.log(Role::Manager), 20)
    );
    house.bury(Role::Manager);
    house.stop(Role::Devnet)?;
    fs::remove_dir_all(house.path("devnet"))?;
    fs::rename(house.path("devnet.ours"), house.path("devnet"))?;
    house.start_devnet().await
}

/// Stops the wrong manager and puts its home out of the way.
fn put_away(house: &House) -> Result<()> {
    house.stop(Role::Manager)?;
    Ok(fs::remove_dir_all(house.path("manager"))?)
}

async fn resume(house: &House) -> Result<()> {
    house.worker()?.typed().worker_resume(0, None).await?;
    Ok(())
}

/// The thread stands for a person, or waits until the right manager answers; it says why, and says
/// what to do.
async fn held_back(house: &House, who: &str) -> Result<()> {
    let waiting = format!("the thread to be held back by {who}");
    let thread = house
        .until(waiting, SOON, async || {
            let thread = house.threads().await?.into_iter().next().context("one")?;
            let held = matches!(
                thread.thread_state,
                damocles_api::worker::ThreadState::Paused { .. }
                    | damocles_api::worker::ThreadState::Waiting { .. }
            );
            // not the pause before the new manager is met
            let met = thread
                .last_error
                .as_ref()
                .is_some_and(|e| !e.contains("cannot be reached"));
            Ok((held && met && thread.hint.is_some()).then_some(thread))
        })
        .await?;
    ensure!(
        thread.job_id.as_deref() == Some(&*SECTOR.to_string()),
        "{thread:#?}"
    );
    ensure!(thread.job_state != "Aborted", "{thread:#?}");
    let hint = thread.hint.unwrap_or_default();
    ensure!(!hint.is_empty(), "what to do: {:?}", thread.last_error);
    Ok(())
}

/// Every file of the sector is there, whole.
fn unharmed(house: &House, sealed: &BTreeMap<PathBuf, u64>) -> Result<()> {
    let now = files(&house.path("threads/0/data"))?;
    for (path, size) in sealed {
        ensure!(
            now.get(path) == Some(size),
            "{} had {size} bytes, and has {:?}",
            path.display(),
            now.get(path)
        );
    }
    Ok(())
}

/// Files below `root` with their sizes.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path(), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// Answers every call with upstream's word that the sector is over.
struct Stranger(tokio::task::JoinHandle<()>);

impl Stranger {
    async fn listen(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self(tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(answer(caller));
            }
        })))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(mut caller: TcpStream) -> Result<()> {
    loop {
        let request = read_request(&mut caller).await?;
        let message = format!(
            "error code {0}: sector state not found: {SECTOR}",
            code::SECTOR_STATE_NOT_FOUND
        );
        let body = json!({
            "jsonrpc": "2.0",
            "id": request["id"],
            "error": {"code": code::SECTOR_STATE_NOT_FOUND, "message": message},
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        caller.write_all(head.as_bytes()).await?;
        caller.write_all(body.as_bytes()).await?;
    }
}

/// The body of the next HTTP request on a connection.
async fn read_request(caller: &mut TcpStream) -> Result<Value> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .context("a length")?;
            let length: usize = length.trim().parse()?;
            if bytes.len() >= end + 4 + length {
                return Ok(serde_json::from_slice(&bytes[end + 4..end + 4 + length])?);
            }
        }
        if caller.read_buf(&mut bytes).await? == 0 {
            bail!("the caller hung up");
        }
    }
}
