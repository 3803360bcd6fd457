//! A look at a database in which nothing changes by it.

use super::options::{Log, db_options, descriptors};
use crate::Table;
use rocksdb::{DB, IteratorMode};
use std::path::Path;

/// A database that is only looked at: nothing in its directory changes.
#[derive(Debug)]
pub(crate) struct Glimpse(DB);

impl Glimpse {
    pub(crate) fn of(dir: &Path, families: &[String]) -> Result<Self, rocksdb::Error> {
        // the log is read as far as it goes: whose it is stands in its first records
        let mut options = db_options(false, Log::Cut);
        // without it RocksDB wants to write down that logs are not followed any more, which it
        // cannot here, and crashes
        options.set_track_and_verify_wals_in_manifest(true);
        DB::open_cf_descriptors_read_only(&options, dir, descriptors(families), false).map(Self)
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        match self.0.cf_handle(table.0) {
            Some(cf) => self.0.get_cf(cf, key),
            None => Ok(None),
        }
    }

    /// Whether any family holds any record.
    pub(crate) fn has_records(&self, families: &[String]) -> Result<bool, rocksdb::Error> {
        for name in families {
            if let Some(cf) = self.0.cf_handle(name)
                && let Some(first) = self.0.iterator_cf(cf, IteratorMode::Start).next()
            {
                first?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
