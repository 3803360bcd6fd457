//! What an engine does for the door: it runs one attempt of a transaction.

use super::{error::StoreError, record::Stored, span::Range};
use crate::{Durability, KvError, Table, Trouble, change::Change};
use std::{fmt, path::Path};

/// One attempt of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Counted from 1.
    pub(crate) number: u32,
    pub(crate) durability: Durability,
    pub(crate) read_only: bool,
}

/// Why an attempt did not succeed. Nothing of it was written.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt may; this is told when there is none left.
    Again(StoreError),
    Final(StoreError),
}

impl Failure {
    /// Somebody else wrote what this one has read.
    pub(crate) fn conflict() -> Self {
        Self::Again(StoreError::Conflict { attempts: 1 })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::Final(error.into())
    }
}

/// How a closure ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It wants this written; each key is in it once.
    Commit(Vec<Change>),
    /// It decided not to write. What it has read must have been true all the same.
    Refused,
    /// It was told nonsense by a failed read.
    Failed(Failure),
}

/// The records of one moment.
pub(crate) trait View {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure>;

    /// Says that these keys will be asked for, so that one answer brings them all.
    fn ahead(&mut self, _table: Table, _keys: &[Vec<u8>]) -> Result<(), Failure> {
        Ok(())
    }

    /// At most `limit` records of the range, from its low end, or from its high end backwards.
    fn scan(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Stored)>, Failure>;
}

pub(crate) trait Engine: fmt::Debug + Send + Sync {
    /// Runs the closure once on a view and makes of its end what it wants. `Ok`: what it has
    /// read and what it wrote happened at one moment, with no other transaction in between, and
    /// it is as durable as was asked for.
    fn attempt(
        &self,
        attempt: Attempt,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> Result<(), Failure>;

    /// Why writes fail; None when the last one succeeded.
    fn trouble(&self) -> Option<Trouble>;

    /// Whether other processes may have the same database open.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes ready what transactions will want, where that takes time.
    fn open_ahead(&self) {}

    /// How many writes were asked to be on the disk, and are; None: the engine cannot tell.
    fn synced_writes(&self) -> Option<u64> {
        None
    }

    /// Copies the database as it is now into a new directory. None: it lies on a server, which has
    /// means of its own.
    fn backup(&self, _to: &Path) -> Option<Result<(), KvError>> {
        None
    }

    /// For tests: from now on writes fail for this reason, or succeed again.
    fn fail_writes(&self, _reason: Option<&str>) {}
}
