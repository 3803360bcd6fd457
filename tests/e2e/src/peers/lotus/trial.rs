//! The house on trial: its daemons, the network that they work on, and what is asked of both again
//! and again.

use super::{
    chain::{Chain, Executed},
    network::Network,
    people::Drawn,
    report::Report,
};
use crate::{
    house::{House, Role},
    peers::tap::Tap,
    rpc,
    scenario::Gate,
    unaided,
};
use anyhow::Result;
use damocles_node::SignedMessage;
use damocles_types::{ActorId, Epoch, SectorId};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Anything but computing and long waits for the chain.
pub(super) const SOON: Duration = Duration::from_secs(300);
/// One proof, or a few.
pub(super) const PROOFS: Duration = Duration::from_secs(900);

pub(super) struct Trial<'a> {
    pub(super) report: &'a mut Report,
    pub(super) house: &'a House,
    pub(super) network: &'a Network,
    pub(super) chain: Chain,
    pub(super) tap: Tap,
    pub(super) block: Duration,
    /// The height of the last upgrade, if it is to come.
    pub(super) upgrade: Option<Epoch>,
    pub(super) miners: [Drawn; 2],
    /// A miner that seals nothing.
    pub(super) powerless: ActorId,
    /// The key that both miners send with; and somebody else's.
    pub(super) worker: String,
    pub(super) other: String,
    pub(super) gates: Gates,
    pub(super) nonce: Option<(SignedMessage, SignedMessage)>,
    /// How often manager and worker were killed.
    pub(super) kills: u32,
}

pub(super) struct Gates {
    pub(super) pc2: Gate,
    pub(super) c2: Gate,
}

impl Trial<'_> {
    pub(super) fn ids(&self) -> [ActorId; 2] {
        self.miners.map(|drawn| drawn.miner)
    }

    /// Sectors that are active ones on the chain.
    pub(super) async fn proven(&self) -> Result<BTreeSet<SectorId>> {
        let mut proven = BTreeSet::new();
        for sector in self.house.sectors().await? {
            let SectorId { miner, number } = sector.id;
            if self.chain.node.sector(miner, number).await?.is_some() {
                proven.insert(sector.id);
            }
        }
        Ok(proven)
    }

    /// Messages of one method to the miners that succeeded on the chain as it stands.
    pub(super) async fn done(&self, method: u64) -> Result<Vec<Executed>> {
        let mut all = self.chain.to_miners(&self.ids(), 0).await?;
        all.retain(|executed| executed.message.method == method && executed.exit_code == 0);
        Ok(all)
    }

    /// Waits until so many messages of the method have succeeded on the chain.
    pub(super) async fn land(&self, method: u64, count: usize) -> Result<Vec<Executed>> {
        let what = format!("{count} messages {method} on chain");
        self.until_known(&what, PROOFS, method, count).await
    }

    pub(super) async fn until_known(
        &self,
        what: &str,
        limit: Duration,
        method: u64,
        count: usize,
    ) -> Result<Vec<Executed>> {
        self.until(what, limit, async |s| {
            let done = s.done(method).await?;
            Ok((done.len() >= count).then_some(done))
        })
        .await
    }

    pub(super) async fn until<T>(
        &self,
        what: impl std::fmt::Display,
        limit: Duration,
        mut probe: impl AsyncFnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        unaided::until(self.house, what, limit, async || probe(self).await).await
    }

    /// Time passes, and nobody is called.
    pub(super) async fn stays_unaided(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        self.until("time to pass", time + SOON, async |_| {
            Ok((begin.elapsed() >= time).then_some(()))
        })
        .await
    }

    /// Waits until the manager believes its node again.
    pub(super) async fn believed(&self) -> Result<()> {
        self.until("the manager to be ready", SOON, async |s| {
            let waits = s.waits().await?;
            Ok(waits.is_none().then_some(()))
        })
        .await
    }

    /// What the manager waits for as a whole, if anything.
    pub(super) async fn waits(&self) -> Result<Option<String>> {
        let address = self.house.manager_address()?;
        let (status, body) = rpc::get(&address, "/readiness").await?;
        Ok((status != 200).then_some(body))
    }

    /// What sectors wait for.
    pub(super) async fn waiting_for(&self) -> Result<String> {
        let sectors = self.house.sectors().await?;
        let all: BTreeSet<String> = sectors.into_iter().filter_map(|s| s.waits_for).collect();
        Ok(all.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// Both daemons are killed as they stand.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.house.kill9(Role::Worker)?;
        self.house.kill9(Role::Manager)?;
        self.kills += 1;
        Ok(())
    }

    pub(super) async fn start(&self) -> Result<()> {
        self.house.wait_until_no(Role::Worker).await?;
        self.house.start_manager().await?;
        self.house.start_worker().await
    }
}

pub(super) fn named(executed: &Executed) -> Vec<SectorId> {
    let miner = executed.message.to.id().unwrap_or_default();
    let numbers = executed.sectors();
    numbers
        .into_iter()
        .map(|number| SectorId::new(miner, number))
        .collect()
}

/// Sectors and the epochs at which they have their message.
pub(super) fn at(executed: &[Executed]) -> String {
    let mut all = Vec::new();
    for message in executed {
        for sector in named(message) {
            all.push(format!("{sector} at {}", message.epoch));
        }
    }
    all.join(", ")
}
