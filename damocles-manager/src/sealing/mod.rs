//! What workers ask for while they seal: numbers, tickets, seeds, reports.
//!
//! One method per RPC, for `rpc` to call:
//!
//! | RPC | method |
//! |---|---|
//! | `AllocateSector` | [`Sealing::allocate`] |
//! | `AcquireDeals` | [`Sealing::acquire_deals`] |
//! | `AssignTicket` | [`Sealing::assign_ticket`] |
//! | `WaitSeed` | [`Sealing::wait_seed`] |
//! | `ReportState`, `ReportFinalized`, `ReportAborted` | [`Sealing::report_state`] … (the store's room is given back by `storage`) |
//! | `ListSectors`, `FindSector`, `FindSectorInAllStates` | [`Sealing::sectors`], [`Sealing::find`] |
//! | `Damocles.ReportTimeline`, `Damocles.Timeline` | [`Sealing::report_timeline`], [`Sealing::timeline`] |
//! | `Damocles.Identity`, `Damocles.SectorFate`, `Damocles.AbortSector` … | [`Sealing::identity`], [`Sealing::fate`], [`Sealing::abort_by_person`] … |
//! | `WorkerPing`, `WorkerPingInfoList` … | [`Sealing::ping`], [`Sealing::workers`] … |
//!
//! Precommits and proofs are `commit`'s. An error that is [`SealingError::NoSector`] becomes
//! code 11001 on the wire; workers give the sector up on it.

mod allocate;
mod ownership;
mod randomness;
mod report;
mod view;

use crate::{
    chain::{Chain, ChainError, Facts},
    db::{Db, DbError},
    policy::MinerPolicy,
};
use damocles_api::sector::{AcquireDealsSpec, SectorPiece};
use damocles_types::{ActorId, SealProof, SectorId};
use parking_lot::Mutex;
use std::{collections::BTreeSet, sync::Arc};

/// Why a worker did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The sector is not known, or is not online (code 11001).
    #[error("sector state not found: {0}")]
    NoSector(SectorId),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(DbError),
    #[error("miner {0} is not in the config; add it to [[Miners]]")]
    NoMiner(u64),
    #[error("the precommit of {0} is not on chain; submit it first")]
    NotPreCommitted(SectorId),
    #[error("{0} has no seed: sectors of this proof type are not sealed by this version")]
    NoSeed(SealProof),
    #[error("{0:?} is not a state of sectors; write \"online\" or \"offline\"")]
    NotAState(String),
    #[error("a worker's ping needs a name and a destination")]
    NamelessWorker,
    #[error(
        "deals of {0} cannot be acquired: this version seals sectors without data; set [Miners.Sector] EnableDeals = false"
    )]
    NoMarket(SectorId),
}

impl From<DbError> for SealingError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NoSector(id) => Self::NoSector(id),
            other => Self::Db(other),
        }
    }
}

/// The room that answers workers.
#[derive(Clone, Debug)]
pub struct Sealing {
    db: Db,
    chain: Arc<dyn Chain>,
    facts: Facts,
    miners: Arc<Vec<MinerPolicy>>,
    /// Miners whose numbers are used up.
    exhausted: Arc<Mutex<BTreeSet<ActorId>>>,
}

impl Sealing {
    pub fn new(db: Db, chain: Arc<dyn Chain>, facts: Facts, miners: Arc<Vec<MinerPolicy>>) -> Self {
        Self {
            db,
            chain,
            facts,
            miners,
            exhausted: Arc::default(),
        }
    }

    fn miner(&self, actor: u64) -> Result<&MinerPolicy, SealingError> {
        self.miners
            .iter()
            .find(|m| m.actor == actor)
            .ok_or(SealingError::NoMiner(actor))
    }

    /// Deals for a sector: none, since no market is built in yet; `None` says that deals are off.
    ///
    /// # Errors
    /// [`SealingError::NoSector`]; [`SealingError::NoMarket`] when the operator wants deals.
    pub async fn acquire_deals(
        &self,
        sector: SectorId,
        _: AcquireDealsSpec,
    ) -> Result<Option<Vec<SectorPiece>>, SealingError> {
        let record = self
            .db
            .call(move |db| db.online(sector).map_err(SealingError::from))
            .await?;
        if self.miner(sector.miner)?.sector.enable_deals {
            return Err(SealingError::NoMarket(sector));
        }
        Ok(record.pieces)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{chain::script::ScriptChain, policy::tests::miner};

    /// A room with one miner, t01000, on a chain of that height.
    pub(crate) fn room(height: i64) -> (Sealing, Arc<ScriptChain>) {
        let chain = Arc::new(ScriptChain::at(height));
        chain.add_miner(1000);
        let facts = Facts::new(chain.clone());
        let miners = Arc::new(vec![miner(1000)]);
        let room = Sealing::new(Db::in_memory(), chain.clone(), facts, miners);
        (room, chain)
    }

    impl Sealing {
        pub(crate) fn set_miners(&mut self, miners: Vec<MinerPolicy>) {
            self.miners = Arc::new(miners);
        }
    }

    #[tokio::test]
    async fn deals_are_off_unless_wanted_and_unknown_sectors_are_refused() {
        let (mut room, _) = room(1000);
        let id = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        let deals = room.acquire_deals(id, Default::default()).await.unwrap();
        assert!(deals.is_none());
        let unknown = SectorId::new(1000, 99);
        let e = room.acquire_deals(unknown, Default::default()).await;
        assert!(matches!(e, Err(SealingError::NoSector(_))));
        let mut wants = miner(1000);
        wants.sector.enable_deals = true;
        room.set_miners(vec![wants]);
        let e = room.acquire_deals(id, Default::default()).await;
        assert!(matches!(e, Err(SealingError::NoMarket(_))));
    }
}
