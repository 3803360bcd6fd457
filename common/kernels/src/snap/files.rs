//! What an update reads and writes.

use super::{Error, Job};
use crate::{
    pc2::shape::Shape,
    tree::files::{FileError, Named, TreeFile, sync_directory},
};
use std::{fs::OpenOptions, path::PathBuf};

#[derive(Debug)]
pub(super) struct Files {
    pub(super) key: Named,
    pub(super) data: Named,
    pub(super) replica: Named,
    /// tree_r_last, by base tree.
    pub(super) trees: Vec<TreeFile>,
    cache_dir: PathBuf,
}

impl Files {
    /// Opens and checks what is read before it makes anything.
    pub(super) fn open(job: &Job, shape: Shape) -> Result<Self, Error> {
        let mut reading = OpenOptions::new();
        reading.read(true);
        let [key, data] = [&job.key, &job.data].map(|path| Named::open(path, &reading));
        let (key, data) = (key?, data?);
        for file in [&key, &data] {
            file.expect_len(shape.bytes())?;
        }
        let mut making = OpenOptions::new();
        making.write(true).create(true).truncate(false);
        let replica = Named::open(&job.replica, &making)?;
        if replica.is(&key)? || replica.is(&data)? {
            return Err(Error::SameFile(job.replica.clone()));
        }
        replica.set_len(shape.bytes())?;
        let trees = TreeFile::create_all(
            &job.cache_dir,
            "tree-r-last",
            shape.base_trees(),
            shape.base,
            job.rows_discarded + 1,
        )?;
        Ok(Self {
            key,
            data,
            replica,
            trees,
            cache_dir: job.cache_dir.clone(),
        })
    }

    /// Everything that was written is on the disk afterwards, names too.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        self.trees.iter().try_for_each(|tree| tree.file.sync())?;
        self.replica.sync()?;
        sync_directory(&self.cache_dir)?;
        self.replica.sync_name()
    }
}
