//! How each trouble is made, and ended.

use super::plan::{self, Blow, Shape, Trouble};
use crate::{mounts, road::SOON};
use anyhow::{Context, Result};
use damocles_e2e::{house::House, managers::Managers, node::Node, usage, wait};
use damocles_test_postgres::Server;
use damocles_types::{ActorId, Epoch};
use rustix::process::{Pid, Signal, kill_process};
use std::{cell::Cell, path::PathBuf, time::Duration};

/// attoFIL per gas unit: a WindowPoSt of millions of gas units would cost thousands of FIL.
const DEAR: u64 = 1_000_000_000_000_000;
const CHEAP: u64 = 100;

/// Where it happens.
pub(crate) struct Field<'a> {
    pub(crate) house: &'a House,
    pub(crate) managers: &'a Managers<'a>,
    pub(crate) server: Option<&'a Server>,
    pub(crate) shape: Shape,
    pub(crate) miners: Vec<ActorId>,
    pub(crate) stores: Vec<PathBuf>,
    /// The node that the managers ask.
    pub(crate) node: Node,
    /// Another one, which nothing befalls.
    pub(crate) witness: Node,
    pub(crate) kills: Cell<u64>,
    /// Where the report for programs goes.
    pub(crate) report: Option<PathBuf>,
}

impl Field<'_> {
    pub(crate) async fn until(&self, epoch: Epoch) -> Result<()> {
        // a second each, and as much again for a machine that is busy
        let left = epoch - self.witness.epoch().await?;
        let limit = Duration::from_secs(2 * left.max(0) as u64) + SOON;
        wait::until(format!("epoch {epoch}"), limit, async || {
            Ok((self.witness.epoch().await? >= epoch).then_some(()))
        })
        .await
    }

    async fn pass(&self, epochs: Epoch) -> Result<()> {
        let now = self.witness.epoch().await?;
        self.until(now + epochs).await
    }

    pub(crate) async fn strike(&self, blow: Blow) -> Result<()> {
        let third = self.shape.window / 3;
        match blow.trouble {
            Trouble::Manager => self.manager(blow.which).await,
            Trouble::Prover => self.kill_provers().await,
            Trouble::ProverHangs => self.hang_provers().await,
            Trouble::NodeDown => {
                self.node.outage(Duration::from_secs(third as u64)).await?;
                self.pass(third).await
            }
            Trouble::NodeSyncs => {
                self.node.set_behind(2 * self.shape.window).await?;
                self.pass(third).await?;
                self.node.set_behind(0).await
            }
            Trouble::Branch => self.branch().await,
            Trouble::BaseFee => {
                self.node.set_base_fee(Some(DEAR)).await?;
                self.pass(third).await?;
                self.node.set_base_fee(Some(CHEAP)).await?;
                self.node.set_base_fee(None).await
            }
            Trouble::StoreHangs => {
                let store = self.store(blow.which)?;
                mounts::hang(store)?;
                self.pass(third).await?;
                mounts::unhang(store)
            }
            Trouble::StoreAway => {
                let store = self.store(blow.which)?;
                mounts::unmount(store)?;
                self.pass(self.shape.away).await?;
                mounts::mount(store)
            }
            Trouble::Database => {
                let server = self.server.context("there is a database server")?;
                server.kill();
                server.up("");
                Ok(())
            }
        }
    }

    fn store(&self, which: u64) -> Result<&PathBuf> {
        let count = self.stores.len().max(1) as u64;
        let store = self.stores.get((which % count) as usize);
        store.context("there are stores")
    }

    fn killed(&self) {
        self.kills.set(self.kills.get() + 1);
    }

    async fn manager(&self, which: u64) -> Result<()> {
        let count = self.managers.count();
        let n = (which % count as u64) as usize;
        self.managers.kill9(n)?;
        self.killed();
        if count > 1 {
            // the other one has to take over meanwhile
            self.pass(self.shape.window / 3).await?;
        }
        self.managers.start(n).await
    }

    /// Those that prove, as soon as one is at its work, or after half a window.
    async fn provers(&self) -> Result<Vec<Pid>> {
        let provers = || {
            let mut all = self.house.processes();
            all.retain(|(_, line)| line.contains("processor window_post"));
            all
        };
        let before: Vec<_> = provers()
            .into_iter()
            .filter_map(|(pid, _)| Some((pid, usage::of(pid).ok()?.cpu)))
            .collect();
        let end = self.witness.epoch().await? + self.shape.window / 2;
        wait::until("a prover at its work", SOON, async || {
            let works = |(pid, cpu): &(u32, Duration)| {
                let now = usage::of(*pid).map_or(*cpu, |usage| usage.cpu);
                now > *cpu + Duration::from_millis(50)
            };
            let over = self.witness.epoch().await? >= end;
            Ok((over || before.iter().any(works)).then_some(()))
        })
        .await?;
        let pids = provers().into_iter();
        Ok(pids
            .filter_map(|(pid, _)| Pid::from_raw(pid as i32))
            .collect())
    }

    async fn kill_provers(&self) -> Result<()> {
        for pid in self.provers().await? {
            // it may have ended by itself meanwhile
            if kill_process(pid, Signal::KILL).is_ok() {
                self.killed();
            }
        }
        Ok(())
    }

    async fn hang_provers(&self) -> Result<()> {
        let provers = self.provers().await?;
        for pid in &provers {
            let _ = kill_process(*pid, Signal::STOP);
        }
        self.pass(self.shape.window / 2).await?;
        for pid in provers {
            // it is gone if it was replaced
            let _ = kill_process(pid, Signal::CONT);
        }
        Ok(())
    }

    /// As soon as a branch crosses the challenge of a window that is open and leaves every miner time
    /// to prove again, or at the end of a window's length.
    async fn branch(&self) -> Result<()> {
        let end = self.witness.epoch().await? + self.shape.window;
        let limit = SOON + Duration::from_secs(2 * self.shape.window as u64);
        let depth = wait::until("a window that is open", limit, async || {
            let now = self.witness.epoch().await?;
            let found = plan::branch(&self.shape, &self.opened().await?);
            let any = (now >= end).then_some(self.shape.lookback() + 1);
            Ok(found.or(any))
        })
        .await?;
        println!("  a branch of {depth} epochs is lost");
        self.node.other_branch(depth).await
    }

    /// Epochs since the windows with sectors have opened, the present ones and the next.
    async fn opened(&self) -> Result<Vec<Epoch>> {
        let mut opened = Vec::new();
        for miner in &self.miners {
            let di = self.witness.deadline(*miner).await?;
            let next = (di.index + 1) % self.shape.deadlines;
            for (index, open) in [(di.index, di.open), (next, di.close)] {
                if self.holds(*miner, index).await? {
                    opened.push(di.current_epoch - open);
                }
            }
        }
        Ok(opened)
    }

    /// Waits until something is to be proven, or until an epoch; when that was.
    pub(crate) async fn at_stake(&self, end: Epoch) -> Result<Epoch> {
        let left = end - self.witness.epoch().await?;
        let limit = Duration::from_secs(2 * left.max(0) as u64) + SOON;
        wait::until("something to prove", limit, async || {
            let now = self.witness.epoch().await?;
            let found = plan::at_stake(&self.shape, &self.opened().await?);
            Ok((now >= end || found).then_some(now))
        })
        .await
    }

    /// Whether the miner has sectors in the deadline.
    async fn holds(&self, miner: ActorId, deadline: u64) -> Result<bool> {
        let head = damocles_node::TipSetKey::HEAD;
        let partitions = self.witness.partitions(miner, deadline, &head).await?;
        Ok(partitions.iter().any(|p| !p.live_sectors.is_empty()))
    }
}
