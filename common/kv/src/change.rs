//! A change of a record, and when it counts as done.

use crate::Table;

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

impl Change {
    /// The record that is changed.
    pub(crate) fn place(&self) -> (Table, &[u8]) {
        let (Self::Put(table, key, _) | Self::Delete(table, key)) = self;
        (*table, key)
    }
}
