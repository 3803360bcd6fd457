//! The files in a sector's cache directory: which there are, which go when, and the marks
//! that the stages leave to themselves.

use super::trouble::disk;
use crate::{
    disk::{WorkLock, at, make_last_dirs, remove_if_there, sync},
    serve::TaskError,
};
use std::{fs, io, path::Path};

pub(super) const TREE_D: &str = "sc-02-data-tree-d.dat";
const LAYER: &str = "sc-02-data-layer-";
const TREE_C: &str = "sc-02-data-tree-c";
const TREE_R: &str = "sc-02-data-tree-r-last";
pub(super) const SYNTHETIC: &str = "syn-porep-vanilla-proofs.dat";

/// What PC1 knows about its layers.
pub(super) const PC1_MARK: &str = ".pc1.json";
/// What PC2 knows about its trees and the sealed file.
pub(super) const PC2_MARK: &str = ".pc2.json";
/// Whose answers the synthetic proofs are, once they have been tried.
pub(super) const SYNTHETIC_MARK: &str = ".synthetic.json";
/// Upstream's sign that a PC2 was interrupted.
pub const PC2_RUNNING: &str = ".pc2_running";
const LOCK: &str = ".lock";

/// Nobody else may work in the directory meanwhile: a child of a daemon that has just been
/// killed may still be at it.
pub(super) fn lock(dir: &Path) -> Result<WorkLock, TaskError> {
    // the sector's own, and the one of all sectors
    make_last_dirs(dir, 2).map_err(disk)?;
    WorkLock::try_take(&dir.join(LOCK))
        .map_err(disk)?
        .ok_or_else(|| {
            TaskError::temporary(format!("another process is working in {}", dir.display()))
                .hint("it ends by itself soon when it is left over from a daemon that was killed")
        })
}

/// The names in a directory that begin with one of these.
pub(super) fn names(dir: &Path, prefixes: &[&str]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry
            .map_err(at(dir))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// The number of a layer's file; none for other files and unfinished layers.
pub(super) fn layer_number(name: &str) -> Option<usize> {
    name.strip_prefix(LAYER)?.strip_suffix(".dat")?.parse().ok()
}

pub(super) fn layers(dir: &Path) -> io::Result<Vec<String>> {
    names(dir, &[LAYER])
}

/// What PC2 makes in the directory.
pub(super) fn pc2_files(dir: &Path) -> io::Result<Vec<String>> {
    names(dir, &[TREE_C, TREE_R, "p_aux", "t_aux"])
}

pub(super) fn remove(dir: &Path, names: &[String]) -> io::Result<()> {
    names
        .iter()
        .try_for_each(|name| remove_if_there(&dir.join(name)))
}

/// Whether PC1 has finished a layer here.
pub fn has_layers(dir: &Path) -> io::Result<bool> {
    Ok(layers(dir)?.iter().any(|name| layer_number(name).is_some()))
}

/// Removes what PC2 makes, half or whole: its next run starts from nothing. The library takes
/// half a tree for a whole one.
pub fn clear_trees(dir: &Path) -> io::Result<()> {
    remove(dir, &pc2_files(dir)?)?;
    sync(dir)
}

/// Removes the layers, the answers out of them, and the marks: the next PC1 starts from nothing. For
/// a sector whose ticket has expired.
pub fn clear_layers(dir: &Path) -> io::Result<()> {
    let mut gone = layers(dir)?;
    gone.extend([PC1_MARK, PC2_MARK, SYNTHETIC_MARK, SYNTHETIC].map(str::to_owned));
    remove(dir, &gone)?;
    sync(dir)
}

/// Removes what C1 needs no more once there are synthetic proofs: layers, tree-c, tree-d. The
/// marks of PC1 and PC2 go with what they are of. Safe to run again.
pub(super) fn clear_what_synthetic_proofs_replace(dir: &Path) -> io::Result<()> {
    let gone = names(
        dir,
        &[LAYER, "sc-02-data-tree-d", TREE_C, PC1_MARK, PC2_MARK],
    )?;
    remove(dir, &gone)?;
    sync(dir)
}

/// Removes everything that proving a sealed sector does not need: layers, tree-d, tree-c,
/// synthetic proofs and marks. Safe to run again. Only after the proof is on chain.
pub fn clear_cache(dir: &Path) -> io::Result<()> {
    let gone = names(
        dir,
        &[
            LAYER,
            "sc-02-data-tree-d",
            TREE_C,
            SYNTHETIC,
            SYNTHETIC_MARK,
            PC1_MARK,
            PC2_MARK,
            PC2_RUNNING,
            LOCK,
        ],
    )?;
    remove(dir, &gone)?;
    sync(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_leaves_what_proving_needs() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "p_aux",
            "t_aux",
            "sc-02-data-tree-r-last.dat",
            "sc-02-data-tree-r-last-0.dat",
            TREE_D,
            "sc-02-data-tree-c-0.dat",
            "sc-02-data-layer-1.dat",
            "sc-02-data-layer-2..tmp",
            PC1_MARK,
            PC2_MARK,
            LOCK,
        ] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", dir.path().join("sc-02-data-tree-d-1.dat")).unwrap();
        for _ in 0..2 {
            clear_cache(dir.path()).unwrap();
            assert_eq!(
                names(dir.path(), &[""]).unwrap(),
                [
                    "p_aux",
                    "sc-02-data-tree-r-last-0.dat",
                    "sc-02-data-tree-r-last.dat",
                    "t_aux"
                ]
            );
        }
    }

    #[test]
    fn what_pc1_and_pc2_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::write(path.join("sc-02-data-layer-1..tmp"), b"x").unwrap();
        fs::write(path.join("sc-02-data-tree-c-0.dat"), b"x").unwrap();
        assert!(!has_layers(path).unwrap());
        fs::write(path.join("sc-02-data-layer-1.dat"), b"x").unwrap();
        assert!(has_layers(path).unwrap());
        clear_trees(path).unwrap();
        assert_eq!(names(path, &["sc-02-data-tree"]).unwrap(), [""; 0]);
        assert!(has_layers(path).unwrap(), "layers stay");
        clear_layers(path).unwrap();
        assert_eq!(names(path, &[""]).unwrap(), [""; 0]);
    }

    #[test]
    fn layers_are_told_from_their_unfinished_forms() {
        assert_eq!(layer_number("sc-02-data-layer-11.dat"), Some(11));
        for other in [
            "sc-02-data-layer-1..tmp",
            "sc-02-data-tree-d.dat",
            "sc-02-data-layer-.dat",
        ] {
            assert_eq!(layer_number(other), None);
        }
    }
}
