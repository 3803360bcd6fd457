//! Opening a database: whose it is and how old is settled before anything in it changes.

use crate::{
    Durability, Import, KvError, Schema, Stamp, Store, StoreError,
    health::{Cause, cause},
    import::{is_empty, is_half},
    look::{Seen, judge, look},
    mem::Mem,
    migrate::migrate,
    refusal::{ACCEPT_CUT, OpenError, classify, stranger},
    rocks::{Log, Rocks, db_options},
    stamp::STAMP_KEY,
    table::META,
};
use std::{fs, path::Path, sync::Arc};
use uuid::Uuid;

impl Store {
    /// A database in memory, for tests; nothing is on disk.
    pub fn in_memory(schema: &Schema) -> Self {
        let tables = schema.tables.iter().copied().chain([META]);
        Self::new(Arc::new(Mem::new(tables)), Uuid::new_v4())
    }

    /// The same, taken for one that several processes have open, each with a clone.
    pub fn in_memory_shared(schema: &Schema) -> Self {
        let tables = schema.tables.iter().copied().chain([META]);
        Self::new(Arc::new(Mem::new(tables).shared()), Uuid::new_v4())
    }

    /// Opens the database in `dir`, creating directory and database when there is none: for
    /// places of which it is known that none can have been lost.
    ///
    /// # Errors
    /// [`OpenError::Busy`] when another process has it, [`OpenError::Unwritable`],
    /// [`OpenError::Foreign`] for somebody else's files, [`OpenError::Newer`] for a version
    /// that this program does not know, [`OpenError::Damaged`], [`OpenError::DamagedLog`],
    /// [`OpenError::Failing`].
    pub fn open(dir: &Path, schema: &Schema) -> Result<Self, OpenError> {
        let seen = look(dir, schema)?;
        open(dir, schema, seen, Way::UpToDate)
    }

    /// Opens the database in `dir`, and makes none: what is not there is lost or not mounted.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none; those of [`Self::open`].
    pub fn open_existing(dir: &Path, schema: &Schema) -> Result<Self, OpenError> {
        let seen = existing(dir, schema)?;
        open(dir, schema, seen, Way::UpToDate)
    }

    /// The same of whatever version it is: its records stay as they are.
    ///
    /// # Errors
    /// Those of [`Self::open_existing`].
    pub fn open_as_it_is(dir: &Path, schema: &Schema) -> Result<Self, OpenError> {
        let seen = existing(dir, schema)?;
        open(dir, schema, seen, Way::AsItIs)
    }

    /// What the database in `dir` says of itself; nothing in the directory changes.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none, or it cannot be read to its stamp; those of
    /// [`Self::open`].
    pub fn stamp_in(dir: &Path, schema: &Schema) -> Result<Stamp, OpenError> {
        match existing(dir, schema)? {
            Seen::Ours(_, stamp) => Ok(stamp),
            _ => Err(missing(dir)),
        }
    }

    /// Makes a database in `dir` that is to get the records of another one, and will be what
    /// `stamp` says. One that was half imported is begun anew.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`] when there is one; those of [`Self::open`].
    pub fn import(dir: &Path, schema: &Schema, stamp: Stamp) -> Result<Import, OpenError> {
        let seen = look(dir, schema)?;
        let not_empty = || OpenError::NotEmpty {
            dir: dir.to_owned(),
        };
        if let Seen::Ours(..) | Seen::Unread(_) = seen {
            return Err(not_empty());
        }
        let store = open(dir, schema, seen, Way::Import)?;
        let begun = Import::begin(store, schema, stamp).map_err(|e| OpenError::Damaged {
            dir: dir.to_owned(),
            reason: e.to_string(),
        })?;
        begun.ok_or_else(not_empty)
    }
}

/// What is done with a database once it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is brought to the newest version.
    UpToDate,
    AsItIs,
    /// It gets no stamp yet.
    Import,
}

fn missing(dir: &Path) -> OpenError {
    OpenError::Missing {
        dir: dir.to_owned(),
    }
}

fn existing(dir: &Path, schema: &Schema) -> Result<Seen, OpenError> {
    match look(dir, schema)? {
        Seen::Nothing | Seen::Blank(_) => Err(missing(dir)),
        seen => Ok(seen),
    }
}

fn open(dir: &Path, schema: &Schema, seen: Seen, way: Way) -> Result<Store, OpenError> {
    if matches!(seen, Seen::Half(_)) && way != Way::Import {
        return Err(half(dir));
    }
    check_writable(dir)?;
    let make = matches!(seen, Seen::Nothing);
    let whole = matches!(seen, Seen::Ours(..));
    let (Seen::Ours(families, _)
    | Seen::Unread(families)
    | Seen::Blank(families)
    | Seen::Half(families)) = seen
    else {
        let default = vec!["default".to_owned()];
        let rocks = Rocks::open(dir, &default, &db_options(make, Log::Whole));
        return prepare(dir, schema, rocks.map_err(|e| classify(dir, &e))?, way);
    };
    let opened = Rocks::open(dir, &families, &db_options(make, Log::Whole));
    let of_log = |e: &rocksdb::Error| match cause(e.as_ref()) {
        Cause::Log => true,
        // it could be read as far as its log goes, so the log is what is wrong
        Cause::Contents => whole,
        _ => false,
    };
    let rocks = match opened {
        Ok(rocks) => rocks,
        Err(e) if of_log(&e) => cut(dir, &families, e.as_ref())?,
        Err(e) => return Err(classify(dir, &e)),
    };
    prepare(dir, schema, rocks, way)
}

fn half(dir: &Path) -> OpenError {
    OpenError::HalfImported {
        dir: dir.to_owned(),
    }
}

/// Opens it without the end of its log, if a person has said so. The log is kept beside.
fn cut(dir: &Path, families: &[String], reason: &str) -> Result<Rocks, OpenError> {
    let accepted = dir.join(ACCEPT_CUT);
    if !accepted.is_file() {
        return Err(OpenError::DamagedLog {
            dir: dir.to_owned(),
            reason: reason.to_owned(),
        });
    }
    let unwritable = |source| OpenError::Unwritable {
        dir: dir.to_owned(),
        source,
    };
    for entry in fs::read_dir(dir).map_err(unwritable)? {
        let path = entry.map_err(unwritable)?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            fs::copy(&path, path.with_extension("log-before-cut")).map_err(unwritable)?;
        }
    }
    let options = db_options(false, Log::Cut);
    let rocks = Rocks::open(dir, families, &options).map_err(|e| classify(dir, &e))?;
    fs::remove_file(&accepted).map_err(unwritable)?;
    tracing::warn!(
        dir = %dir.display(),
        "the damaged log of the database was cut, as {ACCEPT_CUT} allowed; the log as it was lies beside it (*.log-before-cut): {reason}"
    );
    Ok(rocks)
}

/// Looks at the stamp again, now that nobody else can change it, and brings everything up to
/// date.
fn prepare(dir: &Path, schema: &Schema, mut rocks: Rocks, way: Way) -> Result<Store, OpenError> {
    let tables = schema.tables.iter().copied().chain([META]);
    let stamp = match rocks.get(META, STAMP_KEY) {
        Ok(found) => found,
        // a new database
        Err(KvError::UnknownTable(_)) => None,
        Err(e) => {
            return Err(OpenError::Damaged {
                dir: dir.to_owned(),
                reason: e.to_string(),
            });
        }
    };
    let found = stamp.map(|bytes| judge(dir, schema, &bytes)).transpose()?;
    rocks.add_tables(tables).map_err(|e| classify(dir, &e))?;
    let id = found.as_ref().and_then(|stamp| stamp.id);
    let store = Store::new(Arc::new(rocks), id.unwrap_or_else(Uuid::new_v4));
    let damaged = |e: StoreError| OpenError::Damaged {
        dir: dir.to_owned(),
        reason: e.to_string(),
    };
    if way == Way::Import {
        return Ok(store);
    }
    // what has records and no stamp is not ours, or has lost it
    if found.is_none() {
        let (half_filled, empty) = store
            .read(|t| Ok((is_half(t)?, is_empty(t, schema)?)))
            .map_err(damaged)?;
        if half_filled {
            return Err(half(dir));
        }
        if !empty {
            return Err(stranger(dir, schema));
        }
    }
    let up = |source| OpenError::Migration {
        dir: dir.to_owned(),
        to: schema.version(),
        source: Box::new(source),
    };
    let version = found.as_ref().map_or(schema.version(), |s| s.version);
    if id.is_none() {
        stamp_it(&store, schema, version).map_err(up)?;
    }
    if way == Way::UpToDate {
        migrate(&store, schema, version).map_err(up)?;
    }
    Ok(store)
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

/// A new database gets its stamp, and an older one its id.
fn stamp_it(store: &Store, schema: &Schema, version: u32) -> Result<(), StoreError> {
    store.transact(Durability::Synced, |t| {
        let at = t.get(META, STAMP_KEY)?;
        let stamp = Stamp {
            owner: schema.owner.to_owned(),
            version,
            id: Some(store.id()),
        };
        t.put_json(&at, &stamp)
    })
}
