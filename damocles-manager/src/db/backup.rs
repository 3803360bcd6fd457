//! A copy of the database in a directory of its own, with what a home knows of it: whose it is, and
//! the highest numbers that were handed out. Whole or not there.

use crate::{
    db::{Db, DbError, versions::SCHEMA},
    model::{UnixMs, seconds, unix_ms},
};
use damocles_api::damocles_cli::BackupView;
use damocles_daemon::{belongs::NUMBERS_FILE, file};
use damocles_kv::{OpenError, StoreError};
use damocles_types::SectorNumber;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

const FORMAT: &str = "damocles-backup";
/// What it is.
const NOTE: &str = "backup.json";
/// The copy of the database in it.
const DATABASE: &str = "database";

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    format: String,
    pub schema_version: u32,
    pub database: Uuid,
    /// The genesis block's CID, if the database has met a network.
    pub network: Option<String>,
    pub made_at: UnixMs,
}

impl Note {
    /// As callers are told it.
    pub fn view(&self, directory: String) -> BackupView {
        BackupView {
            directory,
            database: self.database.to_string(),
            schema_version: self.schema_version,
            network: self.network.clone(),
            made_at: seconds(self.made_at),
        }
    }
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the directory of a backup is an absolute path on the manager's host, not {0:?}")]
    Relative(PathBuf),
    #[error("{0} exists already; a backup is a directory of its own, name a new one")]
    Exists(PathBuf),
    #[error(
        "the database lies on a PostgreSQL server; back it up there with pg_dump, or write it into a file with `damocles-manager db export`"
    )]
    OnServer,
    #[error("{path} cannot be written: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Db(error.into())
    }
}

impl Db {
    /// Copies the database as it is now into a directory that does not exist yet; others go on
    /// meanwhile.
    ///
    /// # Errors
    /// [`BackupError`]; nothing is left then.
    pub fn backup(&self, to: &Path) -> Result<Note, BackupError> {
        if !to.is_absolute() {
            return Err(BackupError::Relative(to.to_owned()));
        }
        let failed = |source| BackupError::Io {
            path: to.to_owned(),
            source,
        };
        // also a link that leads nowhere
        if fs::symlink_metadata(to).is_ok() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(BackupError::Exists(to.to_owned()));
        };
        let making = format!(".{}.{}", name.to_string_lossy(), Uuid::new_v4());
        let making = parent.join(making);
        fs::create_dir(&making).map_err(failed)?;
        let made = self.copy_into(&making).and_then(|note| {
            // not onto what somebody made meanwhile: only an empty directory gives way to it
            fs::rename(&making, to).map_err(failed)?;
            File::open(parent)
                .and_then(|dir| dir.sync_all())
                .map_err(failed)?;
            Ok(note)
        });
        if made.is_err() {
            // best effort: the error that matters is the first one
            let _ = fs::remove_dir_all(&making);
        }
        made
    }

    fn copy_into(&self, dir: &Path) -> Result<Note, BackupError> {
        let failed = |source| BackupError::Io {
            path: dir.to_owned(),
            source,
        };
        let database = dir.join(DATABASE);
        if !self.store.backup(&database)? {
            return Err(BackupError::OnServer);
        }
        for entry in fs::read_dir(&database).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            File::open(path)
                .and_then(|f| f.sync_all())
                .map_err(failed)?;
        }
        File::open(&database)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        // after the copy: never lower than what is in it
        let numbers = serde_json::to_vec(&self.numbers_known()?);
        let numbers = numbers.map_err(|e| failed(e.into()))?;
        file::write_atomic(&dir.join(NUMBERS_FILE), &numbers, 0o644).map_err(failed)?;
        let version = self.read(|t| t.stamp())?;
        let note = Note {
            format: FORMAT.to_owned(),
            schema_version: version.map_or(SCHEMA.version(), |stamp| stamp.version),
            database: self.id(),
            network: self.network()?,
            made_at: unix_ms(),
        };
        let text = serde_json::to_vec_pretty(&note).map_err(|e| failed(e.into()))?;
        file::write_atomic(&dir.join(NOTE), &text, 0o644).map_err(failed)?;
        Ok(note)
    }
}

/// A backup that was looked at: this program can use it.
#[derive(Clone, Debug)]
pub struct Backup {
    pub note: Note,
    /// The highest numbers that were handed out when it was made.
    pub numbers: BTreeMap<String, SectorNumber>,
    dir: PathBuf,
}

/// Why a directory is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NoBackup {
    #[error("{path} cannot be read: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a backup's: {why}")]
    Strange { path: PathBuf, why: String },
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Backup {
    /// Looks at it; nothing in it changes.
    ///
    /// # Errors
    /// [`NoBackup`].
    pub fn in_directory(dir: &Path) -> Result<Self, NoBackup> {
        let note: Note = read(&dir.join(NOTE))?;
        let strange = |why: String| NoBackup::Strange {
            path: dir.join(NOTE),
            why,
        };
        if note.format != FORMAT {
            return Err(strange(format!("it is {:?}", note.format)));
        }
        let backup = Self {
            numbers: read(&dir.join(NUMBERS_FILE))?,
            dir: dir.to_owned(),
            note,
        };
        // by its own word, which it is
        let id = Db::id_in(&backup.database())?;
        if id != Some(backup.note.database) {
            return Err(strange("another database lies beside it".to_owned()));
        }
        Ok(backup)
    }

    /// The directory of the database in it.
    pub fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, NoBackup> {
    let text = fs::read_to_string(path).map_err(|source| NoBackup::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|e| NoBackup::Strange {
        path: path.to_owned(),
        why: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_daemon::belongs::Highest;
    use damocles_types::{SealProof, SectorId, SectorSize};
    use std::sync::Arc;

    #[test]
    fn a_backup_is_a_database_of_that_moment_and_says_what_it_is() {
        let home = tempfile::tempdir().unwrap();
        let highest = Arc::new(Highest::of(home.path()).unwrap());
        let db = Db::open(&home.path().join("state"))
            .map(|db| db.with_highest(highest).unwrap())
            .unwrap();
        let allocate = || {
            let kind = SealProof::interactive(SectorSize::KiB2);
            let any = |n: u64| Some(n);
            db.allocate(1000, kind, 0, 99, any).unwrap().unwrap().id
        };
        let first = allocate();
        db.set_network("genesis").unwrap();
        let to = home.path().join("backup");
        let note = db.backup(&to).unwrap();
        assert_eq!(note.network.as_deref(), Some("genesis"));
        assert!(matches!(db.backup(&to), Err(BackupError::Exists(_))));
        let relative = db.backup(Path::new("backup"));
        assert!(matches!(relative, Err(BackupError::Relative(_))));
        let nowhere = db.backup(&home.path().join("no/such"));
        assert!(matches!(nowhere, Err(BackupError::Io { .. })));
        let second = allocate();

        let backup = Backup::in_directory(&to).unwrap();
        assert_eq!(backup.note, note);
        assert_eq!(backup.numbers, BTreeMap::from([("t01000".to_owned(), 1)]));
        let copy = Db::open_existing(&backup.database()).unwrap();
        assert_eq!(copy.id(), db.id());
        assert!(copy.sector(first).unwrap().is_some());
        assert!(copy.sector(second).unwrap().is_none());
        drop(copy);

        let files: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(files.len(), 3, "state, numbers, backup: {files:?}");
        fs::write(to.join(NOTE), "{}").unwrap();
        let strange = Backup::in_directory(&to);
        assert!(matches!(strange, Err(NoBackup::Strange { .. })));
        assert_eq!(first, SectorId::new(1000, 1));
    }
}
