//! Single reads and walks, outside of transactions.

use super::{
    commit::Rocks,
    state::{failed, family},
};
use crate::{
    KvError, Table,
    recent::Footprint,
    table::META,
    transaction::{Range, after_all, unpack},
};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode};
use std::ops::ControlFlow;

impl Rocks {
    /// Shows the open database, and which opening of it that is.
    pub(super) fn with<T, E: From<KvError>>(
        &self,
        see: impl FnOnce(&DB, u64) -> Result<T, E>,
    ) -> Result<T, E> {
        // recursive: who walks may read from within
        let mut state = self.state.read_recursive();
        if state.db.is_err() {
            drop(state);
            self.open_closed();
            state = self.state.read_recursive();
        }
        match &state.db {
            Ok(db) => see(db, state.opening),
            Err(reason) => Err(E::from(KvError::Storage {
                doing: "reading",
                table: META.0,
                reason: reason.clone(),
            })),
        }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let found = self.with(|db, _| {
            db.get_pinned_cf(family(db, table)?, key)
                .map(|found| found.map(|bytes| unpack(&bytes).1.to_vec()))
                .map_err(|e| failed("reading", table, &e))
        })?;
        self.settle(&Footprint {
            keys: vec![(table, key.to_vec())],
            ranges: Vec::new(),
        })?;
        Ok(found)
    }

    pub(crate) fn walk(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let start = from.max(prefix);
        let mode = IteratorMode::From(start, Direction::Forward);
        self.iterate(table, prefix, mode, see)
    }

    pub(crate) fn walk_back(
        &self,
        table: Table,
        prefix: &[u8],
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let end = after_all(prefix);
        let mode = match &end {
            Some(end) => IteratorMode::From(end, Direction::Reverse),
            None => IteratorMode::End,
        };
        // Going backwards from the first key after the prefix, that key itself may come first.
        let mut see = see;
        self.iterate(table, b"", mode, |key, value| {
            if key.starts_with(prefix) {
                see(key, value)
            } else if key > prefix {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }

    fn iterate(
        &self,
        table: Table,
        prefix: &[u8],
        mode: IteratorMode<'_>,
        mut see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.with(|db, _| {
            let family: &ColumnFamily = family(db, table)?;
            let entries = db.iterator_cf(family, mode);
            // what the iterator shows is fixed now
            self.settle(&Footprint {
                keys: Vec::new(),
                ranges: vec![(
                    table,
                    Range {
                        low: prefix.to_vec(),
                        high: after_all(prefix),
                    },
                )],
            })?;
            for entry in entries {
                let (key, value) = entry.map_err(|e| failed("reading", table, &e))?;
                if !key.starts_with(prefix) || see(&key, unpack(&value).1).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}
