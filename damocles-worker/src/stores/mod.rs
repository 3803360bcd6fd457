//! Where sectors lie: the sealing store of a thread (one sector at a time, on this machine)
//! and the attached stores (finished sectors, shared with the manager by name).
//!
//! The only room that knows how directories are laid out; the layout is upstream's. It moves
//! no data: copies are made by the transfer stage, in a child.

pub mod attached;
pub mod sealing;

pub use attached::{AttachedStore, AttachedStores};
pub use sealing::{SealingStore, SectorPaths};

use std::{io, path::PathBuf};

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
    #[error("{path}/sectorstore.json cannot be read: {error}")]
    Description {
        path: PathBuf,
        error: serde_json::Error,
    },
    #[error("{pattern:?} is not a path pattern: {error}")]
    Pattern { pattern: String, error: String },
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
                "mount the disk, or make the directory: mkdir -p {}",
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
            Self::Description { .. } => {
                "it must be JSON with \"ID\", \"Name\" and perhaps \"ReadOnly\"; mind trailing commas".to_owned()
            }
            Self::Pattern { .. } => {
                "write a path with * or ?, for example \"/mnt/stores/*\"".to_owned()
            }
            Self::Duplicate { .. } => {
                "give every store a name of its own: manager and workers know stores by name".to_owned()
            }
        }
    }
}
