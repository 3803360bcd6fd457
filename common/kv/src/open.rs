//! Opening a database: whose it is and how old is settled before anything in it changes.

use crate::{
    Batch, Durability, Kv, KvError, Schema,
    mem::Mem,
    rocks::Rocks,
    schema::{META, STAMP_KEY, Stamp},
    store::{Engine, decode},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Why a database was not opened. Each sentence says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database in {dir} is in use by another process; stop that one, or give this one a home of its own"
    )]
    Busy { dir: PathBuf },
    #[error("the database directory {dir} cannot be written; check its owner and mode")]
    Unwritable {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{dir} holds {found}, not a database of {wanted}; nothing was touched, choose another home"
    )]
    Foreign {
        dir: PathBuf,
        found: String,
        wanted: &'static str,
    },
    #[error(
        "the database in {dir} has version {found}, this program knows up to {known}; run a newer program on it"
    )]
    Newer {
        dir: PathBuf,
        found: u32,
        known: u32,
    },
    #[error(
        "the database in {dir} is damaged ({reason}); restore a backup or repair the file system"
    )]
    Damaged { dir: PathBuf, reason: String },
    #[error("the database in {dir} could not be brought from version {from} to {to}")]
    Migration {
        dir: PathBuf,
        from: u32,
        to: u32,
        #[source]
        source: KvError,
    },
}

impl Kv {
    /// The same in memory, for tests; nothing is on disk.
    pub fn in_memory(schema: &Schema) -> Self {
        let tables = schema.tables.iter().copied().chain([META]);
        Self::from_engine(Engine::Mem(Mem::new(tables)), Uuid::new_v4())
    }

    /// Opens the database in `dir`, creating directory and database when there is none.
    ///
    /// # Errors
    /// [`OpenError::Busy`] when another process has it, [`OpenError::Unwritable`],
    /// [`OpenError::Foreign`] for somebody else's files, [`OpenError::Newer`] for a version
    /// that this program does not know, [`OpenError::Damaged`].
    pub fn open(dir: &Path, schema: &Schema) -> Result<Self, OpenError> {
        check_writable(dir)?;
        let present = Rocks::families(dir).map_err(|e| classify(dir, e))?;
        if present.is_none() {
            check_vacant(dir, schema)?;
        }
        let families = present.unwrap_or_else(|| vec!["default".into()]);
        let mut rocks = Rocks::open(dir, &families).map_err(|e| classify(dir, e))?;
        let found = check_stamp(dir, schema, &rocks, &families)?;
        let tables = schema.tables.iter().copied().chain([META]);
        rocks.add_tables(tables).map_err(|e| classify(dir, e))?;
        let id = found.as_ref().and_then(|stamp| stamp.id);
        let kv = Self::from_engine(Engine::Rocks(rocks), id.unwrap_or_else(Uuid::new_v4));
        migrate(dir, schema, &kv, found)?;
        Ok(kv)
    }
}

fn check_writable(dir: &Path) -> Result<(), OpenError> {
    let unwritable = |source| OpenError::Unwritable {
        dir: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(unwritable)?;
    // Not RocksDB's own lock file: closing a second handle on that would drop its lock.
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"").map_err(unwritable)?;
    fs::remove_file(&probe).map_err(unwritable)
}

/// A new database may only be made where nothing but the leavings of an interrupted creation lies.
fn check_vacant(dir: &Path, schema: &Schema) -> Result<(), OpenError> {
    let listed = fs::read_dir(dir).map_err(|source| OpenError::Unwritable {
        dir: dir.to_owned(),
        source,
    })?;
    for name in listed.flatten().map(|e| e.file_name()) {
        let name = name.to_string_lossy();
        let leaving = ["LOCK", "LOG", "IDENTITY", "MANIFEST-", "OPTIONS-"]
            .iter()
            .any(|known| name.starts_with(known))
            || name.ends_with(".log")
            || name.ends_with(".dbtmp");
        if !leaving {
            return Err(OpenError::Foreign {
                dir: dir.to_owned(),
                found: format!("other files (such as {name:?})"),
                wanted: schema.owner,
            });
        }
    }
    Ok(())
}

/// The stamp found, or none in a database that is still empty.
fn check_stamp(
    dir: &Path,
    schema: &Schema,
    rocks: &Rocks,
    families: &[String],
) -> Result<Option<Stamp>, OpenError> {
    let damaged = |reason: String| OpenError::Damaged {
        dir: dir.to_owned(),
        reason,
    };
    let bytes = if families.iter().any(|f| f == META.0) {
        rocks
            .get(META, STAMP_KEY)
            .map_err(|e| damaged(e.to_string()))?
    } else {
        None
    };
    let Some(bytes) = bytes else {
        if rocks.has_records(families).map_err(|e| classify(dir, e))? {
            return Err(OpenError::Foreign {
                dir: dir.to_owned(),
                found: "a database of another program".into(),
                wanted: schema.owner,
            });
        }
        return Ok(None);
    };
    let stamp: Stamp = decode(META, STAMP_KEY, &bytes).map_err(|e| damaged(e.to_string()))?;
    if stamp.owner != schema.owner {
        return Err(OpenError::Foreign {
            dir: dir.to_owned(),
            found: format!("a database of {}", stamp.owner),
            wanted: schema.owner,
        });
    }
    if stamp.version > schema.version() {
        return Err(OpenError::Newer {
            dir: dir.to_owned(),
            found: stamp.version,
            known: schema.version(),
        });
    }
    if stamp.version == 0 {
        return Err(damaged("its version is 0".into()));
    }
    Ok(Some(stamp))
}

/// A new database gets its stamp; an older one goes up step by step, each step with its new
/// version in one batch. One that has no id yet gets it.
fn migrate(dir: &Path, schema: &Schema, kv: &Kv, found: Option<Stamp>) -> Result<(), OpenError> {
    let start = found.as_ref().map_or(0, |stamp| stamp.version);
    let wrap = |source| OpenError::Migration {
        dir: dir.to_owned(),
        from: start,
        to: schema.version(),
        source,
    };
    let Some(found) = found else {
        return stamp(schema, kv, Batch::new(), schema.version()).map_err(wrap);
    };
    if found.id.is_none() {
        stamp(schema, kv, Batch::new(), start).map_err(wrap)?;
    }
    let done = (start as usize).saturating_sub(1);
    for (migration, to) in schema.migrations.iter().skip(done).zip(start + 1..) {
        let mut batch = Batch::new();
        (migration.run)(kv, &mut batch).map_err(wrap)?;
        stamp(schema, kv, batch, to).map_err(wrap)?;
    }
    Ok(())
}

fn stamp(schema: &Schema, kv: &Kv, mut batch: Batch, version: u32) -> Result<(), KvError> {
    let owner = schema.owner.to_owned();
    let id = Some(kv.id());
    batch.put_json(META, STAMP_KEY, &Stamp { owner, version, id })?;
    kv.write(batch, Durability::Synced)
}

/// RocksDB tells its errors by kind and text; the lock is only in the text.
fn classify(dir: &Path, error: rocksdb::Error) -> OpenError {
    let reason = error.to_string();
    let dir = dir.to_owned();
    if reason.contains("lock hold by current process")
        || reason.contains("No locks available")
        || (reason.contains("LOCK") && reason.contains("Resource temporarily unavailable"))
    {
        return OpenError::Busy { dir };
    }
    if reason.contains("Permission denied")
        || reason.contains("Read-only file system")
        || reason.contains("No space left")
    {
        return OpenError::Unwritable {
            dir,
            source: io::Error::other(reason),
        };
    }
    OpenError::Damaged { dir, reason }
}
