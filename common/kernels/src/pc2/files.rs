//! The files of PC2: which are read and written, and how long they must be.

use super::{Data, Error, Job, shape::Shape};
use crate::tree::files::{FileError, Named, TreeFile, sync_directory};
use std::{fs::OpenOptions, path::PathBuf};

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
                    return Err(Error::File(FileError::Length {
                        path: path.clone(),
                        expected: shape.bytes(),
                        found,
                    }));
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
            TreeFile::create_all(&job.cache_dir, name, shape.base_trees(), shape.base, first)
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

    pub(super) fn read_data(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
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
    pub(super) fn sync(&self) -> Result<(), FileError> {
        for tree in self.tree_c.iter().chain(&self.tree_r) {
            tree.file.sync()?;
        }
        self.sealed.sync()?;
        sync_directory(&self.cache_dir)?;
        self.sealed.sync_name()
    }
}
