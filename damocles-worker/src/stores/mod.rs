//! Where sectors lie: the sealing store of a thread (one sector at a time, on this machine)
//! and the attached stores (finished sectors, shared with the manager by name).
//!
//! The only room that knows how directories are laid out; the layout is upstream's. It moves
//! no data: copies are made by the transfer stage, in a child.

pub mod look;
pub mod mark;
pub mod attached;
pub mod sealing;
pub mod database;

pub use attached::{AttachedStore, AttachedStores};
pub use database::Database;
pub use mark::{Mark, Seen};
pub use sealing::{SealingStore, SectorPaths};

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a directory cannot serve as a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0} is not there")]
    Missing(PathBuf),
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    #[error("{path} is not a sealing store: it has no .holder file but holds {found}")]
    Foreign { path: PathBuf, found: String },
    #[error("{0} is an empty directory, not a sealing store yet")]
    NotInitialised(PathBuf),
    #[error("{0} is a sealing store already")]
    AlreadyInitialised(PathBuf),
    #[error("{path} cannot be used: {doing}: {error}")]
    Io {
        path: PathBuf,
        doing: &'static str,
        error: io::Error,
    },
    #[error("{0} gives no answer; its disk or server may hang")]
    Hangs(PathBuf),
    #[error("{path}/{file} cannot be read: {error}")]
    Description {
        path: PathBuf,
        file: &'static str,
        error: serde_json::Error,
    },
    #[error("{path} is not the store {name:?} that was here: {found}; is its disk not mounted?")]
    NotMounted {
        path: PathBuf,
        name: String,
        found: String,
    },
    #[error("the database of the sealing store {path} is lost, but {left}; nothing was touched")]
    LostDatabase { path: PathBuf, left: String },
    #[error(
        "the database in {path}/meta is not the one that the store belongs to: it is {found}, and the store's is {known}; nothing was touched"
    )]
    OtherDatabase {
        path: PathBuf,
        known: String,
        found: String,
    },
    #[error("{pattern:?} is not a path pattern: {error}")]
    Pattern { pattern: String, error: String },
    #[error("two attached stores, {first:?} and {second:?}, are one directory: {path}")]
    TwoNames {
        path: PathBuf,
        first: String,
        second: String,
    },
    #[error("two attached stores have the name {name:?}: {first} and {second}")]
    Duplicate {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
}

impl StoreError {
    /// The next step for a person.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing(path) => format!(
                "mount the disk; or make the store: damocles-worker store sealing-init -l {0} (of a sealing thread), store file-init -l {0} (for finished sectors)",
                path.display()
            ),
            Self::NotADirectory(_) => {
                "name a directory; a store is a directory of its own".to_owned()
            }
            Self::Foreign { .. } => {
                "choose a directory of its own for the sealing thread; nothing was changed here"
                    .to_owned()
            }
            Self::NotInitialised(path) => format!(
                "is the disk mounted? If so, run: damocles-worker store sealing-init -l {}",
                path.display()
            ),
            Self::AlreadyInitialised(path) => format!(
                "nothing needs to be done; use it as location = \"{}\"",
                path.display()
            ),
            Self::Io { path, .. } => format!(
                "let the worker's user read and write {}, and check that the disk is mounted and not full",
                path.display()
            ),
            Self::Hangs(_) => {
                "look at the disk or the file server (dmesg, mount); it is tried again by itself".to_owned()
            }
            Self::NotMounted { path, .. } => format!(
                "mount it; if this is another store by intention: damocles-worker store file-init --anew -l {}",
                path.display()
            ),
            Self::LostDatabase { path, .. } => format!(
                "look for {0}/meta (fsck moves what it finds to lost+found) or restore it from a backup, then resume the thread; to give up what is in {0}/data, remove that and {0}/{1} by hand",
                path.display(),
                database::FILE
            ),
            Self::OtherDatabase { path, .. } => format!(
                "put the store's own {0}/meta back, then resume the thread; if the present one is right, remove {0}/{1} by hand",
                path.display(),
                database::FILE
            ),
            Self::Description { .. } => {
                "it must be JSON with \"ID\", \"Name\" and perhaps \"ReadOnly\"; mind trailing commas".to_owned()
            }
            Self::Pattern { .. } => {
                "write a path with * or ?, for example \"/mnt/stores/*\"".to_owned()
            }
            Self::TwoNames { .. } => {
                "attach a directory once, or its room is promised twice; a pattern of scan_persist_stores may find it, too".to_owned()
            }
            Self::Duplicate { .. } => {
                "give every store a name of its own: manager and workers know stores by name".to_owned()
            }
        }
    }

    /// Whether this may pass without anybody changing the config: a disk that is not mounted, or
    /// does not answer. Such a store is waited for.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Missing(_)
            | Self::NotInitialised(_)
            | Self::Io { .. }
            | Self::Hangs(_)
            | Self::NotMounted { .. } => true,
            Self::NotADirectory(_)
            | Self::Foreign { .. }
            | Self::AlreadyInitialised(_)
            | Self::LostDatabase { .. }
            | Self::OtherDatabase { .. }
            | Self::Description { .. }
            | Self::Pattern { .. }
            | Self::TwoNames { .. }
            | Self::Duplicate { .. } => false,
        }
    }
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { path, doing, error }
}
