//! The files of PC2: what they are called, how long they are, and errors that name them.

use super::{Data, Error, Job, shape::Shape};
use crate::tree::octree::{NODE, Octree};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// An open file that knows its name.
#[derive(Debug)]
pub(super) struct Named {
    file: File,
    pub(super) path: PathBuf,
}

impl Named {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.to_owned();
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn named(&self) -> impl Fn(io::Error) -> Error + '_ {
        |source| Error::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(self.named())?.len())
    }

    fn expect_len(&self, expected: u64) -> Result<(), Error> {
        match self.len()? {
            found if found == expected => Ok(()),
            found => Err(Error::Length {
                path: self.path.clone(),
                expected,
                found,
            }),
        }
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(self.named())
    }

    /// Tells the kernel that the file is read from front to back. Only a hint.
    fn read_ahead(&self) {
        let _ = fadvise(&self.file, 0, None, Advice::Sequential);
    }

    fn is(&self, other: &Self) -> Result<bool, Error> {
        let id = |named: &Self| -> Result<_, Error> {
            let meta = named.file.metadata().map_err(named.named())?;
            Ok((meta.dev(), meta.ino()))
        };
        Ok(id(self)? == id(other)?)
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(self.named())
    }

    /// Reads; what lies behind the end is zero.
    fn read_padded(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
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

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(self.named())
    }

    pub(super) fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(self.named())
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(self.named())
    }
}

/// A tree's file.
#[derive(Debug)]
pub(super) struct TreeFile {
    pub(super) file: Named,
    tree: Octree,
    /// The first row that is in the file.
    first: u32,
}

impl TreeFile {
    fn create(path: &Path, tree: Octree, first: u32) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = Named::open(path, &options)?;
        file.set_len((tree.len() - tree.row_start(first)) * NODE as u64)?;
        Ok(Self { file, tree, first })
    }

    /// Writes nodes of a row, `at` nodes from its begin; nothing if the row is left out.
    pub(super) fn write(&self, row: u32, at: u64, nodes: &[u8]) -> Result<(), Error> {
        if row < self.first {
            return Ok(());
        }
        let node = self.tree.row_start(row) - self.tree.row_start(self.first) + at;
        self.file.write(node * NODE as u64, nodes)
    }
}

/// Everything that a run reads and writes.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) layers: Vec<Named>,
    /// None: the data is in the sealed file.
    staged: Option<Named>,
    pub(super) sealed: Named,
    /// By base tree.
    pub(super) tree_c: Vec<TreeFile>,
    pub(super) tree_r: Vec<TreeFile>,
    cache_dir: PathBuf,
}

impl Files {
    /// Opens and checks what is read before it makes anything.
    pub(super) fn open(job: &Job, shape: Shape, discarded: u32) -> Result<Self, Error> {
        let mut reading = OpenOptions::new();
        reading.read(true);
        let mut layers = Vec::with_capacity(job.layers.len());
        for path in &job.layers {
            let layer = Named::open(path, &reading)?;
            layer.expect_len(shape.bytes())?;
            layer.read_ahead();
            layers.push(layer);
        }
        let mut writing = OpenOptions::new();
        writing.read(true).write(true);
        let (staged, sealed) = match &job.data {
            Data::InPlace => {
                let sealed = Named::open(&job.sealed, &writing)?;
                sealed.expect_len(shape.bytes())?;
                sealed.read_ahead();
                (None, sealed)
            }
            Data::Staged(path) => {
                let staged = Named::open(path, &reading)?;
                let found = staged.len()?;
                if found > shape.bytes() {
                    return Err(Error::Length {
                        path: path.clone(),
                        expected: shape.bytes(),
                        found,
                    });
                }
                staged.read_ahead();
                let sealed = Named::open(&job.sealed, writing.create(true).truncate(false))?;
                if sealed.is(&staged)? {
                    return Err(Error::SameFile(path.clone()));
                }
                sealed.set_len(shape.bytes())?;
                (Some(staged), sealed)
            }
        };
        let trees = |name: &str, first: u32| {
            names(name, shape.base_trees())
                .map(|name| TreeFile::create(&job.cache_dir.join(name), shape.base, first))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            layers,
            staged,
            sealed,
            tree_c: trees("tree-c", 0)?,
            tree_r: trees("tree-r-last", discarded + 1)?,
            cache_dir: job.cache_dir.clone(),
        })
    }

    pub(super) fn read_data(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        match &self.staged {
            Some(staged) => staged.read_padded(offset, buffer),
            None => self.sealed.read(offset, buffer),
        }
    }

    /// The file that the data comes from.
    pub(super) fn data_path(&self) -> &PathBuf {
        &self.staged.as_ref().unwrap_or(&self.sealed).path
    }

    /// Everything that was written is on the disk afterwards, names too.
    pub(super) fn sync(&self) -> Result<(), Error> {
        for tree in self.tree_c.iter().chain(&self.tree_r) {
            tree.file.sync()?;
        }
        self.sealed.sync()?;
        let above = match self.sealed.path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        for dir in [self.cache_dir.as_path(), above] {
            Named::open(dir, OpenOptions::new().read(true))?.sync()?;
        }
        Ok(())
    }
}

/// The file names of a tree (`StoreConfig::data_path` of merkletree 0.23): numbered where
/// there are several base trees.
pub fn names(tree: &str, base_trees: usize) -> impl Iterator<Item = String> {
    (0..base_trees).map(move |i| match base_trees {
        1 => format!("sc-02-data-{tree}.dat"),
        _ => format!("sc-02-data-{tree}-{i}.dat"),
    })
}
