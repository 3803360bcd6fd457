//! Whose a database is: found out without a byte being written into its directory. RocksDB
//! changes files as soon as it is opened for writing, and what one program has rewritten
//! another, older one may not be able to read.

use crate::{
    Schema,
    health::{Cause, cause},
    import::IMPORT_KEY,
    refusal::{OpenError, classify, stranger},
    rocks::{Glimpse, families},
    stamp::{STAMP_KEY, Stamp},
    table::{META, decode},
};
use std::{fs, io, path::Path};

/// What lies in a directory that is not somebody else's.
#[derive(Debug)]
pub(crate) enum Seen {
    /// No database, at most the leavings of one whose making was cut short.
    Nothing,
    /// A database without a record.
    Blank(Vec<String>),
    /// A database of this program.
    Ours(Vec<String>, Stamp),
    /// One that is to be filled with the records of another one, and is not yet.
    Half(Vec<String>),
    /// A database with this program's tables, of which the rest cannot be read now. Whether
    /// another process changes it meanwhile, only opening it can tell.
    Unread(Vec<String>),
}

/// Looks into `dir`.
///
/// # Errors
/// [`OpenError::Foreign`], [`OpenError::Newer`], [`OpenError::Damaged`], [`OpenError::Failing`].
pub(crate) fn look(dir: &Path, schema: &Schema) -> Result<Seen, OpenError> {
    match fs::symlink_metadata(dir.join("CURRENT")) {
        Ok(_) => {}
        Err(e) if is_absence(&e) => return vacant(dir, schema).map(|()| Seen::Nothing),
        Err(e) => return Err(failing(dir, &e)),
    }
    let names = families(dir).map_err(|e| classify(dir, &e))?;
    let glimpse = match Glimpse::of(dir, &names) {
        Ok(glimpse) => glimpse,
        Err(e) => return unreadable(dir, schema, names, &e),
    };
    match glimpse.get(META, STAMP_KEY) {
        Err(e) => unreadable(dir, schema, names, &e),
        Ok(Some(bytes)) => {
            let stamp = judge(dir, schema, &bytes)?;
            Ok(Seen::Ours(names, stamp))
        }
        Ok(None) => match blank(&glimpse, &names) {
            Ok(None) => Ok(Seen::Half(names)),
            Ok(Some(true)) => Ok(Seen::Blank(names)),
            Ok(Some(false)) => Err(stranger(dir, schema)),
            Err(e) => unreadable(dir, schema, names, &e),
        },
    }
}

/// Whether there is no record. None: it is half imported.
fn blank(glimpse: &Glimpse, names: &[String]) -> Result<Option<bool>, rocksdb::Error> {
    if glimpse.get(META, IMPORT_KEY)?.is_some() {
        return Ok(None);
    }
    glimpse.has_records(names).map(|some| Some(!some))
}

/// Whether the stamp is one of this program's, of a version that it knows.
pub(crate) fn judge(dir: &Path, schema: &Schema, bytes: &[u8]) -> Result<Stamp, OpenError> {
    let damaged = |reason: String| OpenError::Damaged {
        dir: dir.to_owned(),
        reason,
    };
    let stamp: Stamp = decode(META, STAMP_KEY, bytes).map_err(|e| damaged(e.to_string()))?;
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
    Ok(stamp)
}

/// There is a database, and it cannot be read to its stamp.
fn unreadable(
    dir: &Path,
    schema: &Schema,
    names: Vec<String>,
    error: &rocksdb::Error,
) -> Result<Seen, OpenError> {
    match cause(error.as_ref()) {
        // what this program writes it can read
        Cause::Unsupported => Err(stranger(dir, schema)),
        Cause::Log => Ok(Seen::Unread(names)),
        Cause::Contents if names.iter().any(|name| name == META.0) => Ok(Seen::Unread(names)),
        // without our table it has no stamp; that it cannot be read shows that it has records
        Cause::Contents => Err(stranger(dir, schema)),
        Cause::Busy | Cause::Unwritable | Cause::System => Err(classify(dir, error)),
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    [NotFound, NotADirectory].contains(&error.kind())
}

fn failing(dir: &Path, error: &io::Error) -> OpenError {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return OpenError::Unwritable {
            dir: dir.to_owned(),
            source: io::Error::other(error.to_string()),
        };
    }
    OpenError::Failing {
        dir: dir.to_owned(),
        reason: error.to_string(),
    }
}

/// A new database may only be made where nothing but the leavings of an interrupted creation
/// lies. Those are made before the first table and the first log.
fn vacant(dir: &Path, schema: &Schema) -> Result<(), OpenError> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(OpenError::Unwritable {
                dir: dir.to_owned(),
                source: e,
            });
        }
        Err(e) => return Err(failing(dir, &e)),
    };
    for entry in listed {
        let name = entry.map_err(|e| failing(dir, &e))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".log") || name.ends_with(".sst") || name.ends_with(".blob") {
            return Err(OpenError::Damaged {
                dir: dir.to_owned(),
                reason: "its file CURRENT is missing".into(),
            });
        }
        let leaving = [
            "LOCK",
            "LOG",
            "IDENTITY",
            "MANIFEST-",
            "OPTIONS-",
            ".probe-",
        ]
        .iter()
        .any(|known| name.starts_with(known))
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
