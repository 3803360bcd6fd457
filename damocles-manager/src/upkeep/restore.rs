//! A backup in the place of the home's database. What lies there now is moved aside, never
//! destroyed.

use super::House;
use crate::{
    db::backup::{Backup, NoBackup, Note},
    policy::DatabasePlace,
    state,
};
use damocles_daemon::{
    belongs::{DatabaseId, Highest},
    exit::{Exit, Fatal},
};
use damocles_types::SectorNumber;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    pub note: Note,
    pub database: PathBuf,
    /// Where the database lies now that was there before.
    pub aside: Option<PathBuf>,
    /// The home knows of higher numbers than the backup: of each miner the highest one.
    pub forgotten: BTreeMap<String, SectorNumber>,
}

impl House {
    /// Puts a backup in the place of the home's database.
    ///
    /// # Errors
    /// A [`Fatal`] that says what to do.
    pub fn restore(&self, dir: &Path) -> anyhow::Result<Restored> {
        let DatabasePlace::Directory {
            dir: configured, ..
        } = &self.config.database
        else {
            return Err(Fatal::new(
                Exit::Refused,
                "the database lies on a PostgreSQL server, on which no backup of files is restored",
            )
            .hint("restore it there with pg_restore, or import an export into an empty schema with `damocles-manager db import`")
            .into());
        };
        let home = self.alone()?;
        let backup = Backup::in_directory(dir).map_err(|e| unusable(dir, e))?;
        let id = DatabaseId::of(home.path());
        let database = backup.note.database.to_string();
        id.expect(&dir.display().to_string(), &database)?;

        let place = state::directory(home.path(), configured.as_deref());
        let failed = |e: io::Error| {
            Fatal::new(
                Exit::Refused,
                format!("{} cannot be put in place: {e}", place.display()),
            )
            .hint("see that its disk is there, has room, and lets this user write; nothing is lost")
        };
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let beside = |what: String| place.with_file_name(format!("{name}-{what}"));
        let coming = beside(format!("restoring-{}", std::process::id()));
        copy(&backup.database(), &coming).map_err(failed)?;
        let aside = match fs::symlink_metadata(&place) {
            Ok(_) => {
                let when = humantime::format_rfc3339_millis(SystemTime::now());
                let when = when.to_string().replace([':', '.'], "");
                let aside = beside(format!("before-restore-{when}"));
                fs::rename(&place, &aside).map_err(failed)?;
                Some(aside)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e).into()),
        };
        fs::rename(&coming, &place).map_err(failed)?;
        if let Some(parent) = place.parent() {
            File::open(parent)
                .and_then(|dir| dir.sync_all())
                .map_err(failed)?;
        }
        id.check(&place.display().to_string(), &database)?;
        let highest = Highest::of(home.path())?;
        for (kind, number) in &backup.numbers {
            highest.raise(kind, *number).map_err(failed)?;
        }
        let known = |kind: &String| backup.numbers.get(kind).copied().unwrap_or(0);
        let mut forgotten = highest.all();
        forgotten.retain(|kind, number| *number > known(kind));
        Ok(Restored {
            note: backup.note,
            database: place,
            aside,
            forgotten,
        })
    }
}

/// Copies the files of a directory, which is on the disk then.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy)?;
        File::open(copy)?.sync_all()?;
    }
    File::open(to)?.sync_all()
}

fn unusable(dir: &Path, error: NoBackup) -> Fatal {
    let exit = match error {
        NoBackup::Open(error) => return state::unopened(error),
        NoBackup::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Exit::NotFound
        }
        NoBackup::Io { .. } => Exit::Refused,
        NoBackup::Strange { .. } => Exit::Data,
    };
    Fatal::new(exit, format!("{} is no backup: {error}", dir.display()))
        .hint("name a directory that `damocles-manager db backup` made")
}
