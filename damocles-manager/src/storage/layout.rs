//! Where a sector's files lie inside a persist store. Names are a contract with workers and
//! with stores that upstream filled: `sealed/s-t0M-N`, `cache/s-t0M-N/…`, and for upgraded
//! sectors `update/…`, `update-cache/…`. No disk access here.

use crate::db::stores::Replica;
use damocles_types::{SectorId, SectorSize};
use std::path::{Path, PathBuf};

/// The file in a persist store that says which one it is.
pub const STORE_MARK: &str = ".damocles-store";
/// The file by which a scan finds a persist store (Lotus' name and, mostly, form).
pub const SCANNED_MARK: &str = "sectorstore.json";
/// The file that marks a worker's sealing store.
pub(super) const SEALING_MARK: &str = ".holder";

const fn dirs(replica: Replica) -> (&'static str, &'static str) {
    match replica {
        Replica::Normal => ("sealed", "cache"),
        Replica::Upgrade => ("update", "update-cache"),
    }
}

/// Path of the replica's big file, relative to the store.
pub(super) fn sealed_file(sector: SectorId, replica: Replica) -> PathBuf {
    Path::new(dirs(replica).0).join(sector.to_string())
}

/// Path of the replica's cache directory, relative to the store.
pub(super) fn cache_dir(sector: SectorId, replica: Replica) -> PathBuf {
    Path::new(dirs(replica).1).join(sector.to_string())
}

/// The directory in which the big files of a kind of replica lie.
pub(super) fn sealed_root(replica: Replica) -> &'static str {
    dirs(replica).0
}

/// A file that proving needs, relative to the store, and how long it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) path: PathBuf,
    /// Bytes; none: anything but empty.
    pub(super) len: Option<u64>,
}

/// The replica itself, whole, if it is known how long that is.
pub(super) fn needed_sealed(
    sector: SectorId,
    size: Option<SectorSize>,
    replica: Replica,
) -> Needed {
    Needed {
        path: sealed_file(sector, replica),
        len: size.map(SectorSize::bytes),
    }
}

/// The cache files without which it cannot be proven.
pub(super) fn needed_cache(sector: SectorId, size: SectorSize, replica: Replica) -> Vec<Needed> {
    let cache = cache_dir(sector, replica);
    let file = |name: String| Needed {
        path: cache.join(name),
        len: None,
    };
    size.proving_cache_files().into_iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_workers_use() {
        let sector = SectorId::new(1000, 7);
        assert_eq!(
            sealed_file(sector, Replica::Normal),
            Path::new("sealed/s-t01000-7")
        );
        assert_eq!(
            cache_dir(sector, Replica::Upgrade),
            Path::new("update-cache/s-t01000-7")
        );
        let sealed = needed_sealed(sector, Some(SectorSize::GiB32), Replica::Normal);
        assert_eq!(sealed.len, Some(32 << 30));
        let cache = needed_cache(sector, SectorSize::GiB32, Replica::Normal);
        assert_eq!(cache.len(), 10);
        assert!(cache.iter().all(|f| f.len.is_none()));
        assert!(
            cache
                .iter()
                .any(|f| f.path == Path::new("cache/s-t01000-7/sc-02-data-tree-r-last-7.dat"))
        );
    }
}
