//! A daemon's directory as it was, for a test that damages the one in its place.

use anyhow::Result;
use std::{fs, os::unix::fs::symlink, path::Path};

/// Copies a directory with everything in it; links stay links.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
