//! What is stored, and the verbs that store it. The only room that knows keys and records.
//!
//! A verb is one atomic batch: either all of it is on disk or nothing. Verbs are plain calls
//! that take a disk access; async code calls them through [`Db::call`], which keeps the
//! runtime's threads free.

pub(crate) mod schema;
pub(crate) mod keys;
pub mod record;
pub mod messages;
pub mod sectors;
pub mod timelines;
pub mod workers;
pub mod posts;
pub mod stores;

use damocles_kv::{Kv, KvError, OpenError};
use damocles_types::SectorId;
use std::path::Path;

/// A failed verb.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error(transparent)]
    Kv(#[from] KvError),
    /// There is no sector of that name in the state that was asked for.
    #[error("sector {0} is not known")]
    NoSector(SectorId),
    #[error("message {0} is not known")]
    NoMessage(crate::model::MessageId),
    #[error("message {id} cannot {event} in state {state}")]
    IllegalStep {
        id: crate::model::MessageId,
        state: damocles_flow::message::MessageState,
        event: damocles_flow::message::MessageEvent,
    },
    /// The record changed under the caller, who should look again.
    #[error("sector {0} changed meanwhile")]
    Changed(SectorId),
    #[error("the database thread ended before it answered")]
    Interrupted,
}

/// The manager's database; clones share it.
#[derive(Clone, Debug)]
pub struct Db {
    kv: Kv,
}

impl Db {
    /// Opens the database in `dir`, or makes it.
    ///
    /// # Errors
    /// [`OpenError`], whose kinds the daemon maps to exit codes.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Kv::open(dir, &schema::SCHEMA).map(|kv| Self { kv })
    }

    /// A database in memory, for tests.
    pub fn in_memory() -> Self {
        Self {
            kv: Kv::in_memory(&schema::SCHEMA),
        }
    }

    /// The tables below, for the verbs of this room.
    pub(in crate::db) fn kv(&self) -> &Kv {
        &self.kv
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
