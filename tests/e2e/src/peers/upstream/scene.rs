//! A house whose parts are played by our programs or by upstream's, on a chain of the network
//! version that upstream knows.

use super::{Programs, children, manager::Manager, messager::Messager};
use crate::{
    house::{Files, House, MINER, Role, checkout},
    node::Node,
    process::{self, Daemon},
    render,
    rpc::Rpc,
};
use anyhow::{Context, Result, bail, ensure};
use damocles_node::method;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The newest network version of upstream 0.13.1.
const VERSION: u32 = 27;
/// Tickets of upstream's manager are 900 epochs old, and there shall be a chain below them.
const FIRST_EPOCHS: u64 = 1000;
const BLOCK_TIME: Duration = Duration::from_millis(500);
/// Anything but computing.
const SOON: Duration = Duration::from_secs(180);
/// A sector from nothing to its landed proof, on a busy machine.
pub(super) const A_SECTOR: Duration = Duration::from_secs(900);

/// Whose program plays a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Ours,
    Upstream,
}

impl Who {
    pub(super) const fn whose(self) -> &'static str {
        match self {
            Self::Ours => "our",
            Self::Upstream => "upstream's",
        }
    }
}

/// Who plays what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) manager: Who,
    pub(super) worker: Who,
    /// The worker's processor children.
    pub(super) children: Who,
}

impl Cast {
    /// As people say it.
    pub(super) fn title(self) -> String {
        let manager = self.manager.whose();
        let worker = self.worker.whose();
        if self.children == self.worker {
            return format!("{worker} worker under {manager} manager");
        }
        let children = self.children.whose();
        format!("{children} processors under {worker} worker")
    }

    /// The program of upstream that it needs and that is not there.
    pub(super) fn missing(self, programs: &Programs) -> Option<&'static str> {
        let worker = self.worker == Who::Upstream || self.children == Who::Upstream;
        if self.manager == Who::Upstream && programs.manager.is_none() {
            return Some(Role::Manager.program());
        }
        (worker && programs.worker.is_none()).then_some(Role::Worker.program())
    }
}

/// The running parts.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) house: House,
    cast: Cast,
    sectors: u64,
    messager: Messager,
    /// Upstream's manager or its command line; not there without its program.
    pub(super) upstream: Option<Manager>,
    worker: Option<PathBuf>,
    template: PathBuf,
    foreign: Vec<Daemon>,
}

impl Scene {
    /// The chain and what stands beside it; nobody of the cast is there yet.
    pub(super) async fn open(
        home: &Path,
        programs: &Programs,
        cast: Cast,
        sectors: u64,
    ) -> Result<Self> {
        let config = checkout().join("tests/e2e/config");
        let template = home.with_extension("worker.toml");
        let worker = match &programs.worker {
            Some(worker) => worker.clone(),
            None => process::program(Role::Worker.program())?,
        };
        children::template(cast, &worker, &template)?;
        let files = Files {
            devnet: config.join("devnet.upstream.toml"),
            worker: template.clone(),
            ..Files::demo(&checkout())
        };
        let house = House::new(home, files, sectors)?;
        house.start_devnet().await?;
        let node = house.node()?;
        become_known(&node).await?;
        let messager = Messager::start(node).await?;
        let mut scene = Self {
            house,
            cast,
            sectors,
            messager,
            upstream: None,
            worker: programs.worker.clone(),
            template,
            foreign: Vec::new(),
        };
        scene.start_manager(programs).await?;
        Ok(scene)
    }

    async fn start_manager(&mut self, programs: &Programs) -> Result<()> {
        let ours = match self.cast.manager {
            Who::Ours => {
                self.house.start_manager().await?;
                Some(self.house.manager_address()?)
            }
            Who::Upstream => None,
        };
        let Some(program) = &programs.manager else {
            return Ok(());
        };
        let (house, messager) = (&self.house, &self.messager);
        let manager = Manager::furnish(program, house, messager, self.sectors, ours).await?;
        if self.cast.manager == Who::Upstream {
            self.foreign.push(manager.start(house).await?);
            house.stand_before(Role::Manager, &manager.address);
        }
        self.upstream = Some(manager);
        Ok(())
    }

    /// Whoever manages.
    pub(super) fn manager(&self) -> Result<Rpc> {
        match (&self.upstream, self.cast.manager) {
            (Some(manager), Who::Upstream) => manager.rpc(),
            (_, Who::Ours) => self.house.manager(),
            (None, Who::Upstream) => bail!("upstream's manager is not there"),
        }
    }

    pub(super) async fn start_worker(&mut self) -> Result<()> {
        match self.cast.worker {
            Who::Ours => self.house.start_worker().await,
            Who::Upstream => self.start_their_worker().await,
        }
    }

    async fn start_their_worker(&mut self) -> Result<()> {
        let program = self.worker.clone();
        let program = program.context("upstream's worker is not there")?;
        let address = self.house.worker_address();
        let (_, port) = address.rsplit_once(':').context("an address has a port")?;
        let values = [
            ("HOME", &*self.house.home().to_string_lossy()),
            ("PORT", port),
            (
                "MANAGER",
                &format!("http://{}", self.house.manager_address()?),
            ),
        ];
        let config = self.house.path("upstream-worker.toml");
        render::file(&self.template, &config, &values)?;
        self.house.make_sealing_stores(&config, &program)?;
        let mut command = process::foreign(&program);
        command.args(["daemon", "-c"]).arg(&config);
        let mut daemon = self.house.start_beside("upstream-worker", command)?;
        let answers = self
            .house
            .until("upstream's worker to answer", SOON, async || {
                if let Err(dead) = daemon.check_alive() {
                    return Ok(Some(Err(dead)));
                }
                Ok(Some(Ok(self.threads().await?)))
            });
        answers.await??;
        self.foreign.push(daemon);
        Ok(())
    }

    /// The worker's threads as it tells of them.
    async fn threads(&self) -> Result<Vec<Value>> {
        self.house
            .worker()?
            .call("VenusWorker.WorkerList", [])
            .await
    }

    fn check_alive(&mut self) -> Result<()> {
        self.foreign.iter_mut().try_for_each(Daemon::check_alive)
    }

    /// Waits until the manager has every sector for finished and the chain has it; how many
    /// messages that took is said.
    pub(super) async fn seal(&mut self) -> Result<String> {
        self.start_worker().await?;
        let limit = A_SECTOR * self.sectors as u32;
        let what = format!("{} sectors to be finished", self.sectors);
        let manager = self.manager()?;
        let house = &self.house;
        let foreign = std::cell::RefCell::new(&mut self.foreign);
        let sectors = self.sectors;
        let door = house.worker()?;
        let done = house.until(what, limit, async || {
            let alive = (foreign.borrow_mut().iter_mut()).try_for_each(Daemon::check_alive);
            if let Err(dead) = alive {
                return Ok(Some(Err(dead)));
            }
            let threads: Vec<Value> = door.call("VenusWorker.WorkerList", []).await?;
            if let Some(stands) = threads.iter().find_map(person_called) {
                return Ok(Some(Err(stands)));
            }
            let list = [json!("offline"), json!(0)];
            let list: Option<Vec<Value>> = manager.call("Venus.ListSectors", list).await?;
            let list = list.unwrap_or_default();
            if let Some(lost) = list.iter().find_map(given_up) {
                return Ok(Some(Err(lost)));
            }
            Ok((list.len() as u64 >= sectors).then_some(Ok(())))
        });
        done.await??;
        let node = self.house.node()?;
        for number in 1..=self.sectors {
            let active = node.sector(MINER, number).await?;
            ensure!(
                active.is_some(),
                "sector {number} is finished, and not on chain"
            );
        }
        let sealed = format!("{} sectors finished and on chain", self.sectors);
        Ok(match self.cast.manager {
            Who::Ours => sealed,
            Who::Upstream => format!("{sealed} by {} messages", self.messager.count()),
        })
    }

    /// Goes on until the chain has accepted a WindowPoSt of every sector.
    pub(super) async fn prove(&mut self) -> Result<String> {
        let node = self.house.node()?;
        for number in 1..=self.sectors {
            self.prove_one(&node, number).await?;
        }
        // what a node says at its head is the state before the head's own messages
        let (seen, house) = (node.epoch().await?, &self.house);
        house
            .until("the proof to lie two epochs deep", SOON, async || {
                Ok((node.epoch().await? >= seen + 2).then_some(()))
            })
            .await?;
        let faults = node.faults(MINER).await?;
        ensure!(faults.is_empty(), "faulty sectors: {faults:?}");
        Ok(format!("{} sectors proven in their windows", self.sectors))
    }

    async fn prove_one(&mut self, node: &Node, number: u64) -> Result<()> {
        if proven(node, number, 0).await? {
            return Ok(());
        }
        let opens = node.next_opening(MINER, number).await?;
        let window = node.deadline(MINER).await?;
        // the challenge is known before the window opens
        let near = opens - window.wpost_challenge_lookback - 30;
        node.set_block_time(Duration::from_millis(20)).await?;
        let house = &self.house;
        house
            .until(format!("epoch {near}"), A_SECTOR, async || {
                Ok((node.epoch().await? >= near).then_some(()))
            })
            .await?;
        node.set_block_time(BLOCK_TIME).await?;
        let closes = opens + window.wpost_challenge_window;
        let what = format!("a WindowPoSt of sector {number} from {opens}");
        house
            .until(what, SOON, async || {
                if node.epoch().await? >= closes {
                    return Ok(Some(Err(anyhow::anyhow!("the window of {opens} is over"))));
                }
                Ok(proven(node, number, opens).await?.then_some(Ok(())))
            })
            .await??;
        self.check_alive()
    }

    /// Stops everything; upstream's daemons first, the way they are stopped by people.
    pub(super) async fn close(mut self) -> Result<()> {
        for mut daemon in self.foreign.drain(..).rev() {
            daemon.stop(SOON)?;
        }
        self.house.close().await
    }
}

/// Makes the chain one that upstream knows.
async fn become_known(node: &Node) -> Result<()> {
    let upgrade = [json!(VERSION), Value::Null];
    node.rpc
        .call::<Value>(method::DEVNET_UPGRADE_NETWORK, upgrade)
        .await?;
    node.mine(FIRST_EPOCHS).await
}

/// Whether the chain took a WindowPoSt of the sector at or after that epoch.
async fn proven(node: &Node, number: u64, from: i64) -> Result<bool> {
    let posts = node.posts(MINER).await?;
    let mut later = posts.iter().filter(|post| post.epoch >= from);
    Ok(later.any(|post| post.sectors.contains(&number)))
}

/// A thread that has stopped until a person resumes it, as an error.
pub(super) fn person_called(thread: &Value) -> Option<anyhow::Error> {
    let paused = thread["thread_state"]["state"] == json!("Paused");
    paused.then(|| anyhow::anyhow!("a person is needed: {thread}"))
}

fn given_up(sector: &Value) -> Option<anyhow::Error> {
    let reason = sector["AbortReason"].as_str().unwrap_or_default();
    let finished = sector["Finalized"] == json!(true) && reason.is_empty();
    (!finished).then(|| anyhow::anyhow!("a sector was given up: {sector}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_says_who_plays_what_and_what_is_missing() {
        let cast = |manager, worker, children| Cast {
            manager,
            worker,
            children,
        };
        use Who::{Ours, Upstream};
        let ours_under_theirs = cast(Upstream, Ours, Ours);
        assert_eq!(
            ours_under_theirs.title(),
            "our worker under upstream's manager"
        );
        let children = cast(Ours, Upstream, Ours);
        assert_eq!(children.title(), "our processors under upstream's worker");
        let none = Programs {
            manager: None,
            worker: None,
            mock: None,
        };
        assert_eq!(ours_under_theirs.missing(&none), Some("damocles-manager"));
        assert_eq!(children.missing(&none), Some("damocles-worker"));
        assert_eq!(cast(Ours, Ours, Ours).missing(&none), None);
    }

    #[test]
    fn who_waits_for_a_person_and_what_was_given_up_is_seen() {
        assert!(person_called(&json!({"thread_state": {"state": "Paused"}})).is_some());
        assert!(person_called(&json!({"thread_state": {"state": "Running"}})).is_none());
        assert!(given_up(&json!({"Finalized": true, "AbortReason": ""})).is_none());
        assert!(given_up(&json!({"Finalized": false, "AbortReason": "no"})).is_some());
    }
}
