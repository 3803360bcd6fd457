//! Attached stores: directories for finished sectors, known to the manager by the same names.
//!
//! ```text
//! <store>/sealed/s-t0M-N        <store>/cache/s-t0M-N/{p_aux,t_aux,sc-02-data-tree-r-last….dat}
//! <store>/update/s-t0M-N        <store>/update-cache/s-t0M-N/{the same}
//! <store>/.damocles-store       its mark, see `mark`
//! <store>/sectorstore.json      upstream's optional description
//! ```

use super::{
    StoreError, look,
    mark::{DESCRIPTION, Description, Mark, Seen, read, same},
    sealing::absolute,
};
use damocles_types::SectorId;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// One attached store. Its disk may be away: [`AttachedStore::look`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedStore {
    pub name: String,
    pub root: PathBuf,
    /// Read from, never written to.
    pub readonly: bool,
    /// Device and inode of the directory when it was attached; none: it was away.
    place: Option<(u64, u64)>,
}

impl AttachedStore {
    /// A store from the config; without a name it is called by its path.
    pub fn open(name: Option<&str>, location: &Path, readonly: bool) -> Self {
        let root = look::real(location);
        Self {
            name: name.map_or_else(|| root.display().to_string(), ToOwned::to_owned),
            place: place(&root),
            root,
            readonly,
        }
    }

    /// A store that describes itself. None: the directory does not.
    fn from_description(location: &Path) -> Result<Option<Self>, StoreError> {
        let root = absolute(location)?;
        let Some(about) = read::<Description>(&root, DESCRIPTION)? else {
            return Ok(None);
        };
        let name = [about.name, about.id]
            .into_iter()
            .find(|name| !name.is_empty());
        Ok(Some(Self {
            name: name.unwrap_or_else(|| root.display().to_string()),
            place: place(&root),
            root,
            readonly: about.read_only,
        }))
    }

    /// Looks whether the store is there now, and is the one with the id that was `seen`.
    ///
    /// # Errors
    /// [`StoreError::is_away`], mostly: missing, hanging, or another directory in its place.
    pub fn look(&self, seen: Option<&str>) -> Result<Option<Mark>, StoreError> {
        let root = self.root.clone();
        let mark = look::within(look::LIMIT, &self.root, move || {
            absolute(&root).and_then(|_| Mark::of(&root))
        })??;
        same(seen, mark.as_ref()).map_err(|found| StoreError::NotMounted {
            path: self.root.clone(),
            name: self.name.clone(),
            found,
        })?;
        Ok(mark)
    }

    /// What is to be remembered of the store with this mark.
    pub fn seen(&self, mark: &Mark) -> Seen {
        Seen {
            name: self.name.clone(),
            root: self.root.clone(),
            id: mark.id.clone(),
        }
    }

    /// Whether it lies on the root file system, where a disk that is not mounted would leave it.
    pub fn on_root_device(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
        self.place.map(|(device, _)| device) == device(Path::new("/"))
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

fn place(root: &Path) -> Option<(u64, u64)> {
    let asked = root.to_owned();
    let found = look::within(look::LIMIT, root, move || fs::metadata(asked));
    let about = found.ok()?.ok()?;
    Some((about.dev(), about.ino()))
}

/// All attached stores by name, in the order of names (so that candidates are stable).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedStores(BTreeMap<String, AttachedStore>);

impl AttachedStores {
    /// Adds one; a name is given once, and a directory has one name, or its room would be
    /// counted and promised twice.
    pub fn add(&mut self, store: AttachedStore) -> Result<(), StoreError> {
        if let Some(first) = self.0.get(&store.name) {
            return Err(StoreError::Duplicate {
                name: store.name,
                first: first.root.clone(),
                second: store.root,
            });
        }
        let same = |other: &&AttachedStore| {
            other.root == store.root || (store.place.is_some() && other.place == store.place)
        };
        if let Some(first) = self.0.values().find(same) {
            return Err(StoreError::TwoNames {
                path: store.root,
                first: first.name.clone(),
                second: store.name,
            });
        }
        self.0.insert(store.name.clone(), store);
        Ok(())
    }

    /// Adds every directory that matches a pattern and describes itself. Gives back what could
    /// not be looked at; the others are added all the same.
    pub fn scan(&mut self, pattern: &str) -> Result<Vec<StoreError>, StoreError> {
        let wrong = |error: glob::PatternError| StoreError::Pattern {
            pattern: pattern.to_owned(),
            error: error.to_string(),
        };
        let matches = glob::glob(pattern).map_err(wrong)?;
        let found = look::within(look::LIMIT, Path::new(pattern), move || {
            matches
                .map(|path| match path {
                    Ok(path) => AttachedStore::from_description(&path),
                    Err(error) => Err(StoreError::Io {
                        path: error.path().to_owned(),
                        doing: "scanning for stores",
                        error: error.into(),
                    }),
                })
                .collect::<Vec<_>>()
        });
        let mut away = Vec::new();
        match found {
            Err(error) => away.push(error),
            Ok(found) => {
                for store in found {
                    match store {
                        Ok(Some(store)) => self.add(store)?,
                        // other files and directories match, too
                        Ok(None) | Err(StoreError::NotADirectory(_)) => {}
                        Err(error) => away.push(error),
                    }
                }
            }
        }
        Ok(away)
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
        fs::write(dir.path().join("file"), "").unwrap();
        let all = format!("{}/*", dir.path().display());
        let mut stores = AttachedStores::default();
        assert!(stores.scan(&all).unwrap().is_empty());
        let root = dir.path().canonicalize().unwrap();
        let names: Vec<_> = stores.iter().map(|s| s.name.clone()).collect();
        let by_path = root.join("c").display().to_string();
        assert_eq!(names, [by_path.clone(), "hdd-a".into(), "id-b".into()]);
        assert_eq!(stores.writable(), [by_path, "id-b".into()]);

        let again = stores
            .scan(&format!("{}/b", dir.path().display()))
            .unwrap_err();
        assert!(again.to_string().contains("two attached stores"), "{again}");

        // one that cannot be read costs nobody else
        fs::write(dir.path().join("b").join(DESCRIPTION), "{\"ID\":\"x\",}").unwrap();
        let mut stores = AttachedStores::default();
        let broken = stores.scan(&all).unwrap();
        assert_eq!((broken.len(), stores.iter().count()), (1, 2));
        assert!(broken[0].hint().contains("trailing commas"), "{broken:?}");
    }

    #[test]
    fn a_directory_has_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, link) = (dir.path().join("disk"), dir.path().join("link"));
        fs::create_dir(&disk).unwrap();
        std::os::unix::fs::symlink(&disk, &link).unwrap();
        let mut stores = AttachedStores::default();
        stores
            .add(AttachedStore::open(Some("one"), &disk, false))
            .unwrap();
        let dotted = disk.join("../disk/.");
        for again in [&disk, &link, &dotted] {
            let error = stores
                .add(AttachedStore::open(Some("two"), again, true))
                .unwrap_err();
            assert!(matches!(error, StoreError::TwoNames { .. }), "{error}");
            assert!(error.to_string().contains("\"one\" and \"two\""), "{error}");
        }
    }

    #[test]
    fn an_empty_mount_point_is_not_the_store_that_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let store = AttachedStore::open(Some("hdd"), &disk, false);
        let missing = store.look(None).unwrap_err();
        assert!(matches!(missing, StoreError::Missing(_)), "{missing}");
        fs::create_dir(&disk).unwrap();
        assert_eq!(
            store.look(None).unwrap(),
            None,
            "never marked: nobody can tell"
        );
        Mark::put(&disk, Some("hdd"), false).unwrap();
        let mark = store.look(None).unwrap().unwrap();
        let seen = store.seen(&mark);
        assert!(store.look(Some(&seen.id)).unwrap().is_some());
        fs::remove_file(disk.join(crate::stores::mark::FILE)).unwrap();
        let away = store.look(Some(&seen.id)).unwrap_err();
        assert!(
            away.is_away() && away.to_string().contains("not mounted"),
            "{away}"
        );
    }

    #[test]
    fn paths_in_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = AttachedStore::open(Some("hdd"), dir.path(), false);
        let id = SectorId::new(1000, 7);
        assert!(store.sealed(id, false).ends_with("sealed/s-t01000-7"));
        assert!(store.cache(id, true).ends_with("update-cache/s-t01000-7"));
    }
}
