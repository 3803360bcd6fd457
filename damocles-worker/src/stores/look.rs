//! Looking at directories that may hang: a dead file server or disk can hold a system call for
//! ever. The look is done beside, and only who asked waits, and not for ever.

use super::{StoreError, io_error};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// Longest time that a directory may take to be looked at.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Places whose last look has not come back: nobody looks there again before it does, or each
/// look would leave a thread behind.
static HUNG: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn hung() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HUNG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `look` finds at `path`, within `limit`. What it finds later is dropped.
///
/// # Errors
/// [`StoreError::Hangs`]
pub fn within<T: Send + 'static>(
    limit: Duration,
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if hung().contains(path) {
        return Err(StoreError::Hangs(path.to_owned()));
    }
    let (found, seen) = mpsc::channel();
    let at = path.to_owned();
    thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || {
            let what = look();
            let mut hung = hung();
            hung.remove(&at);
            // nobody may be waiting any more; under the lock, so that who gives up knows
            let _ = found.send(what);
        })
        .map_err(io_error(path, "starting a thread to look at it"))?;
    match seen.recv_timeout(limit) {
        Ok(what) => Ok(what),
        Err(_) => {
            let mut hung = hung();
            if let Ok(what) = seen.try_recv() {
                return Ok(what);
            }
            hung.insert(path.to_owned());
            Err(StoreError::Hangs(path.to_owned()))
        }
    }
}

/// The path without links and dots, as far as it exists and answers.
pub fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let asked = path.clone();
    let found = within(LIMIT, &path, move || {
        asked.ancestors().find_map(|there| {
            let mut real = there.canonicalize().ok()?;
            real.extend(asked.strip_prefix(there).ok()?);
            Some(real)
        })
    });
    found.ok().flatten().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_is_left_alone_until_the_look_comes_back() {
        let place = Path::new("/a/place/that/hangs");
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let hangs = within(Duration::from_millis(1), place, move || {
            let _ended = ended;
            let _ = held.recv();
        });
        assert!(matches!(hangs, Err(StoreError::Hangs(_))));
        let again = within(LIMIT, place, || unreachable!("nobody looks a second time"));
        assert!(matches!(again, Err::<(), _>(StoreError::Hangs(_))));
        assert_eq!(within(LIMIT, Path::new("/another"), || 7).unwrap(), 7);
        drop(release);
        // the other end is dropped when the look is over
        assert!(end.recv().is_err());
        while hung().contains(place) {
            thread::yield_now();
        }
        assert_eq!(within(LIMIT, place, || 8).unwrap(), 8);
    }

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("disk")).unwrap();
        std::os::unix::fs::symlink(root.join("disk"), root.join("link")).unwrap();
        assert_eq!(real(&root.join("link/t0/x")), root.join("disk/t0/x"));
        assert_eq!(real(&root.join("disk/../link")), root.join("disk"));
    }
}
