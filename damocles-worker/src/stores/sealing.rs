//! A sealing store: the directory of one sealing thread.
//!
//! ```text
//! <location>/.holder                                    says: this is a sealing store
//! <location>/.database                                  id of the database in meta/, see `database`
//! <location>/config.toml                                optional, settings of the thread that change while it runs
//! <location>/meta/                                      database of the thread
//! <location>/data/prepared/s-t0M-N/sc-02-data-tree-d.dat
//! <location>/data/unsealed/s-t0M-N                      staged file
//! <location>/data/cache/s-t0M-N/                        layers, trees, p_aux, t_aux
//! <location>/data/sealed/s-t0M-N                        replica
//! <location>/data/update/s-t0M-N  data/update-cache/s-t0M-N/   upgraded replica (snap)
//! ```

use super::{StoreError, io_error};
use damocles_processor::disk;
use damocles_types::SectorId;
use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

const HOLDER: &str = ".holder";
pub(super) const DATA: &str = "data";
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

impl SealingStore {
    /// Makes `path`, parents included, a sealing store. The directory must be new or empty.
    /// Nothing else makes one: where a store is missing, a disk may be missing.
    pub fn init(path: &Path) -> Result<Self, StoreError> {
        disk::make_dirs(path).map_err(io_error(path, "making the directory"))?;
        let path = absolute(path)?;
        if is_there(&path.join(HOLDER))? {
            return Err(StoreError::AlreadyInitialised(path));
        }
        if let Some(found) = foreign_entries(&path)? {
            return Err(StoreError::Foreign { path, found });
        }
        for part in [DATA, META] {
            let part = path.join(part);
            disk::make_dirs(&part).map_err(io_error(&part, "making the directory"))?;
        }
        // last: a half-made store is not taken for a whole one
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path.join(HOLDER))
            .and_then(|file| file.sync_all())
            .and_then(|()| disk::sync(&path))
            .map_err(io_error(&path, "writing .holder"))?;
        Ok(Self { root: path })
    }

    /// Opens a sealing store, of ours or of upstream's. Makes none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self::inspect(path)?;
        store.check_writable()?;
        Ok(store)
    }

    /// What [`Self::open`] would say, without making or touching anything.
    pub fn inspect(path: &Path) -> Result<Self, StoreError> {
        let root = absolute(path)?;
        if is_there(&root.join(HOLDER))? {
            return Ok(Self { root });
        }
        Err(match foreign_entries(&root)? {
            Some(found) => StoreError::Foreign { path: root, found },
            None => StoreError::NotInitialised(root),
        })
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        let data = self.root.join(DATA);
        disk::make_dirs(&data).map_err(io_error(&data, "making the directory"))?;
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

    /// Makes the directories into which a sector's parts are written, down to the disk: a part
    /// that is synced into a directory which a power cut takes away is lost all the same.
    pub fn make_room(&self, sector: SectorId) -> io::Result<()> {
        let paths = self.paths(sector);
        for directory in [&paths.prepared, &paths.cache] {
            disk::make_dirs(directory)?;
        }
        for file in [&paths.staged, &paths.sealed] {
            if let Some(parent) = file.parent() {
                disk::make_dirs(parent)?;
            }
        }
        Ok(())
    }

    /// Removes everything of every sector; the store itself stays, and so does the directory
    /// `data`, which may be a mount point or a link.
    pub fn clear_data(&self) -> io::Result<()> {
        let data = self.root.join(DATA);
        disk::make_dirs(&data)?;
        for entry in fs::read_dir(&data)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        disk::sync(&data)
    }
}

/// The directory that `path` names.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let root = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StoreError::NotADirectory(path.to_owned()));
        }
        found => found.map_err(io_error(path, "finding it"))?,
    };
    let about = fs::metadata(&root).map_err(io_error(&root, "looking at it"))?;
    if about.is_dir() {
        Ok(root)
    } else {
        Err(StoreError::NotADirectory(root))
    }
}

/// Whether there is something; what cannot be looked at is an error, not absent.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path, "looking at it")(error)),
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
    fn a_new_store_has_upstreams_layout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/store");
        let store = SealingStore::init(&path).unwrap();
        assert!(path.join(".holder").is_file() && path.join("meta").is_dir());
        assert_eq!(SealingStore::open(&path).unwrap(), store);
        let paths = store.paths(SectorId::new(1000, 7));
        let root = path.canonicalize().unwrap();
        assert_eq!(paths.staged, root.join("data/unsealed/s-t01000-7"));
        assert_eq!(
            paths.prepared_tree_d(),
            root.join("data/prepared/s-t01000-7/sc-02-data-tree-d.dat")
        );
        assert!(matches!(
            SealingStore::init(&path),
            Err(StoreError::AlreadyInitialised(_))
        ));
    }

    #[test]
    fn a_place_without_a_store_never_becomes_one_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        // the disk is away, and so is the directory on it; or only the mount point is left
        let (gone, mountpoint) = (dir.path().join("gone/s1"), dir.path().join("mountpoint"));
        fs::create_dir(&mountpoint).unwrap();
        fs::create_dir(dir.path().join("gone")).unwrap();
        for (path, words) in [(&gone, "is not there"), (&mountpoint, "an empty directory")] {
            for error in [
                SealingStore::open(path).unwrap_err(),
                SealingStore::inspect(path).unwrap_err(),
            ] {
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.hint().contains("mount"), "{}", error.hint());
                assert!(error.hint().contains("sealing-init"), "{}", error.hint());
                assert!(error.is_away(), "{error}");
            }
        }
        assert!(!gone.exists());
        assert_eq!(fs::read_dir(&mountpoint).unwrap().count(), 0);
    }

    #[test]
    fn what_is_cleared_is_the_sectors_and_not_the_directory_that_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = SealingStore::init(&dir.path().join("s")).unwrap();
        // data on a disk of its own, behind a link
        let data = store.root().join("data");
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        fs::remove_dir(&data).unwrap();
        std::os::unix::fs::symlink(&disk, &data).unwrap();
        let sector = SectorId::new(1000, 7);
        store.make_room(sector).unwrap();
        fs::write(store.paths(sector).staged, b"x").unwrap();
        fs::write(data.join("stray"), b"x").unwrap();
        store.clear_data().unwrap();
        assert!(data.is_symlink());
        assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
        store.clear_data().unwrap();
    }

    #[test]
    fn other_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = dir.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), b"x").unwrap();
        for error in [
            SealingStore::open(&foreign).unwrap_err(),
            SealingStore::init(&foreign).unwrap_err(),
        ] {
            assert!(error.to_string().contains("holds precious"), "{error}");
            assert!(!error.is_away(), "{error}");
        }
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        for path in [file.clone(), file.join("below")] {
            assert!(matches!(
                SealingStore::open(&path),
                Err(StoreError::NotADirectory(_))
            ));
        }
    }
}
