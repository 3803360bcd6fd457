//! How full the places are that this worker works in: looked at now and then, by a task of its
//! own, so that a dead file server holds up nobody who asks.

use crate::{
    config::Config,
    stores::{AttachedStores, look},
};
use damocles_api::worker::DiskInfo;
use parking_lot::Mutex;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);
/// Longest time that a place may take to be looked at.
const LIMIT: Duration = Duration::from_secs(10);
/// How deep the files of a sector lie in a sealing store: `data/cache/<sector>/<file>`.
const DEPTH: usize = 3;

const SEALING: &str = "sealing";
const PERSIST: &str = "persist";

/// Where to look.
#[derive(Clone, Debug)]
struct Place {
    kind: &'static str,
    name: String,
    path: PathBuf,
}

/// What was found last; clones share it.
#[derive(Clone, Debug)]
pub struct Disks {
    places: Arc<Vec<Place>>,
    found: Arc<Mutex<Vec<DiskInfo>>>,
}

impl Disks {
    /// The sealing stores and the attached ones. Nothing is looked at yet.
    pub fn new(config: &Config, attached: &AttachedStores) -> Self {
        let sealing = config.threads.iter().map(|thread| Place {
            kind: SEALING,
            name: thread.location.display().to_string(),
            path: thread.location.clone(),
        });
        let persist = attached.iter().map(|store| Place {
            kind: PERSIST,
            name: store.name.clone(),
            path: store.root.clone(),
        });
        Self {
            places: Arc::new(sealing.chain(persist).collect()),
            found: Arc::default(),
        }
    }

    /// As they were at the last look.
    pub fn now(&self) -> Vec<DiskInfo> {
        self.found.lock().clone()
    }

    /// Looks again and again until stopped.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            let places = Arc::clone(&self.places);
            let looked = tokio::task::spawn_blocking(move || places.iter().map(look_at).collect());
            tokio::select! {
                () = stop.cancelled() => return,
                found = looked => {
                    if let Ok(found) = found {
                        *self.found.lock() = found;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

fn look_at(place: &Place) -> DiskInfo {
    let (path, sealing) = (place.path.clone(), place.kind == SEALING);
    let looked = look::within(LIMIT, &place.path, move || -> io::Result<_> {
        let disk = rustix::fs::statvfs(&path)?;
        let used = match sealing {
            true => Some(used(&path.join("data"), DEPTH)?),
            false => None,
        };
        Ok((disk, used))
    });
    let mut info = DiskInfo {
        kind: place.kind.to_owned(),
        name: place.name.clone(),
        path: place.path.display().to_string(),
        total: 0,
        free: 0,
        used: None,
        problem: None,
    };
    match looked {
        Ok(Ok((disk, used))) => {
            info.total = disk.f_blocks.saturating_mul(disk.f_frsize);
            info.free = disk.f_bavail.saturating_mul(disk.f_frsize);
            info.used = used;
        }
        Ok(Err(error)) => info.problem = Some(error.to_string()),
        Err(error) => info.problem = Some(error.to_string()),
    }
    info
}

/// Bytes that the files below a directory take on the disk. What goes away meanwhile takes none.
fn used(dir: &Path, depth: usize) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut sum = 0;
    for entry in entries {
        let Ok(about) = entry
            .as_ref()
            .map_err(drop)
            .and_then(|e| e.metadata().map_err(drop))
        else {
            continue;
        };
        sum += match (about.is_dir(), entry) {
            (true, Ok(entry)) if depth > 0 => used(&entry.path(), depth - 1)?,
            _ => about.blocks() * 512,
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_and_one_that_is_away_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("data/cache/s-t01000-7");
        fs::create_dir_all(&cache).unwrap();
        fs::write(cache.join("layer"), vec![1; 1 << 20]).unwrap();
        let place = |path: PathBuf, kind| Place {
            kind,
            name: "x".into(),
            path,
        };
        let here = look_at(&place(dir.path().to_owned(), SEALING));
        assert!(here.total >= here.free && here.free > 0 && here.problem.is_none());
        assert!(here.used.is_some_and(|used| used >= 1 << 20), "{here:?}");
        let persist = look_at(&place(dir.path().to_owned(), PERSIST));
        assert_eq!((persist.total, persist.used), (here.total, None));
        let away = look_at(&place(dir.path().join("gone"), SEALING));
        assert!(away.problem.is_some() && away.total == 0, "{away:?}");
    }
}
