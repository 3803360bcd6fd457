//! Changes that go down together or not at all.

use crate::{KvError, Table};
use serde::Serialize;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power cut. For everything that somebody acts upon.
    Synced,
    /// With the operating system: survives the death of the process. For pings and the like.
    /// PostgreSQL brings it to the disk as well.
    Buffered,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
}

/// An atomic set of changes, applied in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Sets a value.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes
            .push(Change::Put(table, key.into(), value.into()));
    }

    /// Sets a value as JSON.
    pub fn put_json<T: Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) -> Result<(), KvError> {
        let key = key.into();
        let bytes = serde_json::to_vec(value).map_err(|source| KvError::Encode {
            table: table.0,
            key: crate::table::show(&key),
            source,
        })?;
        self.put(table, key, bytes);
        Ok(())
    }

    /// Removes a value; one that is not there is no error.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.changes.push(Change::Delete(table, key.into()));
    }
}
