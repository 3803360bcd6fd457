//! How RocksDB is opened. Tables are column families.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options, WriteBufferManager,
};
use std::{path::Path, sync::OnceLock};

/// Of what all databases may hold, so much is one table's before it goes to the disk.
const OF_ONE_TABLE: usize = 4;
/// Bits of the filter that tells for most keys that they are not in a file.
const FILTER_BITS: f64 = 10.0;
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

/// How much memory the databases of this process may use together, however many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes for what was read.
    pub cache: usize,
    /// Bytes for what was written and is in the log only.
    pub writes: usize,
}

impl Default for Memory {
    /// For daemons that hold thousands of small records.
    fn default() -> Self {
        Self {
            cache: 16 << 20,
            writes: 16 << 20,
        }
    }
}

impl Memory {
    /// Sets it for this process. False: a database was opened before, and it stays as it was.
    pub fn set(self) -> bool {
        SHARED.set(Shared::new(self)).is_ok()
    }
}

/// What the databases of this process share.
struct Shared {
    cache: Cache,
    buffers: WriteBufferManager,
    memory: Memory,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

impl Shared {
    fn new(memory: Memory) -> Self {
        Self {
            cache: Cache::new_lru_cache(memory.cache),
            // a writer is never held up by it: what is too much goes to the disk sooner
            buffers: WriteBufferManager::new_write_buffer_manager(memory.writes, false),
            memory,
        }
    }

    fn get() -> &'static Self {
        SHARED.get_or_init(|| Self::new(Memory::default()))
    }
}

pub(crate) fn db_options(make: bool, log: Log) -> Options {
    let shared = Shared::get();
    let mut o = table_options();
    o.create_if_missing(make);
    o.set_wal_recovery_mode(match log {
        Log::Whole => DBRecoveryMode::TolerateCorruptedTailRecords,
        Log::Cut => DBRecoveryMode::PointInTime,
    });
    o.set_track_and_verify_wals_in_manifest(log == Log::Whole);
    o.set_write_buffer_manager(&shared.buffers);
    o.set_max_total_wal_size(2 * shared.memory.writes as u64);
    o.set_max_open_files(OPEN_FILES);
    o.set_max_background_jobs(2);
    o.set_keep_log_file_num(2);
    o.set_max_log_file_size(1 << 20);
    o.set_max_manifest_file_size(4 << 20);
    o
}

pub(super) fn table_options() -> Options {
    let shared = Shared::get();
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&shared.cache);
    blocks.set_bloom_filter(FILTER_BITS, false);
    // or they would be beside the cache, and grow with the database
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(TABLE_FORMAT);
    let mut o = Options::default();
    o.set_write_buffer_size(shared.memory.writes / OF_ONE_TABLE);
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
