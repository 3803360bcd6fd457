//! The open database, for who reads.

use super::{
    commit::Rocks,
    state::{failed, family},
};
use crate::{KvError, Table, table::META, transaction::unpack};
use rocksdb::DB;

impl Rocks {
    /// Shows the open database, and which opening of it that is.
    pub(super) fn with<T, E: From<KvError>>(
        &self,
        see: impl FnOnce(&DB, u64) -> Result<T, E>,
    ) -> Result<T, E> {
        // recursive: not behind one that waits to open it anew, for that waits for readers
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

    /// A value outside of any transaction, before the database is anybody's.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.with(|db, _| {
            db.get_pinned_cf(family(db, table)?, key)
                .map(|found| found.map(|bytes| unpack(&bytes).1.to_vec()))
                .map_err(|e| failed("reading", table, &e))
        })
    }
}
