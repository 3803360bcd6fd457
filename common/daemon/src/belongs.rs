//! What a home remembers of its database, in files beside it: which one it was, and the highest
//! number that it has given out of every kind. An empty or an older database in its place is
//! then not taken for the right one.

use crate::{
    exit::{Exit, Fatal},
    file,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// File with the id of the database that belongs to a home.
const ID: &str = "database-id";
/// What stands there until the first start has made the database. A home without the file, an
/// emptied one or a mount point without its disk, gets none.
const NEW: &str = "new";
/// File with the highest numbers, as JSON.
pub const NUMBERS_FILE: &str = "highest-numbers.json";
/// File by which a person says that an older database is to be used; it goes when that was done.
const ACCEPT_OLDER: &str = "accept-older-database";

fn unreadable(path: &Path, error: &io::Error) -> Fatal {
    Fatal::new(
        Exit::Refused,
        format!("{} cannot be read: {error}", path.display()),
    )
    .hint("let the daemon's user read it; it says which database belongs to this home")
}

fn unwritable(path: &Path, error: &io::Error) -> Fatal {
    Fatal::new(
        Exit::Refused,
        format!("{} cannot be written: {error}", path.display()),
    )
    .hint("let the daemon's user write there, and see that the disk has room")
}

/// The text of a file; None when there is none.
fn read(path: &Path) -> Result<Option<String>, Fatal> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(path, &e)),
    }
}

/// Which database belongs to a home.
#[derive(Clone, Debug)]
pub struct DatabaseId(PathBuf);

impl DatabaseId {
    /// Of the home in that directory.
    pub fn of(home: &Path) -> Self {
        Self(home.join(ID))
    }

    /// Whether the home says that it is new: only then a database may be made.
    ///
    /// # Errors
    /// [`Exit::Refused`] when that cannot be found out.
    pub fn may_be_made(&self) -> Result<bool, Fatal> {
        Ok(read(&self.0)?.is_some_and(|text| text.trim() == NEW))
    }

    /// The database that the home had. None: none yet.
    ///
    /// # Errors
    /// [`Exit::Refused`] when that cannot be found out.
    pub fn known(&self) -> Result<Option<String>, Fatal> {
        let text = read(&self.0)?.map(|text| text.trim().to_owned());
        Ok(text.filter(|text| text != NEW))
    }

    /// Refuses a database that is not the one that the home had; nothing is written.
    ///
    /// # Errors
    /// [`Exit::Data`] for another one.
    pub fn expect(&self, database: &str, id: &str) -> Result<(), Fatal> {
        match self.known()? {
            Some(known) if known != id => Err(self.another(database)),
            _ => Ok(()),
        }
    }

    fn another(&self, database: &str) -> Fatal {
        Fatal::new(
            Exit::Data,
            format!("the database in {database} is not the one that this home had"),
        )
        .hint(format!(
            "mount or restore the right one; or, if this one is to be used from now on, remove {}",
            self.0.display()
        ))
    }

    /// Has the home say that it is new. False: it knows its database, or says so already.
    ///
    /// # Errors
    /// [`Exit::Refused`] when it cannot be written.
    pub fn begin(&self) -> Result<bool, Fatal> {
        if read(&self.0)?.is_some() {
            return Ok(false);
        }
        self.write(NEW)?;
        Ok(true)
    }

    fn write(&self, text: &str) -> Result<(), Fatal> {
        file::write_atomic(&self.0, format!("{text}\n").as_bytes(), 0o644)
            .map_err(|e| unwritable(&self.0, &e))
    }

    /// Accepts the database that the home had, or the first one, which it then remembers.
    ///
    /// # Errors
    /// [`Exit::Data`] for another one.
    pub fn check(&self, database: &str, id: &str) -> Result<(), Fatal> {
        match read(&self.0)? {
            Some(known) if known.trim() == id => Ok(()),
            Some(known) if known.trim() != NEW => Err(self.another(database)),
            Some(_) | None => self.write(id),
        }
    }

    /// There is no database, and none may be made. `init` is the command that begins a home.
    pub fn missing(&self, place: &str, init: &str) -> Fatal {
        if self.0.exists() {
            return Fatal::new(
                Exit::Data,
                format!("there is no database in {place}, although this home had one"),
            )
            .hint(format!(
                "mount its disk, or restore a backup; only if it is lost for good write the word {NEW} into {}: a new one is made then, and what workers have in work waits for a person",
                self.0.display()
            ));
        }
        Fatal::new(
            Exit::Data,
            format!("there is no database in {place}, and this home does not say that it is new"),
        )
        .hint(format!(
            "if it had one, its disk is not mounted or was emptied: mount or restore it; a new home begins with `{init}`"
        ))
    }
}

/// The highest number of every kind that was given out: kept in a file of its own, so that a
/// database that has lost its end, or comes from a backup, does not give them out again.
#[derive(Debug)]
pub struct Highest {
    path: PathBuf,
    numbers: Mutex<BTreeMap<String, u64>>,
}

impl Highest {
    /// Of the home in that directory.
    ///
    /// # Errors
    /// [`Exit::Refused`] when its file cannot be read, [`Exit::Data`] when it is damaged.
    pub fn of(home: &Path) -> Result<Self, Fatal> {
        let path = home.join(NUMBERS_FILE);
        let numbers = match read(&path)? {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_str(&text).map_err(|e| {
                Fatal::new(
                    Exit::Data,
                    format!("{} is damaged: {e}", path.display()),
                )
                .hint("restore it from a backup; or, if the database is as it was at the last stop, remove it: it is made anew")
            })?,
        };
        Ok(Self {
            path,
            numbers: Mutex::new(numbers),
        })
    }

    /// The highest of every kind.
    pub fn all(&self) -> BTreeMap<String, u64> {
        let numbers = self.numbers.lock();
        numbers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The highest of a kind, 0 if there was none.
    pub fn get(&self, kind: &str) -> u64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.get(kind).copied().unwrap_or(0)
    }

    /// Remembers that numbers up to this one were given out. It is on the disk when this
    /// returns. Blocks for a disk access.
    pub fn raise(&self, kind: &str, number: u64) -> io::Result<()> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.get(kind).is_some_and(|known| *known >= number) {
            return Ok(());
        }
        let mut raised = numbers.clone();
        raised.insert(kind.to_owned(), number);
        let text = serde_json::to_vec(&raised).map_err(io::Error::other)?;
        file::write_atomic(&self.path, &text, 0o644)?;
        *numbers = raised;
        Ok(())
    }

    /// Compares with what the database knows: `known` gives its highest of a kind. The kinds
    /// with numbers that the database has forgotten, if a person has accepted that; it is for
    /// the caller to raise them there.
    ///
    /// # Errors
    /// [`Exit::Data`] for a database that has forgotten numbers.
    pub fn check(
        &self,
        database: &str,
        known: impl Fn(&str) -> u64,
    ) -> Result<BTreeMap<String, u64>, Fatal> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten: BTreeMap<String, u64> = numbers
            .iter()
            .filter(|(kind, number)| known(kind) < **number)
            .map(|(kind, number)| (kind.clone(), *number))
            .collect();
        let Some((kind, number)) = forgotten.first_key_value() else {
            return Ok(forgotten);
        };
        let accept = self.path.with_file_name(ACCEPT_OLDER);
        if accept.exists() {
            return Ok(forgotten);
        }
        Err(Fatal::new(
            Exit::Data,
            format!(
                "the database in {database} is older than this home: number {number} of {kind} was given out, and it knows no more than {}",
                known(kind)
            ),
        )
        .hint(format!(
            "bring back the newest one; or go on with it: `touch {}` and start again, then numbers go on after the highest, and sectors that it has forgotten wait for a person",
            accept.display()
        )))
    }

    /// The database was brought up to the numbers that it had forgotten.
    pub fn settled(&self) -> Result<(), Fatal> {
        let accept = self.path.with_file_name(ACCEPT_OLDER);
        match fs::remove_file(&accept) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(unwritable(&accept, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_knows_its_database() {
        let home = tempfile::tempdir().unwrap();
        let at = "/somewhere";
        let id = DatabaseId::of(home.path());
        assert!(!id.may_be_made().unwrap());
        let never = id.missing(at, "begin it").hint.unwrap();
        assert!(never.contains("`begin it`"), "{never}");
        assert!(id.begin().unwrap() && id.may_be_made().unwrap());
        assert!(!id.begin().unwrap(), "it says so already");
        id.check(at, "one").unwrap();
        assert!(!id.may_be_made().unwrap());
        id.check(at, "one").unwrap();
        assert!(!id.begin().unwrap(), "it has had one");
        let other = id.check(at, "two").unwrap_err();
        assert_eq!(other.exit, Exit::Data);
        let lost = id.missing(at, "begin it");
        for refusal in [other, lost] {
            let hint = refusal.hint.unwrap();
            assert!(hint.contains(home.path().join(ID).to_str().unwrap()));
        }
    }

    #[test]
    fn an_older_database_is_refused_until_a_person_accepts_it() {
        let home = tempfile::tempdir().unwrap();
        let at = "/somewhere";
        let highest = Highest::of(home.path()).unwrap();
        highest.raise("t01000", 7).unwrap();
        highest.raise("t01000", 5).unwrap();
        highest.raise("t01001", 3).unwrap();
        let highest = Highest::of(home.path()).unwrap();
        assert_eq!((highest.get("t01000"), highest.get("t09")), (7, 0));

        assert!(highest.check(at, |_| 7).unwrap().is_empty());
        let older = |kind: &str| if kind == "t01000" { 6 } else { 3 };
        let refused = highest.check(at, older).unwrap_err();
        assert_eq!(refused.exit, Exit::Data);
        assert!(refused.message.contains("number 7 of t01000"), "{refused}");
        let accept = home.path().join(ACCEPT_OLDER);
        assert!(refused.hint.unwrap().contains(accept.to_str().unwrap()));

        fs::write(&accept, "").unwrap();
        let forgotten = highest.check(at, older).unwrap();
        assert_eq!(forgotten, BTreeMap::from([("t01000".to_owned(), 7)]));
        highest.settled().unwrap();
        assert!(!accept.exists());
        assert!(highest.check(at, older).is_err(), "it is asked each time");
    }

    #[test]
    fn a_damaged_file_of_numbers_is_not_taken_for_none() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(NUMBERS_FILE), "{").unwrap();
        assert_eq!(Highest::of(home.path()).unwrap_err().exit, Exit::Data);
    }
}
