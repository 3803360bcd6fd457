//! A new database from the lines of another one.

use crate::db::{
    Db, DbError, ServerError,
    lines::{FileError, Header, Lines},
    versions::SCHEMA,
};
use damocles_kv::{Import, OpenError, Postgres, Stamp, Store, StoreError};
use std::path::{Path, PathBuf};

/// So many records, or bytes of them, are written in one transaction.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 << 20;

/// Why an import did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Db(error.into())
    }
}

/// A file with an exported database that this program can import, whole and as it was written.
#[derive(Clone, Debug)]
pub struct ImportFile {
    path: PathBuf,
    pub header: Header,
    pub records: u64,
}

impl ImportFile {
    /// Reads the file to its end.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn checked(path: &Path, mut progress: impl FnMut(u64)) -> Result<Self, FileError> {
        let mut lines = Lines::open(path)?;
        let header = lines.header().clone();
        if header.owner != SCHEMA.owner {
            return Err(FileError::Foreign {
                found: header.owner,
                wanted: SCHEMA.owner,
            });
        }
        if header.schema_version > SCHEMA.version() {
            return Err(FileError::Newer {
                what: "version",
                found: header.schema_version,
                known: SCHEMA.version(),
            });
        }
        if header.schema_version == 0 {
            return Err(FileError::Strange("its version is 0".to_owned()));
        }
        while lines.next()?.is_some() {
            progress(lines.records());
        }
        Ok(Self {
            path: path.to_owned(),
            header,
            records: lines.records(),
        })
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            owner: self.header.owner.clone(),
            version: self.header.schema_version,
            id: Some(self.header.database),
        }
    }

    /// Begins a database in `dir` that gets the records and the id of the file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn into_directory(self, dir: &Path) -> Result<Importing, OpenError> {
        let import = Store::import(dir, &SCHEMA, self.stamp())?;
        Ok(Importing { import, file: self })
    }

    /// The same on a server.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn onto_server(self, postgres: &Postgres) -> Result<Importing, ServerError> {
        let import = Store::postgres_import(postgres, &SCHEMA, self.stamp())?;
        Ok(Importing { import, file: self })
    }
}

/// A database that is being filled.
#[derive(Debug)]
pub struct Importing {
    import: Import,
    file: ImportFile,
}

impl Importing {
    /// Writes all records, and brings the database up to date.
    ///
    /// # Errors
    /// When the file changed meanwhile, or the database fails: it is half imported then.
    pub fn fill(self, mut progress: impl FnMut(u64)) -> Result<Db, ImportError> {
        let mut lines = Lines::open(&self.file.path)?;
        if *lines.header() != self.file.header {
            let why = "another one lies there now".to_owned();
            return Err(FileError::Line { line: 1, why }.into());
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(row) = lines.next()? {
            bytes += row.key.len() + row.value.len();
            page.push((row.table, row.key, row.value));
            if page.len() >= PAGE || bytes >= PAGE_BYTES {
                self.import.put(&page)?;
                page.clear();
                bytes = 0;
                progress(lines.records());
            }
        }
        self.import.put(&page)?;
        Ok(Db::of(self.import.finish()?))
    }
}
