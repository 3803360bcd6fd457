//! How RocksDB is opened. Tables are column families.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options,
};
use std::path::Path;

/// Memory of one database: some MiB of write buffers and some of cache. A daemon holds tens of
/// thousands of small records, not a chain.
const WRITE_BUFFER: usize = 2 << 20;
const ALL_WRITE_BUFFERS: usize = 8 << 20;
const BLOCK_CACHE: usize = 8 << 20;
const LARGEST_WAL: u64 = 16 << 20;
const OPEN_FILES: i32 = 128;
/// Newer table formats are not read by the RocksDB of older programs.
const TABLE_FORMAT: i32 = 5;
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

pub(super) fn table_options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    blocks.set_format_version(TABLE_FORMAT);
    let mut o = Options::default();
    o.set_write_buffer_size(WRITE_BUFFER);
    o.set_compression_type(DBCompressionType::Lz4);
    o.set_block_based_table_factory(&blocks);
    o
}

pub(super) fn descriptors(names: &[String]) -> Vec<ColumnFamilyDescriptor> {
    let options = table_options();
    let one = |name: &String| ColumnFamilyDescriptor::new(name, options.clone());
    names.iter().map(one).collect()
}

/// The families of the database in a directory that has one. Reads only.
pub(crate) fn families(dir: &Path) -> Result<Vec<String>, rocksdb::Error> {
    DB::list_cf(&Options::default(), dir)
}
