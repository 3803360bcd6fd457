//! A new database from a file, for a home that has none or had this one.

use super::House;
use crate::{
    db::{
        Db, FileError,
        import::{ImportError, ImportFile},
    },
    policy::DatabasePlace,
    state,
};
use damocles_daemon::{
    belongs::DatabaseId,
    exit::{Exit, Fatal},
};
use damocles_types::chain;
use std::{io, path::Path};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The file is read to its end before anything is written.
    Checking,
    Importing,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub database: uuid::Uuid,
    /// As the file had it; it is brought up to date with that.
    pub schema_version: u32,
    pub records: u64,
}

impl House {
    /// Makes the home's database from a file.
    ///
    /// # Errors
    /// A [`Fatal`] that says what to do.
    pub fn import(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(Step, u64),
    ) -> anyhow::Result<Imported> {
        let home = self.alone()?;
        let wrong = |e: FileError| unusable(path, e);
        let file = ImportFile::checked(path, |n| progress(Step::Checking, n)).map_err(wrong)?;
        let imported = Imported {
            database: file.header.database,
            schema_version: file.header.schema_version,
            records: file.records,
        };
        let id = DatabaseId::of(home.path());
        self.may_have(&id, &file, path)?;
        let importing = match &self.config.database {
            DatabasePlace::Directory { dir, memory } => {
                memory.set();
                let dir = state::directory(home.path(), dir.as_deref());
                file.into_directory(&dir).map_err(state::unopened)?
            }
            DatabasePlace::Server(server) => file
                .onto_server(&state::reached(server)?)
                .map_err(state::unreached)?,
        };
        let filled = importing.fill(|n| progress(Step::Importing, n));
        let db: Db = filled.map_err(|error| match error {
            ImportError::File(e) => wrong(e),
            ImportError::Db(e) => Fatal::new(Exit::Database, chain(&e))
                .hint("the database is half imported; when the cause is gone, import again, which begins anew"),
        })?;
        id.check(&self.place(), &db.id().to_string())?;
        Ok(imported)
    }

    /// A home that has had another database, or that does not say that it is new, gets none.
    fn may_have(&self, id: &DatabaseId, file: &ImportFile, path: &Path) -> Result<(), Fatal> {
        let given = file.header.database.to_string();
        match id.known()? {
            Some(known) if known == given => Ok(()),
            Some(known) => Err(Fatal::new(
                Exit::Data,
                format!(
                    "the home {} belongs to the database {known}, and {} is of {given}",
                    self.home.display(),
                    path.display()
                ),
            )
            .hint("import into a home of its own, which `damocles-manager --home DIR daemon init` begins")),
            None if id.may_be_made()? => Ok(()),
            None => {
                let init = format!("damocles-manager --home {} daemon init", self.home.display());
                Err(id.missing(&self.place(), &init))
            }
        }
    }
}

fn unusable(path: &Path, error: FileError) -> Fatal {
    let (exit, hint) = match &error {
        FileError::Io(e) if e.kind() == io::ErrorKind::NotFound => {
            (Exit::NotFound, "name the file that `db export` wrote")
        }
        FileError::Io(_) => (Exit::Refused, "let this user read it"),
        FileError::Newer { .. } => (Exit::Data, "import it with that program"),
        FileError::Foreign { .. } | FileError::Strange(_) => (
            Exit::Data,
            "name the file that `damocles-manager db export` wrote",
        ),
        FileError::Cut | FileError::Line { .. } | FileError::Changed { .. } => (
            Exit::Data,
            "nothing of it was used; copy the file again, or export once more",
        ),
    };
    Fatal::new(exit, format!("{} {error}", path.display())).hint(hint)
}
