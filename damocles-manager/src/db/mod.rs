//! What is stored, and the verbs that store it. The only room that knows keys and records.
//!
//! A verb is one transaction: either all of it is on disk or nothing. Verbs are plain calls
//! that take a disk access; async code calls them through [`Db::call`], which keeps the
//! runtime's threads free.

pub(crate) mod schema;
pub(crate) mod keys;
pub mod record;
mod damaged;
mod bodies;
mod proofs;
mod history;
mod listed;
mod relist;
pub mod pages;
pub mod spent;
pub mod deal;
pub mod deals;
pub mod messages;
pub mod owner;
pub mod strays;
pub mod numbers;
pub mod sectors;
pub mod timelines;
mod waiting;
pub mod workers;
pub mod posts;
pub mod recoveries;
pub mod blocks;
pub mod jobs;
pub mod roles;
pub mod stores;
mod versions;
mod lines;
pub mod export;
pub mod import;
pub mod backup;
pub mod check;

pub use damocles_kv::ConnectError as ServerError;
pub use lines::{FileError, Header};

use crate::deal::DealId;
use damocles_api::caller::Caller;
use damocles_daemon::belongs::Highest;
use damocles_kv::{
    Durability, Fence, KvError, OpenError, Postgres, Store, StoreError, Transaction, Trouble,
};
use damocles_types::SectorId;
use std::{path::Path, sync::Arc};

/// A failed verb.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error(transparent)]
    Kv(#[from] KvError),
    /// Of a transaction, and none of [`Self::Kv`].
    #[error(transparent)]
    Store(StoreError),
    /// The record says that the sector is over. On the wire code 11001, on which workers may
    /// clear it: never said of a sector that there is merely no record of.
    #[error("sector {0} is not online any more")]
    NoSector(SectorId),
    /// There is no record of the sector, and nothing follows from that.
    #[error("there is no record of sector {0}")]
    Unknown(SectorId),
    /// Another sealing thread has the sector, or a person took it from the one that asks.
    #[error("{}", not_owner(*sector, *taken, owner))]
    NotOwner {
        sector: SectorId,
        /// It was taken from `owner`, and nobody has it yet.
        taken: bool,
        owner: Box<Caller>,
    },
    #[error("message {0} is not known")]
    NoMessage(crate::model::MessageId),
    #[error("message {id} cannot {event} in state {state}")]
    IllegalStep {
        id: crate::model::MessageId,
        state: damocles_flow::message::MessageState,
        event: damocles_flow::message::MessageEvent,
    },
    #[error("deal {0} does not wait for a sector any more")]
    DealTaken(DealId),
    #[error("deal {0} is not in the queue")]
    NoDeal(DealId),
    #[error("deal {id} cannot {event} in state {state}")]
    NoDealStep {
        id: DealId,
        state: damocles_flow::deal::DealState,
        event: damocles_flow::deal::DealEvent,
    },
    /// The record changed under the caller, who should look again.
    #[error("sector {0} changed meanwhile")]
    Changed(SectorId),
    /// The same of a WindowPoSt.
    #[error(
        "the WindowPoSt of miner {miner} for the deadline that opens at {open} changed meanwhile"
    )]
    PostChanged {
        miner: damocles_types::ActorId,
        open: damocles_types::Epoch,
    },
    #[error(
        "what is recovered of miner {miner} for the deadline that opens at {open} changed meanwhile"
    )]
    RecoveryChanged {
        miner: damocles_types::ActorId,
        open: damocles_types::Epoch,
    },
    #[error("the block of miner {miner} for epoch {height} changed meanwhile")]
    BlockChanged {
        miner: damocles_types::ActorId,
        height: damocles_types::Epoch,
    },
    #[error("there is no WindowPoSt job {0:?}")]
    NoJob(String),
    #[error(
        "more workers called than are remembered; take those that are gone from the list with `damocles-manager util worker remove`"
    )]
    TooManyWorkers,
    #[error("the highest sector number of miner {0:?} cannot be read; the record may be damaged")]
    Number(String),
    #[error("the file of highest sector numbers cannot be written: {0}")]
    Highest(#[source] std::io::Error),
    #[error("the database thread ended before it answered")]
    Interrupted,
}

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Kv(error) => Self::Kv(error),
            other => Self::Store(other),
        }
    }
}

impl DbError {
    /// Somebody else was in the way, or the database is away: the caller looks again.
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Changed(_)
            | Self::PostChanged { .. }
            | Self::RecoveryChanged { .. }
            | Self::BlockChanged { .. }
            | Self::Interrupted => true,
            Self::Store(error) => error.is_wait(),
            _ => false,
        }
    }
}

fn not_owner(sector: SectorId, taken: bool, owner: &Caller) -> String {
    let SectorId { miner, number } = sector;
    let command = format!("damocles-manager util sealer sectors hand-over {miner} {number}");
    if taken {
        format!(
            "sector {sector} was taken from {owner} by a person, and the next sealing thread that asks for it has it; \
             `{command}` lets this one have it again"
        )
    } else {
        format!(
            "sector {sector} belongs to {owner}, and another one may not act on it; \
             if that one has it no more, take it from there with `{command}`"
        )
    }
}

/// The manager's database; clones share it.
#[derive(Clone, Debug)]
pub struct Db {
    store: Store,
    /// For whom the verbs on sectors are called.
    speaker: owner::Speaker,
    /// Where the highest numbers are kept besides.
    highest: Option<Arc<Highest>>,
    /// The roles in which verbs write.
    fences: Arc<[Fence]>,
}

impl Db {
    /// Opens the database in `dir`, or makes it.
    ///
    /// # Errors
    /// [`OpenError`], whose kinds the daemon maps to exit codes.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Store::open(dir, &versions::SCHEMA).map(Self::of)
    }

    /// Opens the database in `dir`, and makes none.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none, and those of [`Self::open`].
    pub fn open_existing(dir: &Path) -> Result<Self, OpenError> {
        Store::open_existing(dir, &versions::SCHEMA).map(Self::of)
    }

    /// Opens the database on a server, or makes it there if it may be made.
    ///
    /// # Errors
    /// [`ServerError`]; [`ServerError::Unreachable`] is a wait.
    pub fn on_server(postgres: &Postgres, may_be_made: bool) -> Result<Self, ServerError> {
        let opened = if may_be_made {
            Store::postgres(postgres, &versions::SCHEMA)
        } else {
            Store::postgres_existing(postgres, &versions::SCHEMA)
        };
        opened.map(Self::of)
    }

    /// Opens the database in `dir`, of whatever version it is, and makes none.
    ///
    /// # Errors
    /// Those of [`Self::open_existing`].
    pub fn as_it_is(dir: &Path) -> Result<Self, OpenError> {
        Store::open_as_it_is(dir, &versions::SCHEMA).map(Self::of)
    }

    /// The same on a server.
    ///
    /// # Errors
    /// [`ServerError`]; [`ServerError::Unreachable`] is a wait.
    pub fn on_server_as_it_is(postgres: &Postgres) -> Result<Self, ServerError> {
        Store::postgres_as_it_is(postgres, &versions::SCHEMA).map(Self::of)
    }

    /// Which database lies in `dir`; nothing in there changes.
    ///
    /// # Errors
    /// Those of [`Self::open_existing`].
    pub fn id_in(dir: &Path) -> Result<Option<uuid::Uuid>, OpenError> {
        Ok(Store::stamp_in(dir, &versions::SCHEMA)?.id)
    }

    /// Why writes fail, if they do.
    pub fn trouble(&self) -> Option<Trouble> {
        self.store.trouble()
    }

    /// Makes ready what the verbs will want; returns at once.
    pub fn open_ahead(&self) {
        self.store.open_ahead();
    }

    /// Tries to write.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn probe(&self) -> Result<(), DbError> {
        Ok(self.store.probe()?)
    }

    /// A database in memory, for tests.
    pub fn in_memory() -> Self {
        Self::of(Store::in_memory(&versions::SCHEMA))
    }

    /// The same, as if several managers had it open, each with a clone.
    #[cfg(test)]
    pub(crate) fn in_memory_shared() -> Self {
        Self::of(Store::in_memory_shared(&versions::SCHEMA))
    }

    fn of(store: Store) -> Self {
        Self {
            store,
            speaker: owner::Speaker::Manager,
            highest: None,
            fences: Arc::default(),
        }
    }

    /// The database's own name: made with it, never changed.
    pub fn id(&self) -> uuid::Uuid {
        self.store.id()
    }

    /// The version of the database, and the one that this program knows; they are equal but where
    /// it was opened as it is. The first is none on the way from one to the next.
    pub fn versions(&self) -> Result<(Option<u32>, u32), DbError> {
        let newest = versions::SCHEMA.version();
        self.read(|t| {
            let between = t.is_between_versions()?;
            let at = t.stamp()?.map_or(newest, |stamp| stamp.version);
            Ok(((!between).then_some(at), newest))
        })
    }

    /// The genesis block's CID of the network that this database is of. None: it has met none.
    pub fn network(&self) -> Result<Option<String>, DbError> {
        self.read(|t| Ok(t.get_json(schema::NETWORK, schema::NETWORK_KEY)?))
    }

    /// Says of which network the database is. Only once: the first word stays.
    pub fn set_network(&self, genesis: &str) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            let seen = t.get(schema::NETWORK, schema::NETWORK_KEY)?;
            if !seen.exists() {
                t.put_json(&seen, genesis)?;
            }
            Ok(())
        })
    }

    /// The same database, whose verbs on sectors are refused unless this worker has the sector.
    pub fn for_worker(&self, caller: Option<Caller>) -> Self {
        self.speaking(owner::Speaker::worker(caller))
    }

    /// The same for a worker whose token is its own.
    pub fn for_bound_worker(&self, caller: Caller) -> Self {
        self.speaking(owner::Speaker::Bound(caller.into()))
    }

    fn speaking(&self, speaker: owner::Speaker) -> Self {
        Self {
            store: self.store.clone(),
            highest: self.highest.clone(),
            fences: self.fences.clone(),
            speaker,
        }
    }

    /// A verb that writes: all of it happens at one moment, or nothing; and nothing, when a role
    /// in which it is done was lost. `body` may run again.
    pub(in crate::db) fn write<T, E: From<StoreError>>(
        &self,
        durability: Durability,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store.transact(durability, |t| {
            for fence in self.fences.iter() {
                schema::ROLES.check(t, fence)?;
            }
            body(t)
        })
    }

    /// A verb that only reads: what it reads is of one moment.
    pub(in crate::db) fn read<T, E: From<StoreError>>(
        &self,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store.read(body)
    }

    /// Runs verbs on a thread that may block.
    ///
    /// # Errors
    /// Whatever the verb says; [`DbError::Interrupted`] when it panicked or the runtime ends.
    pub async fn call<T, E>(
        &self,
        verb: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let db = self.clone();
        match tokio::task::spawn_blocking(move || verb(&db)).await {
            Ok(done) => done,
            Err(_) => Err(DbError::Interrupted.into()),
        }
    }
}

#[cfg(test)]
mod databases_tests;
#[cfg(test)]
pub(crate) mod lives_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Commitment, MessageId};
    use posts::{PostKey, PostRecord};

    #[test]
    fn a_damaged_record_does_not_hold_up_the_others() {
        let db = Db::in_memory();
        let sector = SectorId::new(1000, 1);
        let id = MessageId::new();
        let lists = [
            (schema::MESSAGES_OPEN, schema::MESSAGES, keys::message(id)),
            (schema::POSTS_OPEN, schema::POSTS, {
                let mut key = keys::miner(1000);
                key.extend(keys::epoch(60));
                key.extend(0_u64.to_be_bytes());
                key
            }),
        ];
        let damage = |t: &mut Transaction<'_>| {
            for (list, table, key) in &lists {
                t.overwrite(*list, key.clone(), [])?;
                t.overwrite(*table, key.clone(), *b"{\"v\":1,")?;
            }
            let ready = keys::ready(Commitment::Proof, sector);
            t.overwrite(schema::READY, ready, [])?;
            t.overwrite(schema::SECTORS, keys::sector(sector), [])
        };
        db.write::<_, StoreError>(Durability::Synced, damage)
            .unwrap();

        assert!(db.open_messages().unwrap().is_empty());
        assert!(db.ready(Commitment::Proof, None).unwrap().is_empty());
        assert!(db.unfinished_posts(1000).unwrap().is_empty());
        // asked for by name, it is told
        let named = db.message(id).unwrap_err();
        assert!(named.to_string().contains("messages"), "{named}");
        assert!(db.sector(sector).is_err());
        // its window is planned anew
        let key = |first| PostKey {
            miner: 1000,
            open: 60,
            first,
        };
        let planned = [0, 1].map(|p| PostRecord {
            partitions: vec![p],
            ..PostRecord::planned(key(p), 1, 40, 120)
        });
        assert_eq!(db.plan_posts(&planned).unwrap(), 2);
        assert_eq!(db.unfinished_posts(1000).unwrap(), planned);
    }
}
