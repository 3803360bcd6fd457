//! Marks of attached stores: a small file with an id, written by `store file-init`. A worker
//! that has seen a store with its mark takes nothing else for it later: an empty mount point
//! looks like a store, and what is moved into it is hidden when the disk is mounted.

use super::{StoreError, io_error};
use damocles_processor::disk;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// The mark's file in the store.
pub const FILE: &str = ".damocles-store";
/// Upstream's description of a store; its id marks the store as well.
pub(super) const DESCRIPTION: &str = "sectorstore.json";

/// What a store says of itself; the manager reads it as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub id: String,
    /// What it was called when it was marked; for people.
    #[serde(default)]
    pub name: String,
}

/// A store as a worker remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    pub root: PathBuf,
    /// Of its mark.
    pub id: String,
}

/// The part of `sectorstore.json` that a worker reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Description {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) read_only: bool,
}

/// A small JSON file of a store. None: it is not there.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    root: &Path,
    file: &'static str,
) -> Result<Option<T>, StoreError> {
    let text = match fs::read(root.join(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(io_error(&root.join(file), "reading it"))?,
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(StoreError::Description {
            path: root.to_owned(),
            file,
            error,
        }),
    }
}

impl Mark {
    /// The mark of the store at `root`: its own, or the id that upstream's description gives it.
    pub fn of(root: &Path) -> Result<Option<Self>, StoreError> {
        if let Some(mark) = read::<Self>(root, FILE)? {
            return Ok(Some(mark));
        }
        let described = read::<Description>(root, DESCRIPTION)?;
        Ok(described.filter(|d| !d.id.is_empty()).map(|d| Self {
            id: d.id,
            name: d.name,
        }))
    }

    /// Marks the directory, which may hold sectors already. One that has a mark keeps it, unless
    /// it is to be another store from now on (`anew`).
    pub fn put(root: &Path, name: Option<&str>, anew: bool) -> Result<Self, StoreError> {
        let old = if anew { None } else { Self::of(root)? };
        let mark = Self {
            id: old
                .as_ref()
                .map_or_else(|| Uuid::new_v4().to_string(), |m| m.id.clone()),
            name: match (name, old) {
                (Some(name), _) => name.to_owned(),
                (None, old) => old.map(|m| m.name).unwrap_or_default(),
            },
        };
        let text = format!("{}\n", serde_json::json!(mark));
        disk::write_whole(&root.join(FILE), text.as_bytes())
            .map_err(io_error(root, "writing its mark"))?;
        Ok(mark)
    }
}

/// Whether what is there now is the store that was seen; else what is there instead.
pub(super) fn same(seen: Option<&str>, now: Option<&Mark>) -> Result<(), String> {
    match (seen, now) {
        (None, _) => Ok(()),
        (Some(seen), Some(now)) if seen == now.id => Ok(()),
        (Some(_), Some(now)) if now.name.is_empty() => {
            Err(format!("it has the mark of another store ({})", now.id))
        }
        (Some(_), Some(now)) => Err(format!("it has the mark of the store {:?}", now.name)),
        (Some(_), None) => Err("its mark is not there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_seen_with_a_mark_is_only_that_one() {
        let mark = |id: &str, name: &str| Mark {
            id: id.to_owned(),
            name: name.to_owned(),
        };
        for (seen, now, fine) in [
            (None, None, true),
            (None, Some(mark("a", "")), true),
            (Some("a"), Some(mark("a", "renamed")), true),
            (Some("a"), None, false),
            (Some("a"), Some(mark("b", "")), false),
            (Some("a"), Some(mark("b", "hdd-2")), false),
        ] {
            assert_eq!(same(seen, now.as_ref()).is_ok(), fine, "{seen:?} {now:?}");
        }
    }

    #[test]
    fn a_mark_is_kept_and_upstreams_id_is_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::of(dir.path()).unwrap(), None);
        fs::write(
            dir.path().join(DESCRIPTION),
            r#"{"Name":"hdd-1","Weight":1}"#,
        )
        .unwrap();
        assert_eq!(
            Mark::of(dir.path()).unwrap(),
            None,
            "a name may be given twice"
        );
        fs::write(dir.path().join(DESCRIPTION), r#"{"ID":"x","Name":"hdd-1"}"#).unwrap();
        let first = Mark::put(dir.path(), None, false).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(
            text, "{\"id\":\"x\",\"name\":\"hdd-1\"}\n",
            "as the manager reads it"
        );
        assert_eq!((first.id.as_str(), first.name.as_str()), ("x", "hdd-1"));
        let renamed = Mark::put(dir.path(), Some("hdd-9"), false).unwrap();
        assert_eq!((renamed.id.as_str(), renamed.name.as_str()), ("x", "hdd-9"));
        let anew = Mark::put(dir.path(), None, true).unwrap();
        assert_ne!(anew.id, "x");
        assert_eq!(Mark::of(dir.path()).unwrap(), Some(anew));
        fs::write(dir.path().join(FILE), "{").unwrap();
        let broken = Mark::of(dir.path()).unwrap_err();
        assert!(broken.to_string().contains(FILE), "{broken}");
    }
}
