//! The directory of a measurement: made empty, removed at the end.

use crate::disk::at;
use damocles_types::ByteSize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Memory, mostly: there a disk does not blur what the kernels do.
const IN_MEMORY: &str = "/dev/shm";

/// A directory of its own in the one that was asked for.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes it where there is room: in `wanted`, else in memory (`/dev/shm`), else where
    /// temporary files go.
    pub fn new(wanted: Option<&Path>, room: u64) -> io::Result<Self> {
        let temporary = std::env::temp_dir();
        let choices = match wanted {
            Some(dir) => vec![dir],
            None => vec![Path::new(IN_MEMORY), &temporary],
        };
        let fits = |dir: &&Path| free(dir).is_ok_and(|free| free >= room);
        let Some(parent) = choices.iter().copied().find(fits) else {
            let names: Vec<_> = choices.iter().map(|d| d.display().to_string()).collect();
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "{} is needed for files, and there is not so much in {}",
                    ByteSize(room),
                    names.join(" or ")
                ),
            ));
        };
        let dir = parent.join(format!("damocles-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(at(&dir))?;
        // files refer to each other by absolute paths
        let dir = dir.canonicalize().map_err(at(&dir))?;
        Ok(Self { dir })
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes everything, even while somebody still makes files there.
    pub fn clear(&self) {
        for _ in 0..50 {
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => return,
            }
        }
        tracing::warn!("{} could not be removed", self.dir.display());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What this user may still write there.
fn free(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_where_there_is_room_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::new(Some(parent.path()), 1 << 10).unwrap();
        fs::create_dir(place.path().join("below")).unwrap();
        fs::write(place.path().join("below/file"), "x").unwrap();
        drop(place);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let error = Place::new(Some(parent.path()), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
