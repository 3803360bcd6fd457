//! One run to a folder: two would remove each other's files.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::{fs::File, path::Path};

/// Holds the folder until the file is dropped; an error that says so when somebody has it.
pub fn hold(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file =
        File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another run is at it in {}. hint: end it first, or use another checkout",
            folder.display()
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_folder_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let held = super::hold(dir.path()).unwrap();
        let second = super::hold(dir.path()).unwrap_err().to_string();
        assert!(second.contains("another run"), "{second}");
        drop(held);
        super::hold(dir.path()).unwrap();
    }
}
