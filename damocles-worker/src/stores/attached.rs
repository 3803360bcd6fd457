//! Attached stores: directories for finished sectors, known to the manager by the same names.
//!
//! ```text
//! <store>/sealed/s-t0M-N        <store>/cache/s-t0M-N/{p_aux,t_aux,sc-02-data-tree-r-last….dat}
//! <store>/update/s-t0M-N        <store>/update-cache/s-t0M-N/{the same}
//! <store>/sectorstore.json      optional description
//! ```

use super::StoreError;
use damocles_types::SectorId;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const DESCRIPTION: &str = "sectorstore.json";

/// One attached store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedStore {
    pub name: String,
    pub root: PathBuf,
    /// Read from, never written to.
    pub readonly: bool,
}

/// The part of `sectorstore.json` that a worker reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Description {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    read_only: bool,
}

impl AttachedStore {
    /// A store from the config; without a name it is called by its path.
    pub fn open(name: Option<&str>, location: &Path, readonly: bool) -> Result<Self, StoreError> {
        let root = directory(location)?;
        Ok(Self {
            name: name.map_or_else(|| root.display().to_string(), ToOwned::to_owned),
            root,
            readonly,
        })
    }

    /// A store that describes itself.
    fn from_description(location: &Path) -> Result<Self, StoreError> {
        let root = directory(location)?;
        let text =
            std::fs::read_to_string(root.join(DESCRIPTION)).map_err(|error| StoreError::Io {
                path: root.clone(),
                doing: "reading sectorstore.json",
                error,
            })?;
        let about: Description =
            serde_json::from_str(&text).map_err(|error| StoreError::Description {
                path: root.clone(),
                error,
            })?;
        let name = [about.name, about.id]
            .into_iter()
            .find(|name| !name.is_empty());
        Ok(Self {
            name: name.unwrap_or_else(|| root.display().to_string()),
            root,
            readonly: about.read_only,
        })
    }

    /// The replica of a sector; `update`: the one of its upgrade.
    pub fn sealed(&self, sector: SectorId, update: bool) -> PathBuf {
        let kind = if update { "update" } else { "sealed" };
        self.root.join(kind).join(sector.to_string())
    }

    /// The directory of the files that proving needs beside the replica.
    pub fn cache(&self, sector: SectorId, update: bool) -> PathBuf {
        let kind = if update { "update-cache" } else { "cache" };
        self.root.join(kind).join(sector.to_string())
    }
}

fn directory(location: &Path) -> Result<PathBuf, StoreError> {
    let root = location
        .canonicalize()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing(location.to_owned()),
            _ => StoreError::Io {
                path: location.to_owned(),
                doing: "finding it",
                error,
            },
        })?;
    if root.is_dir() {
        Ok(root)
    } else {
        Err(StoreError::NotADirectory(root))
    }
}

/// All attached stores by name, in the order of names (so that candidates are stable).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedStores(BTreeMap<String, AttachedStore>);

impl AttachedStores {
    /// Adds one; a name is given once.
    pub fn add(&mut self, store: AttachedStore) -> Result<(), StoreError> {
        if let Some(first) = self.0.get(&store.name) {
            return Err(StoreError::Duplicate {
                name: store.name,
                first: first.root.clone(),
                second: store.root,
            });
        }
        self.0.insert(store.name.clone(), store);
        Ok(())
    }

    /// Adds every directory that matches a pattern and describes itself.
    pub fn scan(&mut self, pattern: &str) -> Result<(), StoreError> {
        let wrong = |error: String| StoreError::Pattern {
            pattern: pattern.to_owned(),
            error,
        };
        let matches = glob::glob(pattern).map_err(|error| wrong(error.to_string()))?;
        for path in matches {
            let path = path.map_err(|error| wrong(error.to_string()))?;
            if path.join(DESCRIPTION).is_file() {
                self.add(AttachedStore::from_description(&path)?)?;
            }
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&AttachedStore> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &AttachedStore> {
        self.0.values()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of the stores into which a sector may be moved.
    pub fn writable(&self) -> Vec<String> {
        let writable = self.0.values().filter(|store| !store.readonly);
        writable.map(|store| store.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn scanned_stores_are_named_by_their_description() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "a",
                r#"{"ID":"id-a","Name":"hdd-a","ReadOnly":true,"Weight":7}"#,
            ),
            ("b", r#"{"ID":"id-b"}"#),
            ("c", "{}"),
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(DESCRIPTION), text).unwrap();
        }
        fs::create_dir(dir.path().join("plain")).unwrap();
        let mut stores = AttachedStores::default();
        stores.scan(&format!("{}/*", dir.path().display())).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let names: Vec<_> = stores.iter().map(|s| s.name.clone()).collect();
        let by_path = root.join("c").display().to_string();
        assert_eq!(names, [by_path.clone(), "hdd-a".into(), "id-b".into()]);
        assert_eq!(stores.writable(), [by_path, "id-b".into()]);

        let again = stores
            .scan(&format!("{}/b", dir.path().display()))
            .unwrap_err();
        assert!(again.to_string().contains("two attached stores"), "{again}");
        fs::write(dir.path().join("b").join(DESCRIPTION), "{\"ID\":\"x\",}").unwrap();
        let broken = AttachedStores::default()
            .scan(&format!("{}/b", dir.path().display()))
            .unwrap_err();
        assert!(broken.hint().contains("trailing commas"), "{broken}");
    }

    #[test]
    fn paths_in_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = AttachedStore::open(Some("hdd"), dir.path(), false).unwrap();
        let id = SectorId::new(1000, 7);
        assert!(store.sealed(id, false).ends_with("sealed/s-t01000-7"));
        assert!(store.cache(id, true).ends_with("update-cache/s-t01000-7"));
        let missing = AttachedStore::open(None, &dir.path().join("x"), false).unwrap_err();
        assert!(matches!(missing, StoreError::Missing(_)));
    }
}
