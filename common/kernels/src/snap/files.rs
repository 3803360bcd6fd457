//! What an update reads and writes, and errors that name the file.

use super::{Error, Job};
use crate::{
    pc2::{names, shape::Shape},
    tree::octree::{NODE, Octree},
};
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
    path: PathBuf,
}

impl Named {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.to_owned();
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn named<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn expect_len(self, expected: u64) -> Result<Self, Error> {
        let found = self.named(self.file.metadata())?.len();
        if found == expected {
            Ok(self)
        } else {
            let path = self.path;
            Err(Error::Length {
                path,
                expected,
                found,
            })
        }
    }

    fn id(&self) -> Result<(u64, u64), Error> {
        let meta = self.named(self.file.metadata())?;
        Ok((meta.dev(), meta.ino()))
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.named(self.file.read_exact_at(buffer, offset))
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.named(self.file.write_all_at(bytes, offset))
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.named(self.file.set_len(length))
    }

    fn sync(&self) -> Result<(), Error> {
        self.named(self.file.sync_all())
    }
}

#[derive(Debug)]
pub(super) struct Files {
    pub(super) key: Named,
    pub(super) data: Named,
    pub(super) replica: Named,
    /// By base tree.
    trees: Vec<Named>,
    tree: Octree,
    /// The first row that is in a tree's file.
    first: u32,
    directories: [PathBuf; 2],
}

impl Files {
    /// Opens and checks what is read before it makes anything.
    pub(super) fn open(job: &Job, shape: Shape) -> Result<Self, Error> {
        let mut reading = OpenOptions::new();
        reading.read(true);
        let [key, data] = [&job.key, &job.data]
            .map(|path| Named::open(path, &reading)?.expect_len(shape.bytes()));
        let (key, data) = (key?, data?);
        let mut making = OpenOptions::new();
        making.write(true).create(true).truncate(false);
        let replica = Named::open(&job.replica, &making)?;
        let id = replica.id()?;
        if id == key.id()? || id == data.id()? {
            return Err(Error::SameFile(job.replica.clone()));
        }
        replica.set_len(shape.bytes())?;
        let first = job.rows_discarded + 1;
        let length = (shape.base.len() - shape.base.row_start(first)) * NODE as u64;
        making.truncate(true);
        let trees = names("tree-r-last", shape.base_trees())
            .map(|name| {
                let tree = Named::open(&job.cache_dir.join(name), &making)?;
                tree.set_len(length)?;
                Ok(tree)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let above = match job.replica.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        Ok(Self {
            key,
            data,
            replica,
            trees,
            tree: shape.base,
            first,
            directories: [job.cache_dir.clone(), above.to_owned()],
        })
    }

    /// Writes nodes of a base tree's row, `at` nodes from its begin; nothing if the row is
    /// left out.
    pub(super) fn put_row(
        &self,
        tree: usize,
        row: u32,
        at: u64,
        nodes: &[u8],
    ) -> Result<(), Error> {
        if row < self.first {
            return Ok(());
        }
        let node = self.tree.row_start(row) - self.tree.row_start(self.first) + at;
        self.trees[tree].write(node * NODE as u64, nodes)
    }

    /// Everything that was written is on the disk afterwards, names too.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.trees.iter().try_for_each(Named::sync)?;
        self.replica.sync()?;
        let mut reading = OpenOptions::new();
        reading.read(true);
        for directory in &self.directories {
            Named::open(directory, &reading)?.sync()?;
        }
        Ok(())
    }
}
