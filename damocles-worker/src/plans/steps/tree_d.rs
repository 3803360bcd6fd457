//! TreeD: the Merkle tree over the staged file, in the prepared directory. A sector without
//! data may take a ready-made one, whose path the pool's config gives.

use crate::{
    event::Event,
    plans::{Step, Stop},
};
use damocles_processor::{disk::make_last_dirs, task::TreeD};
use damocles_types::{Classify, SectorSize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Length of a tree-d file: a binary tree over 32-byte nodes.
pub fn length(size: SectorSize) -> u64 {
    2 * size.bytes() - 32
}

pub fn build(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let size = allocated.proof_type.size;
    let ready_made = step.world.static_tree(size);
    let has_deals = step.document()?.has_deals();
    renew(&paths.prepared)
        .crit("clearing the prepared directory")
        .map_err(Stop::Failed)?;
    match ready_made.filter(|_| !has_deals) {
        Some(tree) => link(&tree, &paths.prepared_tree_d(), size)
            .perm("using the static tree-d")
            .map_err(|failure| {
                Stop::Failed(failure.hint(format!(
                    "make it anew: damocles-worker generator tree-d --sector-size {size} --path DIR"
                )))
            })?,
        None => {
            step.compute(&TreeD {
                registered_proof: allocated.proof_type,
                staged_file: paths.staged,
                cache_dir: paths.prepared,
            })?;
        }
    }
    Ok(Event::BuildTreeD)
}

/// An empty directory at that path.
pub fn renew(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make_last_dirs(dir, 2)
}

/// A symbolic link to a tree of the right length. A wrong one would be overwritten through
/// the link by the proofs library, so it is refused here.
pub fn link(tree: &PathBuf, at: &Path, size: SectorSize) -> io::Result<()> {
    let found = fs::metadata(tree)?.len();
    if found != length(size) {
        return Err(io::Error::other(format!(
            "{} has {found} bytes; the tree-d of a {size} sector has {}",
            tree.display(),
            length(size)
        )));
    }
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(tree, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tree_of_the_right_length_is_linked() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, at) = (dir.path().join("tree"), dir.path().join("link"));
        fs::write(&tree, vec![0; 100]).unwrap();
        let error = link(&tree, &at, SectorSize::KiB2).unwrap_err();
        assert!(error.to_string().contains("has 4064"), "{error}");
        fs::write(&tree, vec![0; 4064]).unwrap();
        for _ in 0..2 {
            link(&tree, &at, SectorSize::KiB2).unwrap();
        }
        assert_eq!(fs::read_link(&at).unwrap(), tree);
    }
}
