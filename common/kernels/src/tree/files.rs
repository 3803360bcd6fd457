//! Files of a sector and of its trees: what trees' files are called, where a row lies in one,
//! and errors that name the file.

use super::octree::{NODE, Octree};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} has {found} bytes instead of {expected}")]
    Length {
        path: PathBuf,
        expected: u64,
        found: u64,
    },
}

/// An open file that knows its name.
#[derive(Debug)]
pub(crate) struct Named {
    file: File,
    pub(crate) path: PathBuf,
}

impl Named {
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, FileError> {
        let path = path.to_owned();
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(FileError::Io { path, source }),
        }
    }

    fn named(&self) -> impl Fn(io::Error) -> FileError + '_ {
        |source| FileError::Io {
            path: self.path.clone(),
            source,
        }
    }

    pub(crate) fn len(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().map_err(self.named())?.len())
    }

    pub(crate) fn expect_len(&self, expected: u64) -> Result<(), FileError> {
        match self.len()? {
            found if found == expected => Ok(()),
            found => Err(FileError::Length {
                path: self.path.clone(),
                expected,
                found,
            }),
        }
    }

    pub(crate) fn set_len(&self, len: u64) -> Result<(), FileError> {
        self.file.set_len(len).map_err(self.named())
    }

    /// Tells the kernel that the file is read from front to back. Only a hint.
    pub(crate) fn read_ahead(&self) {
        let _ = fadvise(&self.file, 0, None, Advice::Sequential);
    }

    /// Whether both are the same file, by whatever names.
    pub(crate) fn is(&self, other: &Self) -> Result<bool, FileError> {
        let id = |named: &Self| -> Result<_, FileError> {
            let meta = named.file.metadata().map_err(named.named())?;
            Ok((meta.dev(), meta.ino()))
        };
        Ok(id(self)? == id(other)?)
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(self.named())
    }

    /// Reads; what lies behind the end is zero.
    pub(crate) fn read_padded(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => {
                    buffer[filled..].fill(0);
                    return Ok(());
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.named()(error)),
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all_at(bytes, offset).map_err(self.named())
    }

    pub(crate) fn sync_data(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(self.named())
    }

    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.file.sync_all().map_err(self.named())
    }

    /// Brings the name of this file to the disk.
    pub(crate) fn sync_name(&self) -> Result<(), FileError> {
        let above = match self.path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        sync_directory(above)
    }
}

/// Brings the names in a directory to the disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), FileError> {
    Named::open(path, OpenOptions::new().read(true))?.sync()
}

/// A base tree's file.
#[derive(Debug)]
pub(crate) struct TreeFile {
    pub(crate) file: Named,
    tree: Octree,
    /// The first row that is in the file.
    first: u32,
}

impl TreeFile {
    /// The files of a sector's base trees, which begin with row `first`. What lies there by
    /// their names is emptied.
    pub(crate) fn create_all(
        dir: &Path,
        name: &str,
        base_trees: usize,
        tree: Octree,
        first: u32,
    ) -> Result<Vec<Self>, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        names(name, base_trees)
            .map(|name| {
                let file = Named::open(&dir.join(name), &options)?;
                file.set_len((tree.len() - tree.row_start(first)) * NODE as u64)?;
                Ok(Self { file, tree, first })
            })
            .collect()
    }

    /// Writes `rows` of a subtree, whose `nodes` are all of its rows. Its own row 0 lies in row
    /// `lowest` of this tree, where it is the subtree number `index` of those side by side. Rows
    /// that the file leaves out are passed over.
    pub(crate) fn write_subtree(
        &self,
        (lowest, index): (u32, u64),
        subtree: Octree,
        nodes: &[u8],
        rows: impl IntoIterator<Item = u32>,
    ) -> Result<(), FileError> {
        for row in rows {
            let start = subtree.row_start(row) as usize * NODE;
            let len = subtree.row_len(row);
            let nodes = &nodes[start..][..len as usize * NODE];
            self.write(lowest + row, index * len, nodes)?;
        }
        Ok(())
    }

    /// Writes nodes of a row, `at` nodes from its begin; nothing if the row is left out.
    fn write(&self, row: u32, at: u64, nodes: &[u8]) -> Result<(), FileError> {
        if row < self.first {
            return Ok(());
        }
        let node = self.tree.row_start(row) - self.tree.row_start(self.first) + at;
        self.file.write(node * NODE as u64, nodes)
    }
}

/// The file names of a tree (`StoreConfig::data_path` of merkletree 0.23): numbered where
/// there are several base trees.
fn names(tree: &str, base_trees: usize) -> impl Iterator<Item = String> {
    (0..base_trees).map(move |i| match base_trees {
        1 => format!("sc-02-data-{tree}.dat"),
        _ => format!("sc-02-data-{tree}-{i}.dat"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pc2::{DEFAULT_ROWS_TO_DISCARD, shape::Shape};
    use filecoin_hashers::poseidon::{PoseidonDomain, PoseidonHasher};
    use filecoin_proofs::{SectorSize, StoreConfig, get_base_tree_size, with_shape};
    use generic_array::typenum::{U0, U8};
    use storage_proofs_core::{
        cache_key::CacheKey,
        merkle::{
            DiskStore, ExternalReader, LCTree, MerkleTreeTrait, Store, get_base_tree_count,
            split_config,
        },
        util::default_rows_to_discard,
    };

    /// What the library opens tree_r_last with.
    type LevelCache = <LCTree<PoseidonHasher, U8, U0, U0> as MerkleTreeTrait>::Store;

    /// Files of holes, which cost nothing: as the library takes only files of the right names
    /// and lengths, and finds in them what we write, ours and its layout are the same.
    #[test]
    fn the_library_reads_every_shape() {
        for size in (10..=36).map(|power| 1_u64 << power) {
            if Shape::of_sector(size).is_some() {
                with_shape!(size, check, size,);
            }
        }
    }

    fn check<Tree: MerkleTreeTrait>(size: u64) {
        let shape = Shape::of_sector(size).unwrap();
        let (tree, count) = (shape.base, shape.base_trees());
        let nodes = get_base_tree_size::<Tree>(SectorSize(size)).unwrap();
        assert_eq!(count, get_base_tree_count::<Tree>());
        assert_eq!(tree.len(), nodes as u64);
        assert_eq!(
            tree.discarded(DEFAULT_ROWS_TO_DISCARD) as usize,
            default_rows_to_discard(tree.leaves() as usize, 8)
        );

        let dir = tempfile::tempdir().unwrap();
        let configs = |key: CacheKey, discarded: u32| {
            let config = StoreConfig::new(dir.path(), key.to_string(), discarded as usize);
            split_config(config, count).unwrap()
        };
        let trees = TreeFile::create_all(dir.path(), "tree-c", count, tree, 0).unwrap();
        for (file, config) in trees.iter().zip(configs(CacheKey::CommCTree, 0)) {
            let store = DiskStore::<PoseidonDomain>::new_from_disk(nodes, 8, &config).unwrap();
            same_places(file, &store);
        }
        for discarded in [0, DEFAULT_ROWS_TO_DISCARD, 20].map(|wanted| tree.discarded(wanted)) {
            let first = discarded + 1;
            let trees =
                TreeFile::create_all(dir.path(), "tree-r-last", count, tree, first).unwrap();
            for (file, config) in trees
                .iter()
                .zip(configs(CacheKey::CommRLastTree, discarded))
            {
                // the leaves would be read from there, but none is asked for
                let leaves = ExternalReader::new_from_path(&file.file.path).unwrap();
                let store =
                    LevelCache::new_from_disk_with_reader(nodes, 8, &config, leaves).unwrap();
                same_places(file, &store);
            }
        }
    }

    /// The first and the last node of every row in the file.
    #[track_caller]
    fn same_places(file: &TreeFile, store: &impl Store<PoseidonDomain>) {
        let tree = file.tree;
        for row in file.first..=tree.height() {
            for at in [0, tree.row_len(row) - 1] {
                let node = [1 + 2 * row as u8 + u8::from(at > 0); NODE];
                file.write(row, at, &node).unwrap();
                let index = (tree.row_start(row) + at) as usize;
                assert_eq!(store.read_at(index).unwrap(), PoseidonDomain::from(node));
            }
        }
    }

    #[test]
    fn a_subtree_goes_to_its_place_in_every_row() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, subtree) = (Octree::of_height(4), Octree::of_height(1));
        let trees = TreeFile::create_all(dir.path(), "tree-r-last", 1, tree, 3).unwrap();
        let nodes: Vec<u8> = (1..=9).flat_map(|node| [node; NODE]).collect();
        let put = |place, rows: std::ops::Range<u32>| {
            let done = trees[0].write_subtree(place, subtree, &nodes, rows);
            done.unwrap();
            let file = std::fs::read(&trees[0].file.path).unwrap();
            file.iter().step_by(NODE).copied().collect::<Vec<u8>>()
        };
        // the second of eight with leaves in row 2: only its root is in the file
        assert_eq!(put((2, 1), 0..2), [0, 9, 0, 0, 0, 0, 0, 0, 0]);
        // the top, but without the tree's root
        assert_eq!(put((3, 0), 0..1), [1, 2, 3, 4, 5, 6, 7, 8, 0]);
        assert_eq!(put((3, 0), 1..2), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
