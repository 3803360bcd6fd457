//! Which tokens were made, and which of them hold no longer: a file in the home. Commands on the
//! daemon's host write it; the daemon looks at it before it believes a token, so that one that is
//! revoked opens nothing any more from that moment on.

use super::{permission::Permission, secret::Grant};
use crate::{
    exit::{Exit, Fatal},
    file,
    seldom::Seldom,
};
use fs4::FileExt;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The file's name in the home.
pub const LEDGER_FILE: &str = "tokens.json";
/// So many tokens are kept in it.
const MOST: usize = 10_000;
/// A token that is past its end is listed for so long yet, in seconds.
const REMEMBERED: u64 = 30 * 24 * 3600;

/// A token that was made, or only revoked, here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    pub id: String,
    /// The highest permission that it carries. None: it was made without an id, and is known by
    /// its revocation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perm: Option<Permission>,
    /// The only worker for which its bearer may speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
    /// Unix seconds; None: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Unix seconds; None: it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

impl Entry {
    /// A token that is made now, at that many Unix seconds.
    pub fn of(id: String, grant: &Grant, now: u64) -> Self {
        Self {
            id,
            perm: Some(grant.top),
            worker: grant.worker.clone(),
            made: Some(now),
            expires: grant.expires,
            revoked: None,
        }
    }

    fn is_past(&self, now: u64) -> bool {
        self.expires
            .is_some_and(|end| end.saturating_add(REMEMBERED) < now)
    }
}

/// The tokens in the file, oldest first; none where there is no file.
///
/// # Errors
/// [`Exit::Refused`] unreadable, [`Exit::Data`] damaged.
pub fn entries(path: &Path) -> Result<Vec<Entry>, Fatal> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            return Err(Fatal::new(
                Exit::Refused,
                format!("cannot read the list of tokens {}: {e}", path.display()),
            )
            .hint("run this as the daemon's user, on its host"));
        }
    };
    serde_json::from_slice(&text).map_err(|e| {
        Fatal::new(
            Exit::Data,
            format!("the list of tokens {} is damaged: {e}", path.display()),
        )
        .hint("restore it: without it, tokens that were revoked would hold again")
    })
}

/// Notes a token that was made.
///
/// # Errors
/// As [`entries`]; [`Exit::Refused`] when the file cannot be written, or is full.
pub fn add(path: &Path, entry: Entry, now: u64) -> Result<(), Fatal> {
    change(path, now, |all| {
        if all.len() >= MOST {
            return Err(Fatal::new(
                Exit::Refused,
                format!("{} lists {MOST} tokens, and takes no more", path.display()),
            )
            .hint("give tokens an end with --expires: those past it leave the list"));
        }
        all.push(entry);
        Ok(())
    })
}

/// Revokes a token. One that the list does not know is noted as revoked, for tokens that were made
/// without an id. The entry as it is now.
///
/// # Errors
/// As [`add`].
pub fn revoke(path: &Path, id: &str, now: u64) -> Result<Entry, Fatal> {
    change(path, now, |all| {
        if let Some(known) = all.iter_mut().find(|e| e.id == id) {
            known.revoked.get_or_insert(now);
            return Ok(known.clone());
        }
        if all.len() >= MOST {
            return Err(Fatal::new(
                Exit::Refused,
                format!("{} lists {MOST} tokens, and takes no more", path.display()),
            )
            .hint("remove the secret instead: then every token must be made anew"));
        }
        let entry = Entry {
            id: id.to_owned(),
            perm: None,
            worker: None,
            made: None,
            expires: None,
            revoked: Some(now),
        };
        all.push(entry.clone());
        Ok(entry)
    })
}

/// Reads, changes and writes the file, one process at a time.
fn change<T>(
    path: &Path,
    now: u64,
    how: impl FnOnce(&mut Vec<Entry>) -> Result<T, Fatal>,
) -> Result<T, Fatal> {
    let refused = |e: io::Error| {
        Fatal::new(
            Exit::Refused,
            format!("cannot write the list of tokens {}: {e}", path.display()),
        )
        .hint("run this as the daemon's user, on its host")
    };
    let home = path.parent().unwrap_or(Path::new("."));
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(lock)
        .map_err(refused)?;
    FileExt::lock(&lock).map_err(refused)?;
    let mut all = entries(path)?;
    all.retain(|entry| !entry.is_past(now));
    let done = how(&mut all)?;
    let text = serde_json::to_vec_pretty(&all).map_err(|e| refused(e.into()))?;
    file::write_atomic(path, &text, 0o600).map_err(refused)?;
    // written by root, it is the daemon's user who must be able to read it
    let (owner, file) = (
        fs::metadata(home).map_err(refused)?,
        fs::metadata(path).map_err(refused)?,
    );
    if owner.uid() != file.uid() {
        chown(path, Some(owner.uid()), Some(owner.gid())).map_err(refused)?;
    }
    Ok(done)
}

/// By what a changed file is told from the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    revoked: HashSet<String>,
}

/// The file as a daemon goes by it; clones share what was read.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: Arc<PathBuf>,
    seen: Arc<RwLock<Seen>>,
}

impl Ledger {
    /// The list of tokens in that file, which need not be there.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn open(path: &Path) -> Result<Self, Fatal> {
        let ledger = Self {
            path: Arc::new(path.to_owned()),
            seen: Arc::default(),
        };
        let stamp = ledger.stamp().ok().flatten();
        *ledger.seen.write() = Seen {
            revoked: revoked(entries(path)?),
            stamp,
        };
        Ok(ledger)
    }

    /// Whether a token was ever made here that is listed.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn is_empty(&self) -> Result<bool, Fatal> {
        Ok(entries(&self.path)?.is_empty())
    }

    /// Whether the token of that id was revoked, as the file says at this moment. While it cannot
    /// be read, what it said before holds on.
    pub fn is_revoked(&self, id: &str) -> bool {
        static UNREADABLE: Seldom = Seldom::new(Duration::from_secs(60));
        let failed = match self.stamp() {
            Ok(stamp) if stamp == self.seen.read().stamp => None,
            Ok(None) => Some("it is gone".to_owned()),
            Ok(stamp) => match entries(&self.path) {
                Ok(all) => {
                    let revoked = revoked(all);
                    *self.seen.write() = Seen { stamp, revoked };
                    None
                }
                Err(fatal) => Some(fatal.to_string()),
            },
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed
            && let Some(more) = UNREADABLE.now()
        {
            tracing::error!(
                more, file = %self.path.display(),
                hint = "let the daemon's user read it; what it said before holds on",
                "the list of revoked tokens cannot be read: {why}"
            );
        }
        self.seen.read().revoked.contains(id)
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        match fs::metadata(&*self.path) {
            Ok(meta) => Ok(Some(Stamp {
                inode: meta.ino(),
                bytes: meta.len(),
                changed: (meta.ctime(), meta.ctime_nsec()),
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn revoked(all: Vec<Entry>) -> HashSet<String> {
    all.into_iter()
        .filter(|entry| entry.revoked.is_some())
        .map(|entry| entry.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, expires: Option<u64>) -> Entry {
        let grant = Grant {
            top: Permission::Write,
            expires,
            worker: Some("w1".into()),
        };
        Entry::of(id.into(), &grant, 100)
    }

    #[test]
    fn a_running_daemon_hears_of_a_revocation_at_once_and_forgets_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LEDGER_FILE);
        let daemon = Ledger::open(&path).unwrap();
        assert!(!daemon.is_revoked("a") && daemon.is_empty().unwrap());
        add(&path, entry("a", None), 100).unwrap();
        add(&path, entry("b", None), 100).unwrap();
        assert!(!daemon.is_revoked("a") && !daemon.is_empty().unwrap());
        assert_eq!(revoke(&path, "a", 200).unwrap().revoked, Some(200));
        assert!(daemon.is_revoked("a") && !daemon.is_revoked("b"));
        // a second time it stays revoked from when it was; one without an entry can be, too
        assert_eq!(revoke(&path, "a", 300).unwrap().revoked, Some(200));
        revoke(&path, "without", 300).unwrap();
        assert!(daemon.is_revoked("without"));
        // a file that is damaged, and one that is gone, free nobody
        fs::write(&path, "[{").unwrap();
        assert!(daemon.is_revoked("a"));
        fs::remove_file(&path).unwrap();
        assert!(daemon.is_revoked("a"));
    }

    #[test]
    fn tokens_long_past_their_end_leave_the_list_and_a_damaged_one_is_not_written_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LEDGER_FILE);
        add(&path, entry("old", Some(1000)), 100).unwrap();
        add(&path, entry("new", None), 1000 + REMEMBERED).unwrap();
        let ids = |path| -> Vec<String> {
            let all = entries(path).unwrap();
            all.into_iter().map(|e| e.id).collect()
        };
        assert_eq!(ids(&path), ["old", "new"]);
        add(&path, entry("newer", None), 1001 + REMEMBERED).unwrap();
        assert_eq!(ids(&path), ["new", "newer"]);
        fs::write(&path, "[{").unwrap();
        assert_eq!(
            add(&path, entry("x", None), 1).unwrap_err().exit,
            Exit::Data
        );
        assert_eq!(Ledger::open(&path).unwrap_err().exit, Exit::Data);
    }

    #[test]
    fn many_that_write_at_the_same_time_are_all_noted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LEDGER_FILE);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || add(path, entry(&n.to_string(), None), 1).unwrap());
            }
        });
        assert_eq!(entries(&path).unwrap().len(), 8);
    }
}
