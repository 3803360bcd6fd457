//! Files that must be there after a power cut: synced, and named only when complete.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An error with its place, which `io::Error` leaves out.
#[derive(Debug)]
struct AtPath {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

// without a source: the text says it already
impl std::error::Error for AtPath {}

/// Error text with the path.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| {
        let kind = error.kind();
        let path = path.to_owned();
        io::Error::new(kind, AtPath { path, error })
    }
}

/// What a person can do about an error of a disk, where that is known.
pub fn advice(error: &io::Error) -> Option<String> {
    let known = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<AtPath>());
    let place = known.map_or_else(String::new, |at| format!(" {}", at.path.display()));
    let number = known.map_or(error.raw_os_error(), |at| at.error.raw_os_error());
    Some(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room: `df -h{place}` shows how full it is")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the user {} must be allowed there: `namei -l{place}` shows owners and modes",
            rustix::process::geteuid().as_raw()
        ),
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "`findmnt -T{place}` shows the mount; disks with errors are made read-only, `dmesg` tells"
        ),
        io::ErrorKind::StaleNetworkFileHandle => {
            format!("the file server has forgotten it: mount it again (`findmnt -T{place}`)")
        }
        _ if number == Some(libc::EIO) => {
            "the disk or the network below fails: `dmesg` tells which".to_owned()
        }
        _ => return None,
    })
}

/// Whether there is something at that path. What cannot be looked at is an error: it may
/// well be there.
pub fn is_there(path: &Path) -> io::Result<bool> {
    path.try_exists().map_err(at(path))
}

/// Brings a file's data, or a directory's entries, to the disk. Some network file systems
/// have no such order for directories; they write entries by themselves.
pub fn sync(path: &Path) -> io::Result<()> {
    let file = File::open(path).map_err(at(path))?;
    match file.sync_all() {
        Err(error) if is_not_offered(&error) && file.metadata().map_err(at(path))?.is_dir() => {
            Ok(())
        }
        done => done.map_err(at(path)),
    }
}

/// The file system cannot do it, ever; other errors are of today.
fn is_not_offered(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOTSUP | libc::ENOSYS)
    )
}

/// Syncs the directory that `path` lies in.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// Syncs all regular files of a directory, then the directory. Not recursive.
pub fn sync_dir_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        if entry.file_type().map_err(at(dir))?.is_file() {
            sync(&entry.path())?;
        }
    }
    sync(dir)
}

/// Makes a directory and its parents, each of them synced into the one above, also those
/// that an earlier run made without getting to that.
pub fn make_dirs(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return match sync_parent(path) {
            // made by somebody else, who has seen to it
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            done => done,
        };
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dirs(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(path)(error)),
        _ => {}
    }
    sync_parent(path)
}

/// The same, with no more than the last `most` directories of the path being made. What lies
/// above them is a store, and where a store is missing its disk is not mounted: what was written
/// there would fill another disk.
pub fn make_last_dirs(path: &Path, most: usize) -> io::Result<()> {
    let above = path
        .ancestors()
        .nth(most)
        .filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above
        && !is_there(above)?
    {
        let why = format!("{} is not there; is its disk mounted?", above.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    make_dirs(path)
}

/// A new, empty file, in a directory that is made when it alone is missing. Whatever was there is
/// of an earlier try; a link is replaced, so that nothing is written through it.
pub fn create_anew(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        make_last_dirs(parent, 1)?;
    }
    remove_if_there(path)?;
    File::create_new(path).map_err(at(path))
}

/// Writes a small file so that it is either the old one or the new one, whole.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = sibling(path, "new")?;
    let mut file = File::create(&temporary).map_err(at(&temporary))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(at(&temporary))?;
    put(&temporary, path)
}

/// Names a finished, synced file or directory: rename, then sync the directory.
pub fn put(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path).map_err(at(path))?;
    sync_parent(path)
}

/// Removes a file or symbolic link if it is there (a link itself, never what it points to).
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// `dir/.name.suffix`, in the same directory and so on the same file system.
pub fn sibling(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} has no file name", path.display()),
        )
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    Ok(path.with_file_name(hidden))
}

/// An advisory lock on a directory or file that nobody else may work on meanwhile. The
/// kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct WorkLock {
    _file: File,
}

impl WorkLock {
    /// The lock, or none when somebody else holds it.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(at(path))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(at(path)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_replaces_the_old_one_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = write_whole(&dir.path().join("no/where"), b"").unwrap_err();
        assert!(error.to_string().contains("no/"), "{error}");
    }

    #[test]
    fn only_what_a_file_system_never_does_is_forgiven() {
        let error = io::Error::from_raw_os_error;
        for number in [libc::EINVAL, libc::ENOTSUP, libc::ENOSYS] {
            assert!(is_not_offered(&error(number)), "{number}");
        }
        for number in [libc::EIO, libc::EACCES, libc::ENOSPC, libc::EDQUOT] {
            assert!(!is_not_offered(&error(number)), "{number}");
        }
        // a pipe cannot be synced and is no directory
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .unwrap();
        assert!(sync(&pipe).is_err(), "{both:?}");
        sync(dir.path()).unwrap();
    }

    #[test]
    fn advice_names_the_place_and_the_user() {
        let advice = |number| {
            let error = io::Error::from_raw_os_error(number);
            advice(&at(Path::new("/stores/hdd-1"))(error)).unwrap_or_default()
        };
        assert!(advice(libc::ENOSPC).contains("`df -h /stores/hdd-1`"));
        assert!(advice(libc::EDQUOT).contains("`df -h /stores/hdd-1`"));
        let user = format!("the user {} ", rustix::process::geteuid().as_raw());
        let denied = advice(libc::EACCES);
        assert!(denied.contains(&user) && denied.contains("/stores/hdd-1"));
        assert!(advice(libc::EROFS).contains("/stores/hdd-1"));
        assert!(advice(libc::EIO).contains("dmesg"));
        assert_eq!(advice(libc::ENOENT), "");
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_there(&dir.path().join("no")).unwrap());
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(is_there(&dir.path().join("file/below")).is_err());
    }

    #[test]
    fn directories_are_made_with_their_parents_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/s-t01000-1");
        for _ in 0..2 {
            make_dirs(&path).unwrap();
            assert!(path.is_dir());
        }
        fs::write(path.join("file"), b"x").unwrap();
        let error = make_dirs(&path.join("file/below")).unwrap_err();
        assert!(error.to_string().contains("file/below"), "{error}");
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_not_filled_in_its_place() {
        let mount = tempfile::tempdir().unwrap();
        let data = mount.path().join("s1/data");
        let (staged, cache) = (
            data.join("unsealed/s-t01000-1"),
            data.join("cache/s-t01000-1"),
        );
        for error in [
            create_anew(&staged).unwrap_err(),
            make_last_dirs(&cache, 2).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(error.to_string().contains("mounted?"), "{error}");
        }
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
        make_dirs(&data).unwrap();
        for _ in 0..2 {
            create_anew(&staged).unwrap();
            make_last_dirs(&cache, 2).unwrap();
        }
        assert!(staged.is_file() && cache.is_dir());
        // a name alone lies where the process is
        make_last_dirs(Path::new("."), 2).unwrap();
    }

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = WorkLock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(WorkLock::try_take(&path).unwrap().is_none());
        drop(held);
        // a child that another test starts just now has it, too, until it is itself
        while WorkLock::try_take(&path).unwrap().is_none() {
            std::thread::yield_now();
        }
    }
}
