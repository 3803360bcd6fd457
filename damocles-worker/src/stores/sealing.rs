//! A sealing store: the directory of one sealing thread.
//!
//! ```text
//! <location>/.holder                                    says: this is a sealing store
//! <location>/config.toml                                optional, settings of the thread that change while it runs
//! <location>/meta/                                      database of the thread
//! <location>/data/prepared/s-t0M-N/sc-02-data-tree-d.dat
//! <location>/data/unsealed/s-t0M-N                      staged file
//! <location>/data/cache/s-t0M-N/                        layers, trees, p_aux, t_aux
//! <location>/data/sealed/s-t0M-N                        replica
//! <location>/data/update/s-t0M-N  data/update-cache/s-t0M-N/   upgraded replica (snap)
//! ```

use super::StoreError;
use damocles_types::SectorId;
use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

const HOLDER: &str = ".holder";
const DATA: &str = "data";
const META: &str = "meta";
const HOT_CONFIG: &str = "config.toml";
/// What a fresh directory may hold without being somebody's.
const HARMLESS: [&str; 2] = ["lost+found", HOT_CONFIG];
/// File name of tree-d, fixed by the proofs library.
pub const TREE_D: &str = "sc-02-data-tree-d.dat";

/// A directory that is known to be a sealing store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingStore {
    root: PathBuf,
}

/// Where the parts of the one sector in a sealing store lie; absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectorPaths {
    /// Directory that holds tree-d until PC1 takes it.
    pub prepared: PathBuf,
    /// Unsealed, padded data.
    pub staged: PathBuf,
    pub cache: PathBuf,
    pub sealed: PathBuf,
    pub update: PathBuf,
    pub update_cache: PathBuf,
}

impl SectorPaths {
    /// The tree-d file in the prepared directory.
    pub fn prepared_tree_d(&self) -> PathBuf {
        self.prepared.join(TREE_D)
    }
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { path, doing, error }
}

impl SealingStore {
    /// Makes `path`, parents included, a sealing store. The directory must be new or empty.
    pub fn init(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(io_error(path, "making the directory"))?;
        let path = absolute(path)?;
        if path.join(HOLDER).exists() {
            return Err(StoreError::AlreadyInitialised(path));
        }
        if let Some(found) = foreign_entries(&path)? {
            return Err(StoreError::Foreign { path, found });
        }
        for part in [DATA, META] {
            let part = path.join(part);
            fs::create_dir_all(&part).map_err(io_error(&part, "making the directory"))?;
        }
        // last: a half-made store is not taken for a whole one
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path.join(HOLDER))
            .and_then(|file| file.sync_all())
            .map_err(io_error(&path, "writing .holder"))?;
        Ok(Self { root: path })
    }

    /// Opens a sealing store. A path that does not exist becomes one, if its parent exists;
    /// an existing directory never does by itself, since a disk may be missing there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(path).map_err(io_error(path, "making the directory"))?;
                return Self::init(path);
            }
            Err(error) => return Err(io_error(path, "looking at it")(error)),
            Ok(_) => {}
        }
        let root = absolute(path)?;
        if !root.join(HOLDER).is_file() {
            return Err(match foreign_entries(&root)? {
                Some(found) => StoreError::Foreign { path: root, found },
                None => StoreError::NotInitialised(root),
            });
        }
        let store = Self { root };
        store.check_writable()?;
        Ok(store)
    }

    /// What [`Self::open`] would say, without making or touching anything.
    pub fn inspect(path: &Path) -> Result<(), StoreError> {
        let Ok(root) = absolute(path) else {
            return match path.parent() {
                Some(parent) if !path.exists() && parent.is_dir() => Ok(()),
                _ if path.exists() => Err(StoreError::NotADirectory(path.to_owned())),
                _ => Err(StoreError::Missing(
                    path.parent().unwrap_or(path).to_owned(),
                )),
            };
        };
        if root.join(HOLDER).is_file() {
            return Ok(());
        }
        Err(match foreign_entries(&root)? {
            Some(found) => StoreError::Foreign { path: root, found },
            None => StoreError::NotInitialised(root),
        })
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        let data = self.root.join(DATA);
        fs::create_dir_all(&data).map_err(io_error(&data, "making the directory"))?;
        let probe = self.root.join(".probe");
        fs::write(&probe, b"")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(io_error(&self.root, "writing a probe file"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of the thread's database.
    pub fn meta(&self) -> PathBuf {
        self.root.join(META)
    }

    /// The thread's settings that may change while it runs; need not exist.
    pub fn hot_config(&self) -> PathBuf {
        self.root.join(HOT_CONFIG)
    }

    pub fn paths(&self, sector: SectorId) -> SectorPaths {
        let data = self.root.join(DATA);
        let name = sector.to_string();
        SectorPaths {
            prepared: data.join("prepared").join(&name),
            staged: data.join("unsealed").join(&name),
            cache: data.join("cache").join(&name),
            sealed: data.join("sealed").join(&name),
            update: data.join("update").join(&name),
            update_cache: data.join("update-cache").join(&name),
        }
    }

    /// Makes the directories into which a sector's parts are written.
    pub fn make_room(&self, sector: SectorId) -> io::Result<()> {
        let paths = self.paths(sector);
        for directory in [&paths.prepared, &paths.cache] {
            fs::create_dir_all(directory)?;
        }
        for file in [&paths.staged, &paths.sealed] {
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
        }
        Ok(())
    }

    /// Removes everything of every sector; the store itself stays.
    pub fn clear_data(&self) -> io::Result<()> {
        let data = self.root.join(DATA);
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&data)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let root = path.canonicalize().map_err(io_error(path, "finding it"))?;
    if root.is_dir() {
        Ok(root)
    } else {
        Err(StoreError::NotADirectory(root))
    }
}

/// The first few names in a directory that are not there by themselves.
fn foreign_entries(path: &Path) -> Result<Option<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error(path, "listing it"))? {
        let entry = entry.map_err(io_error(path, "listing it"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !HARMLESS.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    names.truncate(3);
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_path_becomes_a_store_with_upstreams_layout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        SealingStore::inspect(&path).unwrap();
        assert!(!path.exists(), "inspecting makes nothing");
        let store = SealingStore::open(&path).unwrap();
        assert!(path.join(".holder").is_file() && path.join("meta").is_dir());
        assert_eq!(SealingStore::open(&path).unwrap(), store);
        let paths = store.paths(SectorId::new(1000, 7));
        let root = path.canonicalize().unwrap();
        assert_eq!(paths.staged, root.join("data/unsealed/s-t01000-7"));
        assert_eq!(
            paths.prepared_tree_d(),
            root.join("data/prepared/s-t01000-7/sc-02-data-tree-d.dat")
        );
        store.make_room(SectorId::new(1000, 7)).unwrap();
        fs::write(&paths.staged, b"x").unwrap();
        store.clear_data().unwrap();
        assert!(!paths.staged.exists() && path.join("data").is_dir());
        assert!(matches!(
            SealingStore::init(&path),
            Err(StoreError::AlreadyInitialised(_))
        ));
    }

    #[test]
    fn other_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("mountpoint");
        fs::create_dir(&empty).unwrap();
        let error = SealingStore::open(&empty).unwrap_err();
        assert!(matches!(error, StoreError::NotInitialised(_)), "{error}");
        assert!(error.hint().contains("sealing-init"));
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);

        let foreign = dir.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), b"x").unwrap();
        for error in [
            SealingStore::open(&foreign).unwrap_err(),
            SealingStore::init(&foreign).unwrap_err(),
        ] {
            assert!(error.to_string().contains("holds precious"), "{error}");
        }
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(matches!(
            SealingStore::open(&file),
            Err(StoreError::NotADirectory(_))
        ));
        assert!(matches!(
            SealingStore::open(&file.join("below")),
            Err(StoreError::Io { .. })
        ));
        let no_parent = dir.path().join("no/such");
        assert!(matches!(
            SealingStore::open(&no_parent),
            Err(StoreError::Io { .. })
        ));
        assert!(matches!(
            SealingStore::inspect(&no_parent),
            Err(StoreError::Missing(_))
        ));
    }
}
