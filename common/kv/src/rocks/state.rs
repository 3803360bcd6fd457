//! The open database, or why it is closed.

use super::options::{Log, db_options, descriptors, families, table_options};
use crate::{
    KvError, Table,
    change::Change,
    stamp::STAMP_KEY,
    table::META,
    transaction::{Version, pack},
};
use rocksdb::{ColumnFamily, DB, Options, WriteBatch};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Between two attempts to open a database anew.
const PAUSE: Duration = Duration::from_secs(1);

/// The database, or why it is closed.
#[derive(Debug)]
pub(super) struct State {
    pub(super) db: Result<DB, String>,
    /// Counts openings, so that of many failed writers one opens it anew.
    pub(super) opening: u64,
    tried: Option<Instant>,
    /// How many changes RocksDB had counted after the last write.
    written: AtomicU64,
}

/// What was opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reopened {
    /// Everything that had been written.
    Whole,
    /// What was not on the disk is gone.
    Short,
}

impl State {
    /// Opens the database, which has these families, to read and write.
    pub(super) fn open(
        dir: &Path,
        families: &[String],
        options: &Options,
    ) -> Result<Self, rocksdb::Error> {
        let db = DB::open_cf_descriptors(options, dir, descriptors(families))?;
        let written = AtomicU64::new(db.latest_sequence_number());
        Ok(Self {
            db: Ok(db),
            opening: 0,
            tried: None,
            written,
        })
    }

    /// Adds tables that the database does not have yet.
    pub(super) fn add_tables(
        &mut self,
        tables: impl Iterator<Item = Table>,
    ) -> Result<(), rocksdb::Error> {
        let Ok(db) = &mut self.db else {
            return Ok(());
        };
        // One set of options, so that the tables share one cache.
        let options = table_options();
        for table in tables {
            if db.cf_handle(table.0).is_none() {
                db.create_cf(table.0, &options)?;
            }
        }
        Ok(())
    }

    /// How many changes RocksDB has counted.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Closes the database and opens it, unless somebody has done so since `opening`.
    pub(super) fn open_anew(&mut self, dir: &Path, opening: u64) -> Option<Reopened> {
        let lately = self.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        // a disk that went away must not be taken for an empty one
        if self.opening != opening || lately || !dir.join("CURRENT").is_file() {
            return None;
        }
        self.tried = Some(Instant::now());
        // the old one holds the lock of the directory
        self.db = Err("it is being opened anew".to_owned());
        self.db = families(dir)
            .and_then(|names| {
                let options = db_options(false, Log::Whole);
                DB::open_cf_descriptors(&options, dir, descriptors(&names))
            })
            .map_err(|e| {
                format!("it was closed after a failed write, and cannot be opened anew: {e}")
            });
        match &self.db {
            Ok(db) => {
                self.opening += 1;
                tracing::warn!(dir = %dir.display(), "a write to the database failed; it was opened anew");
                let now = db.latest_sequence_number();
                let before = self.written.swap(now, Ordering::Relaxed);
                Some(if now >= before {
                    Reopened::Whole
                } else {
                    Reopened::Short
                })
            }
            Err(reason) => {
                tracing::debug!(dir = %dir.display(), "{reason}");
                None
            }
        }
    }

    /// Writes the changes as one, with this version. They are with the operating system then, and
    /// not yet on the disk.
    pub(super) fn apply(&self, changes: &[Change], version: Version) -> Result<(), KvError> {
        let Some((last, _)) = changes.last().map(Change::place) else {
            return Ok(());
        };
        let db = self.writable(last)?;
        let mut out = WriteBatch::default();
        for change in changes {
            match change {
                // programs of before the versions read it, too, and should find it newer, not
                // damaged
                Change::Put(META, key, value) if key == STAMP_KEY => {
                    out.put_cf(family(db, META)?, key, value);
                }
                Change::Put(table, key, value) => {
                    let family = family(db, *table)?;
                    out.put_cf(family, key, pack(version, value));
                }
                Change::Delete(table, key) => out.delete_cf(family(db, *table)?, key),
            }
        }
        db.write(out).map_err(|e| failed("writing", last, &e))?;
        self.written
            .store(db.latest_sequence_number(), Ordering::Relaxed);
        Ok(())
    }

    /// Brings to the disk what was written.
    pub(super) fn sync(&self, table: Table) -> Result<(), KvError> {
        let db = self.writable(table)?;
        db.flush_wal(true).map_err(|e| failed("writing", table, &e))
    }

    fn writable(&self, table: Table) -> Result<&DB, KvError> {
        self.db.as_ref().map_err(|reason| KvError::Storage {
            doing: "writing",
            table: table.0,
            reason: reason.clone(),
        })
    }
}

pub(super) fn family(db: &DB, table: Table) -> Result<&ColumnFamily, KvError> {
    db.cf_handle(table.0).ok_or(KvError::UnknownTable(table.0))
}

pub(super) fn failed(doing: &'static str, table: Table, error: &rocksdb::Error) -> KvError {
    KvError::Storage {
        doing,
        table: table.0,
        reason: error.to_string(),
    }
}
