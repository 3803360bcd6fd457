//! RocksDB below the store: options, reads, batches. Tables are column families.
//!
//! RocksDB stops for good after a failed write of its log, also when the disk is well again a
//! second later. So a write that failed is tried once more on a database that was closed and
//! opened anew; what was acknowledged is in the log and comes back with it.

use crate::{
    Batch, Durability, KvError, Table,
    batch::Change,
    health::{Trouble, heals_by_itself},
};
use parking_lot::{Mutex, RwLock};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Memory of one database: some MiB of write buffers and some of cache. A daemon holds tens of
/// thousands of small records, not a chain.
const WRITE_BUFFER: usize = 2 << 20;
const ALL_WRITE_BUFFERS: usize = 8 << 20;
const BLOCK_CACHE: usize = 8 << 20;
const LARGEST_WAL: u64 = 16 << 20;
const OPEN_FILES: i32 = 128;
/// Newer table formats are not read by the RocksDB of older programs.
const TABLE_FORMAT: i32 = 5;
/// Between two attempts to open a database anew.
const PAUSE: Duration = Duration::from_secs(1);
/// For readers to leave before it is opened anew. One that writes from within its walk waits
/// for itself, and gives up here.
const LEAVE: Duration = Duration::from_secs(2);

/// What becomes of a log whose end cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// An unfinished last record is what a kill leaves; anything else is refused.
    Whole,
    /// Everything from the first bad record on is left out: somebody has decided so.
    Cut,
}

pub(crate) fn db_options(make: bool, log: Log) -> Options {
    let mut o = table_options();
    o.create_if_missing(make);
    o.set_wal_recovery_mode(match log {
        Log::Whole => DBRecoveryMode::TolerateCorruptedTailRecords,
        Log::Cut => DBRecoveryMode::PointInTime,
    });
    o.set_track_and_verify_wals_in_manifest(log == Log::Whole);
    o.set_db_write_buffer_size(ALL_WRITE_BUFFERS);
    o.set_max_total_wal_size(LARGEST_WAL);
    o.set_max_open_files(OPEN_FILES);
    o.set_max_background_jobs(2);
    o.set_keep_log_file_num(2);
    o.set_max_log_file_size(1 << 20);
    o.set_max_manifest_file_size(4 << 20);
    o
}

fn table_options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    blocks.set_format_version(TABLE_FORMAT);
    let mut o = Options::default();
    o.set_write_buffer_size(WRITE_BUFFER);
    o.set_compression_type(DBCompressionType::Lz4);
    o.set_block_based_table_factory(&blocks);
    o
}

fn descriptors(names: &[String]) -> Vec<ColumnFamilyDescriptor> {
    let options = table_options();
    let one = |name: &String| ColumnFamilyDescriptor::new(name, options.clone());
    names.iter().map(one).collect()
}

/// The families of the database in a directory that has one. Reads only.
pub(crate) fn families(dir: &Path) -> Result<Vec<String>, rocksdb::Error> {
    DB::list_cf(&Options::default(), dir)
}

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

/// The database, or why it is closed.
#[derive(Debug)]
struct State {
    db: Result<DB, String>,
    /// Counts openings, so that of many failed writers one opens it anew.
    opening: u64,
    tried: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Rocks {
    dir: PathBuf,
    state: RwLock<State>,
    trouble: Mutex<Option<Trouble>>,
}

impl Rocks {
    /// Opens the database, which has these families, to read and write.
    pub(crate) fn open(
        dir: &Path,
        families: &[String],
        options: &Options,
    ) -> Result<Self, rocksdb::Error> {
        let db = DB::open_cf_descriptors(options, dir, descriptors(families))?;
        Ok(Self {
            dir: dir.to_owned(),
            state: RwLock::new(State {
                db: Ok(db),
                opening: 0,
                tried: None,
            }),
            trouble: Mutex::new(None),
        })
    }

    /// Adds tables that the database does not have yet.
    pub(crate) fn add_tables(
        &mut self,
        tables: impl Iterator<Item = Table>,
    ) -> Result<(), rocksdb::Error> {
        let Ok(db) = &mut self.state.get_mut().db else {
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

    /// Why the last write failed, until one succeeds.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    fn read<T>(
        &self,
        table: Table,
        see: impl FnOnce(&DB, &ColumnFamily) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        // recursive: who walks may read from within
        let mut state = self.state.read_recursive();
        if state.db.is_err() {
            drop(state);
            if let Some(mut closed) = self.state.try_write_for(LEAVE) {
                let opening = closed.opening;
                closed.open_anew(&self.dir, opening);
            }
            state = self.state.read_recursive();
        }
        match &state.db {
            Ok(db) => see(db, family(db, table)?),
            Err(reason) => Err(KvError::Storage {
                doing: "reading",
                table: table.0,
                reason: reason.clone(),
            }),
        }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.read(table, |db, cf| {
            db.get_cf(cf, key).map_err(|e| failed("reading", table, &e))
        })
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
        let end = after(prefix);
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
        self.read(table, |db, cf| {
            for entry in db.iterator_cf(cf, mode) {
                let (key, value) = entry.map_err(|e| failed("reading", table, &e))?;
                if !key.starts_with(prefix) || see(&key, &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn write(&self, batch: &Batch, durability: Durability) -> Result<(), KvError> {
        let (first, opening) = {
            let state = self.state.read_recursive();
            (state.apply(batch, durability), state.opening)
        };
        let done = match first {
            Err(KvError::Storage { reason, .. }) if !heals_by_itself(&reason) => {
                self.write_anew(batch, durability, opening)
            }
            other => other,
        };
        let mut trouble = self.trouble.lock();
        match &done {
            Ok(()) => *trouble = None,
            Err(KvError::Storage { reason, .. }) => {
                trouble.get_or_insert_with(|| Trouble::new(reason));
            }
            Err(_) => {}
        }
        done
    }

    /// The same batch on the database opened anew, with no other write in between.
    fn write_anew(
        &self,
        batch: &Batch,
        durability: Durability,
        opening: u64,
    ) -> Result<(), KvError> {
        if let Some(mut state) = self.state.try_write_for(LEAVE) {
            state.open_anew(&self.dir, opening);
            return state.apply(batch, durability);
        }
        self.state.read_recursive().apply(batch, durability)
    }
}

impl State {
    /// Closes the database and opens it, unless somebody has done so since `opening`.
    fn open_anew(&mut self, dir: &Path, opening: u64) {
        let lately = self.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        // a disk that went away must not be taken for an empty one
        if self.opening != opening || lately || !dir.join("CURRENT").is_file() {
            return;
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
            Ok(_) => {
                self.opening += 1;
                tracing::warn!(dir = %dir.display(), "a write to the database failed; it was opened anew");
            }
            Err(reason) => tracing::debug!(dir = %dir.display(), "{reason}"),
        }
    }

    fn apply(&self, batch: &Batch, durability: Durability) -> Result<(), KvError> {
        let last = match batch.changes.last() {
            Some(Change::Put(table, ..) | Change::Delete(table, _)) => *table,
            None => return Ok(()),
        };
        let db = self.db.as_ref().map_err(|reason| KvError::Storage {
            doing: "writing",
            table: last.0,
            reason: reason.clone(),
        })?;
        let mut out = WriteBatch::default();
        for change in &batch.changes {
            match change {
                Change::Put(table, key, value) => out.put_cf(family(db, *table)?, key, value),
                Change::Delete(table, key) => out.delete_cf(family(db, *table)?, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        db.write_opt(out, &options)
            .map_err(|e| failed("writing", last, &e))
    }
}

fn family(db: &DB, table: Table) -> Result<&ColumnFamily, KvError> {
    db.cf_handle(table.0).ok_or(KvError::UnknownTable(table.0))
}

/// The first key above all that begin with `prefix`; `None` when there is no such bound.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

fn failed(doing: &'static str, table: Table, error: &rocksdb::Error) -> KvError {
    KvError::Storage {
        doing,
        table: table.0,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocksdb::statistics::Ticker;

    const A: Table = Table("a");

    /// RocksDB itself counts how often it brought its log to the disk.
    #[test]
    fn a_synced_write_is_brought_to_the_disk_and_a_buffered_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = db_options(true, Log::Whole);
        options.enable_statistics();
        let mut rocks = Rocks::open(dir.path(), &["default".to_owned()], &options).unwrap();
        rocks.add_tables([A].into_iter()).unwrap();
        let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
        let mut batch = Batch::new();
        batch.put(A, "k", "v");
        let before = syncs();
        rocks.write(&batch, Durability::Buffered).unwrap();
        assert_eq!(syncs(), before);
        for n in 1..=3 {
            rocks.write(&batch, Durability::Synced).unwrap();
            assert_eq!(syncs(), before + n);
        }
    }
}
