//! Which database a sealing store's data belong to. The store keeps the id of its thread's
//! database in a file of its own, so that a lost or exchanged `meta/` is seen: without this, a
//! database that is made anew says "no sector is at work", and hundreds of gigabytes beside it
//! are taken for leavings.

use super::{
    SealingStore, StoreError, io_error,
    sealing::{DATA, is_there},
};
use damocles_processor::disk;
use std::{fs, io, path::Path};

/// The file with the id.
pub(super) const FILE: &str = ".database";

/// What is to be expected of the database in `meta/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// There never was one: it may be made.
    New,
    /// It must be there already.
    There,
}

/// Before it is opened. `there`: something is in `meta/`; `known`: the store has an id of it;
/// `data`: something of a sector is in the store. Else: what is left without its database.
fn expected(there: bool, known: bool, data: Option<&str>) -> Result<Database, String> {
    match (there, known, data) {
        // one of which only the beginning is there was never used either
        (_, false, None) => Ok(Database::New),
        (true, _, _) => Ok(Database::There),
        (false, _, Some(data)) => Err(format!("{data} is there")),
        (false, true, None) => Err("it has had one".to_owned()),
    }
}

/// After it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Belongs {
    Yes,
    /// The store does not have the id yet: it is to be written down.
    FromNowOn,
    Other(String),
    /// It has never known a sector, and there is this of one.
    Lost(String),
}

fn belongs(known: Option<&str>, id: &str, had_sector: bool, data: Option<&str>) -> Belongs {
    match (known, data) {
        (Some(known), _) if known != id => Belongs::Other(known.to_owned()),
        (_, Some(data)) if !had_sector => Belongs::Lost(format!("{data} is there")),
        (Some(_), _) => Belongs::Yes,
        (None, _) => Belongs::FromNowOn,
    }
}

impl SealingStore {
    /// What is to be expected of the thread's database, before it is opened.
    ///
    /// # Errors
    /// [`StoreError::LostDatabase`], or what cannot be read.
    pub fn database(&self) -> Result<Database, StoreError> {
        let there = is_there(&self.meta().join("CURRENT"))?;
        let (known, data) = (self.known_database()?, self.first_data()?);
        expected(there, known.is_some(), data.as_deref()).map_err(|left| StoreError::LostDatabase {
            path: self.root().to_owned(),
            left,
        })
    }

    /// Whether the open database `id` is the store's. One that the store knows none of becomes
    /// its own. `had_sector`: the database knows or has known a sector.
    ///
    /// # Errors
    /// [`StoreError::OtherDatabase`], [`StoreError::LostDatabase`], or what cannot be read.
    pub fn belongs_to(&self, id: &str, had_sector: bool) -> Result<(), StoreError> {
        let (known, data) = (self.known_database()?, self.first_data()?);
        let path = || self.root().to_owned();
        match belongs(known.as_deref(), id, had_sector, data.as_deref()) {
            Belongs::Yes => Ok(()),
            Belongs::FromNowOn => {
                let file = self.root().join(FILE);
                disk::write_whole(&file, format!("{id}\n").as_bytes())
                    .map_err(io_error(&file, "writing it"))
            }
            Belongs::Other(known) => Err(StoreError::OtherDatabase {
                path: path(),
                known,
                found: id.to_owned(),
            }),
            Belongs::Lost(left) => Err(StoreError::LostDatabase { path: path(), left }),
        }
    }

    /// The id of the database that the store belongs to, if it ever had one.
    fn known_database(&self) -> Result<Option<String>, StoreError> {
        let file = self.root().join(FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&file, "reading it")(error)),
        }
    }

    /// The first thing of a sector in the store, if there is one.
    ///
    /// # Errors
    /// What cannot be read is not absent.
    pub fn first_data(&self) -> Result<Option<String>, StoreError> {
        let data = self.root().join(DATA);
        for kind in names(&data)? {
            let path = data.join(&kind);
            let is_dir = fs::metadata(&path)
                .map_err(io_error(&path, "looking at it"))?
                .is_dir();
            let below = if is_dir {
                names(&path)?
            } else {
                vec![String::new()]
            };
            if let Some(name) = below.first() {
                return Ok(Some(
                    Path::new(DATA).join(kind).join(name).display().to_string(),
                ));
            }
        }
        Ok(None)
    }
}

/// Names in a directory, in order; none in one that is not there.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error(dir, "listing it"))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(dir, "listing it"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_made_only_where_nothing_ever_was() {
        let data = Some("data/sealed/s-t01000-1");
        for (known, data) in [(true, None), (false, data), (true, data)] {
            assert_eq!(expected(true, known, data), Ok(Database::There));
            expected(false, known, data).unwrap_err();
        }
        for there in [false, true] {
            assert_eq!(expected(there, false, None), Ok(Database::New));
        }
    }

    #[test]
    fn a_database_that_never_knew_a_sector_owns_no_data() {
        let data = Some("data/cache/s-t01000-1");
        for (known, had_sector, data, verdict) in [
            (None, false, None, Belongs::FromNowOn),
            (None, true, data, Belongs::FromNowOn),
            (
                None,
                false,
                data,
                Belongs::Lost("data/cache/s-t01000-1 is there".into()),
            ),
            (Some("a"), false, None, Belongs::Yes),
            (Some("a"), true, data, Belongs::Yes),
            (
                Some("a"),
                false,
                data,
                Belongs::Lost("data/cache/s-t01000-1 is there".into()),
            ),
            (Some("b"), true, data, Belongs::Other("b".into())),
            (Some("b"), false, None, Belongs::Other("b".into())),
            (Some(""), true, None, Belongs::Other(String::new())),
        ] {
            assert_eq!(
                belongs(known, "a", had_sector, data),
                verdict,
                "{known:?} {had_sector} {data:?}"
            );
        }
    }

    #[test]
    fn the_store_remembers_its_database_and_counts_what_it_cannot_read_as_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let store = SealingStore::init(&dir.path().join("s")).unwrap();
        assert_eq!(store.database().unwrap(), Database::New);
        store.belongs_to("a", false).unwrap();
        store.belongs_to("a", false).unwrap();
        let lost = store.database().unwrap_err();
        assert!(matches!(lost, StoreError::LostDatabase { .. }), "{lost}");
        let other = store.belongs_to("b", true).unwrap_err();
        assert!(matches!(other, StoreError::OtherDatabase { .. }), "{other}");
        // empty directories of upstream's layout are no data
        fs::create_dir(store.root().join("data/sealed")).unwrap();
        assert_eq!(store.first_data().unwrap(), None);
        fs::write(store.root().join("data/sealed/s-t01000-1"), b"x").unwrap();
        let first = store.first_data().unwrap().unwrap();
        assert_eq!(first, "data/sealed/s-t01000-1");
        fs::remove_file(store.root().join(FILE)).unwrap();
        fs::create_dir(store.root().join(FILE)).unwrap();
        assert!(matches!(
            store.belongs_to("a", true),
            Err(StoreError::Io { .. })
        ));
    }
}
