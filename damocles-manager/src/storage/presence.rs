//! Whether what lies in a store's directory is that store. An empty mount point, another disk,
//! one directory under two names, a sealing store around it: nothing is put there, nothing is
//! read from there, and its sectors are away, not lost.
//!
//! A store may carry a mark, the file `.damocles-store` with an id (`damocles-worker store
//! file-init` writes it). Which id was seen under which name is kept in the database: a store
//! that had a mark and has none now is not mounted.

use crate::storage::{
    Space, StorageError, Store, Stores, Unreachable,
    disk::read_small,
    layout::{SCANNED_MARK, SEALING_MARK, STORE_MARK},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// A store that takes longer to tell what it is is passed over.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// What was seen is believed for so long.
const FRESH: Duration = Duration::from_secs(5);

/// What a store's mark says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Mark {
    id: String,
    #[serde(default)]
    name: String,
}

/// What was found in a store's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    space: Space,
    /// Device and inode: two names of one directory have the same.
    place: (u64, u64),
    /// None: there is no mark. Err: it cannot be understood.
    mark: Result<Option<Mark>, String>,
    /// The sealing store in which it lies.
    inside: Option<PathBuf>,
    /// The file by which a scan finds it is there.
    marked_for_scan: bool,
}

fn see(root: &Path) -> io::Result<Seen> {
    let space = Space::of(root)?;
    let about = root.metadata()?;
    if !about.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    let mark = match read_small(&root.join(STORE_MARK)) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| e.to_string()),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(e.to_string()),
        Err(e) => return Err(e),
    };
    let real = root.canonicalize()?;
    let inside = real
        .ancestors()
        .find(|dir| dir.join(SEALING_MARK).is_file());
    Ok(Seen {
        space,
        place: (about.dev(), about.ino()),
        mark,
        inside: inside.map(Path::to_owned),
        marked_for_scan: root.join(SCANNED_MARK).try_exists()?,
    })
}

/// Why a directory is not the store that it should be. Pure.
fn strange(
    name: &str,
    scanned: bool,
    known: &BTreeMap<String, String>,
    seen: &Seen,
) -> Option<String> {
    if let Some(sealing) = &seen.inside {
        return Some(format!(
            "it lies in the sealing store {}, which its worker clears after every sector; choose a directory apart from it",
            sealing.display()
        ));
    }
    let accept = format!("`damocles-manager util storage accept {name}`");
    let mark = match &seen.mark {
        Err(why) => return Some(format!("its mark {STORE_MARK} cannot be understood: {why}")),
        Ok(mark) => mark,
    };
    match (known.get(name), mark) {
        (Some(_), None) => Some(format!(
            "its mark {STORE_MARK} is gone: not mounted? If it shall be used without, say {accept}"
        )),
        (Some(id), Some(mark)) if *id != mark.id => Some(format!(
            "another store ({}) lies in its place: mounted wrongly? If it shall be this one from now on, say {accept}",
            if mark.name.is_empty() {
                &mark.id
            } else {
                &mark.name
            }
        )),
        (None, Some(mark)) if known.values().any(|id| *id == mark.id) => {
            let other = known.iter().find(|(_, id)| **id == mark.id);
            Some(format!(
                "its mark says that it is the store {:?}; if it was renamed, say {accept}",
                other.map_or("", |(name, _)| name)
            ))
        }
        _ if scanned && !seen.marked_for_scan => Some(format!(
            "a scan found it before, and its {SCANNED_MARK} is gone: not mounted? If it is no store any more, say {accept}"
        )),
        _ => None,
    }
}

impl Store {
    /// Notes why it is not used, and says so once.
    pub(super) fn set_note(&self, note: Option<String>) {
        let mut presence = self.presence.lock();
        let (name, path) = (&self.policy.name, self.policy.path.display());
        match (&presence.note, &note) {
            (before, Some(why)) if before.as_ref() != Some(why) => {
                tracing::error!(store = name, %path, "a persist store cannot be used: {why}");
            }
            (Some(_), None) => {
                tracing::info!(store = name, %path, "a persist store can be used again")
            }
            _ => {}
        }
        if note.is_some() {
            presence.good = None;
        }
        presence.note = note;
    }
}

impl Stores {
    /// Looks whether the store is there and is itself; its space.
    ///
    /// # Errors
    /// [`Unreachable`], which says nothing of the sectors in it.
    pub(super) async fn examine(
        &self,
        store: &Arc<Store>,
        limit: Duration,
    ) -> Result<Space, Unreachable> {
        let examined = self.examine_quietly(store, limit).await;
        store.set_note(examined.as_ref().err().map(|e| e.why.clone()));
        examined
    }

    async fn examine_quietly(
        &self,
        store: &Arc<Store>,
        limit: Duration,
    ) -> Result<Space, Unreachable> {
        let seen = store.disk.call(limit, see).await?;
        let name = &store.policy.name;
        let why = strange(name, store.pattern.is_some(), &self.0.marks.lock(), &seen)
            .or_else(|| self.same_place(store, seen.place));
        if let Some(why) = why {
            return Err(store.disk.unusable(why));
        }
        if let Ok(Some(mark)) = &seen.mark {
            let news = !self.0.marks.lock().contains_key(name);
            if news {
                let (name, id) = (name.clone(), mark.id.clone());
                let stored = self.db(move |db| db.put_store_mark(&name, &id)).await;
                stored.map_err(|e| store.disk.unusable(e))?;
                self.0
                    .marks
                    .lock()
                    .insert(store.policy.name.clone(), mark.id.clone());
            }
        }
        let mut presence = store.presence.lock();
        presence.good = Some(Instant::now());
        presence.place = Some(seen.place);
        Ok(seen.space)
    }

    /// One directory under two names would be counted, and promised, twice. The first has it.
    pub(super) fn same_place(&self, store: &Arc<Store>, place: (u64, u64)) -> Option<String> {
        let all = self.stores();
        let before = all.iter().take_while(|other| !Arc::ptr_eq(other, store));
        let mut same = before.filter(|other| other.presence.lock().place == Some(place));
        same.next().map(|other| {
            format!(
                "it is the same directory as the store {:?}, and would be counted twice; take one of them out of the configuration",
                other.policy.name
            )
        })
    }

    /// The same for one that is about to be read: what was seen a moment ago holds.
    pub(super) async fn present(
        &self,
        store: &Arc<Store>,
        limit: Duration,
    ) -> Result<(), Unreachable> {
        let fresh = {
            let presence = store.presence.lock();
            presence.good.is_some_and(|at| at.elapsed() < FRESH)
        };
        if fresh {
            return Ok(());
        }
        self.examine(store, limit).await.map(drop)
    }

    /// A person says that the store is what lies in its directory now. What is said of it then;
    /// none: it is used.
    ///
    /// # Errors
    /// An unknown name, or a failing database.
    pub async fn accept(&self, name: &str) -> Result<Option<String>, StorageError> {
        let store = self.find(name)?;
        let owned = name.to_owned();
        self.db(move |db| db.remove_store_mark(&owned)).await?;
        self.0.marks.lock().remove(name);
        tracing::warn!(store = name, "a person accepted the store as it is");
        let gone = store.pattern.is_some()
            && matches!(store.disk.call(LIMIT, see).await, Ok(seen) if !seen.marked_for_scan);
        if gone {
            let owned = name.to_owned();
            self.db(move |db| db.forget_scanned(&owned)).await?;
            self.0.stores.write().retain(|s| s.policy.name != name);
            return Ok(Some("it is no persist store any more".to_owned()));
        }
        // another name may have had this mark before
        if let Ok(Seen {
            mark: Ok(Some(mark)),
            ..
        }) = store.disk.call(LIMIT, see).await
        {
            let marks = self.0.marks.lock().clone();
            for (other, id) in marks {
                if id == mark.id {
                    self.0.marks.lock().remove(&other);
                    self.db(move |db| db.remove_store_mark(&other)).await?;
                }
            }
        }
        let examined = self.examine(&store, LIMIT).await;
        Ok(examined.err().map(|e| e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mark: Option<&str>) -> Seen {
        Seen {
            space: Space {
                kind: 0,
                total: 1,
                used: 0,
                free: 1,
            },
            place: (1, 1),
            mark: Ok(mark.map(|id| Mark {
                id: id.into(),
                name: format!("disk {id}"),
            })),
            inside: None,
            marked_for_scan: false,
        }
    }

    #[test]
    fn a_store_that_is_not_itself_is_told_from_one_that_never_had_a_mark() {
        let known: BTreeMap<String, String> = [("a".into(), "1".into())].into();
        for (name, scanned, mark, says) in [
            ("a", false, Some("1"), None),
            ("a", false, None, Some("not mounted?")),
            ("a", false, Some("2"), Some("another store (disk 2)")),
            ("b", false, None, None),
            ("b", false, Some("2"), None),
            ("b", false, Some("1"), Some("it is the store \"a\"")),
            ("b", true, None, Some("sectorstore.json is gone")),
        ] {
            let why = strange(name, scanned, &known, &seen(mark));
            match says {
                None => assert_eq!(why, None, "{name} {mark:?}"),
                Some(says) => assert!(why.unwrap().contains(says), "{name} {mark:?}"),
            }
        }
        let garbled = Seen {
            mark: Err("expected value".into()),
            ..seen(None)
        };
        assert!(strange("b", false, &known, &garbled).is_some());
        let inside = Seen {
            inside: Some("/s1".into()),
            ..seen(Some("1"))
        };
        assert!(
            strange("a", false, &known, &inside)
                .unwrap()
                .contains("sealing store /s1")
        );
    }
}
