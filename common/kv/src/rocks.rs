//! RocksDB below the store: options, reads, batches. Tables are column families.

use crate::{Batch, Durability, KvError, Table, batch::Change};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use std::{ops::ControlFlow, path::Path};

/// Memory of one database: some MiB of write buffers and some of cache. A daemon holds tens of
/// thousands of small records, not a chain.
const WRITE_BUFFER: usize = 2 << 20;
const ALL_WRITE_BUFFERS: usize = 8 << 20;
const BLOCK_CACHE: usize = 8 << 20;
const LARGEST_WAL: u64 = 16 << 20;
const OPEN_FILES: i32 = 128;

#[derive(Debug)]
pub(crate) struct Rocks(DB);

pub(crate) fn db_options() -> Options {
    let mut o = table_options();
    o.create_if_missing(true);
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
    let mut o = Options::default();
    o.set_write_buffer_size(WRITE_BUFFER);
    o.set_compression_type(DBCompressionType::Lz4);
    o.set_block_based_table_factory(&blocks);
    o
}

impl Rocks {
    /// Opens the database with the families that it has; `None` when there is none yet.
    pub(crate) fn families(dir: &Path) -> Result<Option<Vec<String>>, rocksdb::Error> {
        if !dir.join("CURRENT").exists() {
            return Ok(None);
        }
        DB::list_cf(&db_options(), dir).map(Some)
    }

    pub(crate) fn open(dir: &Path, families: &[String]) -> Result<Self, rocksdb::Error> {
        let options = table_options();
        let families = families
            .iter()
            .map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        DB::open_cf_descriptors(&db_options(), dir, families).map(Self)
    }

    /// Adds tables that the database does not have yet.
    pub(crate) fn add_tables(
        &mut self,
        tables: impl Iterator<Item = Table>,
    ) -> Result<(), rocksdb::Error> {
        // One set of options, so that the tables share one cache.
        let options = table_options();
        for table in tables {
            if self.0.cf_handle(table.0).is_none() {
                self.0.create_cf(table.0, &options)?;
            }
        }
        Ok(())
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

    fn family(&self, table: Table) -> Result<&ColumnFamily, KvError> {
        self.0
            .cf_handle(table.0)
            .ok_or(KvError::UnknownTable(table.0))
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0
            .get_cf(self.family(table)?, key)
            .map_err(|e| failed("reading", table, e))
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
        for entry in self.0.iterator_cf(self.family(table)?, mode) {
            let (key, value) = entry.map_err(|e| failed("reading", table, e))?;
            if !key.starts_with(prefix) || see(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        let mut out = WriteBatch::default();
        let mut last = Table("");
        for change in batch.changes {
            match change {
                Change::Put(table, key, value) => {
                    out.put_cf(self.family(table)?, key, value);
                    last = table;
                }
                Change::Delete(table, key) => {
                    out.delete_cf(self.family(table)?, key);
                    last = table;
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.0
            .write_opt(out, &options)
            .map_err(|e| failed("writing", last, e))
    }
}

/// The first key above all that begin with `prefix`; `None` when there is no such bound.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

fn failed(doing: &'static str, table: Table, error: rocksdb::Error) -> KvError {
    KvError::Storage {
        doing,
        table: table.0,
        reason: error.into_string(),
    }
}
