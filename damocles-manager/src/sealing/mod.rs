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
//! code 11001 on the wire; workers may give the sector up on it. Of a sector without a record
//! nothing is known, and nothing of the kind is said. A room that speaks for a worker
//! ([`Sealing::on`]) refuses those that have not the sector.

mod bounds;
mod allocate;
mod fleet;
mod holdings;
mod ownership;
mod randomness;
mod report;
mod view;

use crate::{
    chain::{Chain, ChainError, Facts},
    db::{Db, DbError, pages::NoCursor},
    deals::{DealError, Deals},
    policy::MinerPolicy,
    sealing::bounds::TooLong,
    served::Served,
    venus::Market,
};
use damocles_api::sector::{AcquireDealsSpec, LONGEST_REQUEST_ID, SectorPiece};
use damocles_types::{ActorId, SealProof, SectorId};
use parking_lot::Mutex;
use std::{collections::BTreeSet, sync::Arc};

/// Why a worker did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The record says that the sector is over (code 11001 to workers).
    #[error("sector {0} is over: it is finished, or was given up")]
    NoSector(SectorId),
    /// It cannot be called finished yet.
    #[error("sector {0} is not proven on chain as far as the node knows; ask again")]
    NotProven(SectorId),
    #[error(
        "the chain has sector {0} with another CommR than the one that was submitted; it was not called finished"
    )]
    OtherReplica(SectorId),
    #[error(
        "no persist store is known to hold sector {0}; its worker has to say where it put the files (SubmitPersisted) before it is finished"
    )]
    NotStored(SectorId),
    #[error("sector {0} is finished; it cannot be given up")]
    Finished(SectorId),
    #[error("sector {0} is finished, and was not given up: there is nothing to take back")]
    NotGivenUp(SectorId),
    #[error(
        "sector {0} has data of clients, which went back into the queue when it was given up; it cannot be taken back"
    )]
    HadData(SectorId),
    #[error("the request's id has {0} bytes, and {LONGEST_REQUEST_ID} are allowed")]
    RequestId(usize),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("{given} entries in one report, and {most} are taken; report them in parts")]
    TooMany { given: usize, most: usize },
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(DbError),
    #[error("miner {0} is not in the config; add it to [[Miners]]")]
    NoMiner(u64),
    #[error("the precommit of {0} is not on chain yet, or not any more; it is followed, ask again")]
    NotPreCommitted(SectorId),
    #[error("{0} has no seed: sectors of this proof type are not sealed by this version")]
    NoSeed(SealProof),
    #[error(transparent)]
    Cursor(#[from] NoCursor),
    #[error(
        "there are more than {0} such sectors, too many for one answer; ask `Damocles.Sectors` for a page at a time"
    )]
    TooLongList(usize),
    #[error("{0:?} is not a state of sectors; write \"online\" or \"offline\"")]
    NotAState(String),
    #[error("a worker's ping needs a name and a destination")]
    NamelessWorker,
    #[error(transparent)]
    Deal(#[from] DealError),
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
    served: Served,
    deals: Deals,
    /// Miners whose numbers are used up.
    exhausted: Arc<Mutex<BTreeSet<ActorId>>>,
    /// Miners of which this process has handed out a number.
    begun: Arc<Mutex<BTreeSet<ActorId>>>,
    /// Why workers got no sector, as it was logged since one was given.
    refusals: Arc<Mutex<BTreeSet<String>>>,
}

impl Sealing {
    pub fn new(db: Db, chain: Arc<dyn Chain>, facts: Facts, served: Served) -> Self {
        Self {
            deals: Deals::new(db.clone(), chain.clone(), facts.clone()),
            db,
            chain,
            facts,
            served,
            exhausted: Arc::default(),
            begun: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// The same room with a market that assigns deals.
    #[must_use]
    pub fn with_market(self, market: Arc<dyn Market>, named: bool) -> Self {
        let deals = self.deals.with_market(market, named);
        Self { deals, ..self }
    }

    /// The same room on a database that speaks for a worker.
    pub fn on(&self, db: Db) -> Self {
        let deals = self.deals.on(db.clone());
        Self {
            db,
            deals,
            ..self.clone()
        }
    }

    /// Whether the config names the miner.
    pub fn knows(&self, actor: ActorId) -> bool {
        self.miner(actor).is_ok()
    }

    fn miner(&self, actor: u64) -> Result<Arc<MinerPolicy>, SealingError> {
        let served = self.served.miner(actor);
        served.ok_or(SealingError::NoMiner(actor))
    }

    /// Pieces with data for a sector, from the manager's own queue; the same when it is asked again.
    /// An empty list: there are none for it. `None`: deals are off.
    ///
    /// # Errors
    /// [`SealingError::NoSector`]; a node that does not answer.
    pub async fn acquire_deals(
        &self,
        sector: SectorId,
        spec: AcquireDealsSpec,
    ) -> Result<Option<Vec<SectorPiece>>, SealingError> {
        let record = self
            .db
            .call(move |db| db.online(sector).map_err(SealingError::from))
            .await?;
        let policy = self.miner(sector.miner)?;
        if !policy.sector.enable_deals {
            return Ok(record.pieces);
        }
        let pieces = self.deals.acquire(&record, &policy.sector, spec).await;
        match pieces {
            Err(DealError::Db(DbError::NoSector(id))) => Err(SealingError::NoSector(id)),
            other => Ok(Some(other?)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        chain::script::ScriptChain,
        db::{
            record::{Carriage, PreCommit},
            stores::{Location, Replica},
        },
        policy::tests::miner,
    };
    use damocles_kv::Durability;
    use damocles_types::{Commitment, Randomness, Ticket};

    /// A room with one miner, t01000, on a chain of that height.
    pub(crate) fn room(height: i64) -> (Sealing, Arc<ScriptChain>) {
        let chain = Arc::new(ScriptChain::at(height));
        chain.add_miner(1000);
        let facts = Facts::new(chain.clone());
        let served = Served::new(vec![miner(1000)]);
        let room = Sealing::new(Db::in_memory(), chain.clone(), facts, served);
        (room, chain)
    }

    /// A sector that was just handed out.
    pub(crate) async fn given(room: &Sealing) -> SectorId {
        let spec = Default::default();
        room.allocate(&spec).await.unwrap().unwrap().id
    }

    /// Its files lie in that store.
    pub(crate) fn in_store(sector: SectorId, store: &str) -> Location {
        Location {
            sector,
            replica: Replica::Normal,
            sealed: store.into(),
            cache: store.into(),
        }
    }

    /// It was precommitted with [`COMM_R`], and its proof waits for a message.
    pub(crate) fn proof_waits(room: &Sealing, sector: SectorId) {
        let change = room.db.change(sector, Durability::Synced, |record| {
            record.pre = Some(PreCommit {
                comm_r: COMM_R,
                comm_d: COMM_R,
                ticket: Ticket {
                    ticket: Randomness([1; 32]),
                    epoch: 5,
                },
                carriage: Carriage::Found,
            });
            Ok::<_, DbError>(())
        });
        change.unwrap();
        let waits = Carriage::Ready {
            since: 1,
            alone: false,
            error: None,
        };
        room.db.put_proof(sector, None, &[1], &waits).unwrap();
    }

    pub(crate) const COMM_R: Commitment = Commitment([3; 32]);

    impl ScriptChain {
        /// Puts the sector on chain as proven, with [`COMM_R`] unless said otherwise.
        pub(crate) fn prove(&self, sector: SectorId, comm_r: Option<Commitment>) {
            let cid = comm_r.unwrap_or(COMM_R).sealed_cid().to_string();
            let info = serde_json::json!({
                "SectorNumber": sector.number, "SealProof": 5, "SealedCID": {"/": cid},
                "Activation": 10, "Expiration": 1000, "DealWeight": "0",
                "VerifiedDealWeight": "0", "InitialPledge": "0",
            });
            let info = serde_json::from_value(info).unwrap();
            let at = (sector.miner, sector.number);
            self.edit().sectors.insert(at, info);
        }
    }

    impl Sealing {
        pub(crate) fn set_miners(&mut self, miners: Vec<MinerPolicy>) {
            self.served.replace(miners);
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
        assert!(matches!(e, Err(SealingError::Db(DbError::Unknown(_)))));
        let mut wants = miner(1000);
        wants.sector.enable_deals = true;
        room.set_miners(vec![wants]);
        let none = room.acquire_deals(id, Default::default()).await.unwrap();
        assert_eq!(none.map(|pieces| pieces.len()), Some(0), "nothing waits");
    }
}
