//! What a person does with the database as a whole: write it into a file and read it from one,
//! back it up and restore it, look through it. On the files of a home, or on the server that its
//! configuration names; a running manager is asked by RPC instead.

pub mod check;
pub mod export;
pub mod import;
pub mod restore;

use crate::{
    config::{self, CONFIG_FILE, Config},
    db::{
        Db,
        backup::{BackupError, Note},
    },
    policy::DatabasePlace,
    state::{self, PROGRAM},
};
use damocles_daemon::{
    belongs::Highest,
    exit::{Exit, Fatal},
    lock::Home,
};
use damocles_types::chain;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A home and what its configuration says.
#[derive(Debug)]
pub struct House {
    home: PathBuf,
    config: Config,
}

impl House {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Exit::Config`].
    pub fn of(home: PathBuf, conf_dir: Option<&Path>) -> anyhow::Result<Self> {
        let conf_dir = config::config_dir(conf_dir, &home, &|name| std::env::var(name).ok());
        let config = config::check_file(&conf_dir.join(CONFIG_FILE))?;
        Ok(Self { home, config })
    }

    /// Where the database is, as a person knows it.
    pub fn place(&self) -> String {
        match &self.config.database {
            DatabasePlace::Directory { dir, .. } => {
                let dir = state::directory(&self.home, dir.as_deref());
                dir.display().to_string()
            }
            server @ DatabasePlace::Server(_) => server.to_string(),
        }
    }

    /// The home, in which no manager runs.
    fn alone(&self) -> Result<Home, Fatal> {
        Home::acquire(&self.home, PROGRAM)
    }

    /// The database as it is. In a directory it is one program's at a time; on a server managers
    /// may go on.
    fn existing(&self) -> Result<(Option<Home>, Db), Fatal> {
        let home = match self.config.database {
            DatabasePlace::Directory { .. } => Some(self.alone().map_err(|refused| {
                let hint = "stop that manager first; a copy of its database can be made while it runs: `damocles-manager db backup DIR`";
                match refused.exit {
                    Exit::Occupied => refused.hint(hint),
                    _ => refused,
                }
            })?),
            DatabasePlace::Server(_) => None,
        };
        let db = state::as_it_is(&self.home, &self.config.database)?;
        Ok((home, db))
    }

    /// Copies the database of a manager that does not run. None: it does, and is to be asked.
    ///
    /// # Errors
    /// A [`Fatal`] that says what to do.
    pub fn backup(&self, to: &Path) -> anyhow::Result<Option<Note>> {
        let DatabasePlace::Directory { .. } = self.config.database else {
            return Err(no_backup(BackupError::OnServer).into());
        };
        let _home = match self.alone() {
            Err(refused) if refused.exit == Exit::Occupied => return Ok(None),
            home => home?,
        };
        let db = state::as_it_is(&self.home, &self.config.database)?;
        let db = db.with_highest(Arc::new(Highest::of(&self.home)?))?;
        Ok(Some(db.backup(to).map_err(no_backup)?))
    }
}

fn no_backup(error: BackupError) -> Fatal {
    let exit = match error {
        BackupError::Relative(_) => Exit::Usage,
        BackupError::Db(_) => Exit::Data,
        BackupError::Exists(_) | BackupError::OnServer | BackupError::Io { .. } => Exit::Refused,
    };
    let refused = state::with_hint(exit, chain(&error));
    match refused.hint {
        Some(_) => refused,
        None => refused
            .hint("see that the directory's disk is there, has room, and lets this user write"),
    }
}
