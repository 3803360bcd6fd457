//! Persist stores as the file names them. Only texts are compared here: a disk that hangs must
//! not keep the configuration from being checked, nor the daemon from starting.

use super::raw::PersistStore;
use crate::policy::StorePolicy;
use std::path::{Path, PathBuf};

/// A store of the file; the name falls back to the path as it was written.
pub(super) fn configured(raw: PersistStore, path: PathBuf) -> StorePolicy {
    let PersistStore {
        name,
        path: written,
        strict,
        read_only,
        weight,
        allow_miners,
        deny_miners,
        meta,
    } = raw;
    StorePolicy {
        name: if name.is_empty() { written } else { name },
        path,
        strict,
        read_only,
        weight,
        allow_miners,
        deny_miners,
        meta,
    }
}

/// A path without what makes no difference (`/a/./b/`), as far as its text alone tells.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// What is wrong with a pattern for scanning; nothing is looked up.
pub(super) fn pattern_fault(pattern: &str) -> Option<String> {
    let error = glob::Pattern::new(pattern).err()?;
    Some(format!("{pattern:?} is not a glob pattern: {error}"))
}
