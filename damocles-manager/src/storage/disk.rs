//! One store's directory, and the only place of this room that touches a file system.
//!
//! A network mount may hang for hours. Every call therefore runs on a thread of its own and is
//! given up after a time-out; the thread keeps one of the store's few places until the kernel
//! lets it go, and until then further calls fail at once. So a hung store costs a bounded
//! number of threads, and delays nobody but the first who asked.

use crate::storage::layout::Needed;
use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};

/// Calls into one store that may be under way at once.
const PLACES: usize = 16;

/// A file system's kind and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The number by which the kernel knows it.
    pub kind: u32,
    pub total: u64,
    pub used: u64,
    /// What an ordinary user may still write.
    pub free: u64,
}

impl Space {
    /// Size of the file system that a directory lies on.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statfs(root)?;
        let block = u64::try_from(stat.f_bsize).unwrap_or(0);
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Ok(Self {
            // the magic numbers have 32 bits
            kind: stat.f_type as u32,
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            free: bytes(stat.f_bavail),
        })
    }

    /// The kind as `util storage list` shows it (numbers: statfs(2)).
    pub(super) fn kind_name(&self) -> String {
        let name = match self.kind {
            0xef53 => "ext2/ext3",
            0x5846_5342 => "xfs",
            0x6969 => "nfs",
            0x9123_683e => "btrfs",
            0x2fc1_2fc1 => "zfs",
            0x0102_1994 => "tmpfs",
            0x794c_7630 => "overlayfs",
            0xff53_4d42 | 0xfe53_4d42 => "cifs",
            0x00c3_6400 => "ceph",
            0x6573_5546 => "fuse",
            0x0bd0_0bd0 => "lustre",
            0xf2f5_2010 => "f2fs",
            other => return format!("unknown({other:#x})"),
        };
        name.to_owned()
    }
}

/// A store that could not be looked at. Says nothing about the files in it.
#[derive(Debug, thiserror::Error)]
#[error("store {store} at {path} cannot be used: {why}")]
pub struct Unreachable {
    pub store: String,
    pub path: PathBuf,
    pub why: String,
}

/// What is wrong with one file of a sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Relative to the store.
    pub path: PathBuf,
    pub what: FlawKind,
}

/// How a file differs from what proving needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlawKind {
    Missing,
    Empty,
    /// Bytes: as it is, as it should be.
    Length(u64, u64),
    NotAFile,
    /// A symbolic link in a store that is strict.
    Link,
    /// It leads out of the store.
    Escapes,
    /// The file system refused, e.g. permission or an I/O error. Says nothing about the file.
    Unreadable(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            FlawKind::Missing => write!(f, "{path} is missing"),
            FlawKind::Empty => write!(f, "{path} is empty"),
            FlawKind::Length(is, should) => {
                write!(f, "{path} has {is} bytes instead of {should}")
            }
            FlawKind::NotAFile => write!(f, "{path} is not a regular file"),
            FlawKind::Link => write!(f, "{path} is a symbolic link, and the store is strict"),
            FlawKind::Escapes => write!(f, "{path} leads out of the store"),
            FlawKind::Unreadable(why) => write!(f, "{path} cannot be read: {why}"),
        }
    }
}

/// What is thought of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// No file may be one, and none of the directories may lead out.
    Forbidden,
    /// They may lead to another place of the same store.
    Inside,
    /// Old stores may be full of them.
    Anywhere,
}

/// Marks and the like are a line or two.
const SMALL: u64 = 64 << 10;

/// Reads a small file; none: there is none.
pub(super) fn read_small(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut text = String::new();
    file.take(SMALL).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A store's directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    store: String,
    root: Arc<PathBuf>,
    places: Arc<Semaphore>,
    /// Calls that were given up and have not come back.
    overdue: Arc<AtomicUsize>,
}

// What a call and its caller tell each other.
const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Disk {
    pub(super) fn new(store: String, root: PathBuf) -> Self {
        Self {
            store,
            root: Arc::new(root),
            places: Arc::new(Semaphore::new(PLACES)),
            overdue: Arc::default(),
        }
    }

    /// Waits until no call is under way, not even one that was given up.
    #[cfg(test)]
    pub(super) async fn all_back(&self) {
        let all = self.places.acquire_many(PLACES as u32).await;
        drop(all.unwrap());
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn unreachable(&self, why: impl fmt::Display) -> Unreachable {
        self.unusable(format_args!("{why}; check that it is mounted and answers"))
    }

    /// The store as it is for a reason of another kind.
    pub(super) fn unusable(&self, why: impl fmt::Display) -> Unreachable {
        Unreachable {
            store: self.store.clone(),
            path: self.root.to_path_buf(),
            why: why.to_string(),
        }
    }

    /// Runs `f` on a thread of its own, for at most `limit` (waiting for a place included).
    /// Fails at once while an earlier call hangs.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        f: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Unreachable> {
        if self.overdue.load(Ordering::Acquire) > 0 {
            return Err(self.unreachable("an earlier call has not come back"));
        }
        let stage = Arc::new(AtomicU8::new(ENDED));
        let work = self.start(stage.clone(), f);
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.unreachable(e)),
            Err(_) => {
                let began =
                    stage.compare_exchange(RUNNING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                if began.is_ok() {
                    self.overdue.fetch_add(1, Ordering::AcqRel);
                }
                Err(self.unreachable(format_args!("no answer within {limit:?}")))
            }
        }
    }

    async fn start<T: Send + 'static>(
        &self,
        stage: Arc<AtomicU8>,
        f: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        let (root, overdue) = (self.root.clone(), self.overdue.clone());
        stage.store(RUNNING, Ordering::Release);
        std::thread::Builder::new()
            .name("store-io".to_owned())
            .spawn(move || {
                let result = f(&root);
                if stage.swap(ENDED, Ordering::AcqRel) == GIVEN_UP {
                    overdue.fetch_sub(1, Ordering::AcqRel);
                }
                drop(place);
                // nobody listens any more when the time was up
                let _ = tell.send(result);
            })?;
        told.await
            .map_err(|_| io::Error::other("the reading thread ended early"))?
    }

    /// Looks at the files and tells what is wrong with them; nothing: all is well.
    pub(super) async fn inspect(
        &self,
        files: Vec<Needed>,
        links: Links,
        limit: Duration,
    ) -> Result<Vec<Flaw>, Unreachable> {
        self.call(limit, move |root| {
            // A store whose root is gone is a missing mount, not a missing sector.
            let home = root.canonicalize()?;
            let flaw = |file: Needed| {
                look(root, &home, &file, links).map(|what| Flaw {
                    path: file.path,
                    what,
                })
            };
            Ok(files.into_iter().filter_map(flaw).collect())
        })
        .await
    }
}

fn look(root: &Path, home: &Path, file: &Needed, links: Links) -> Option<FlawKind> {
    let path = root.join(&file.path);
    let refused = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FlawKind::Missing,
        _ => FlawKind::Unreadable(e.to_string()),
    };
    if links == Links::Forbidden {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => return Some(FlawKind::Link),
            Ok(_) => {}
            Err(e) => return Some(refused(e)),
        }
    }
    if links != Links::Anywhere {
        match path.canonicalize() {
            // compares whole components: `/data/store1x` is not inside `/data/store1`
            Ok(real) if real.starts_with(home) => {}
            Ok(_) => return Some(FlawKind::Escapes),
            Err(e) => return Some(refused(e)),
        }
    }
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(e) => return Some(refused(e)),
    };
    if !meta.is_file() {
        return Some(FlawKind::NotAFile);
    }
    match (meta.len(), file.len) {
        (is, Some(should)) if is != should => Some(FlawKind::Length(is, should)),
        (0, _) => Some(FlawKind::Empty),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const LONG: Duration = Duration::from_secs(60);

    fn disk(root: &Path) -> Disk {
        Disk::new("s1".into(), root.to_owned())
    }

    fn file(path: &str, len: Option<u64>) -> Needed {
        Needed {
            path: path.into(),
            len,
        }
    }

    #[tokio::test]
    async fn every_flaw_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store1");
        let beside = dir.path().join("store1x");
        for d in [&root, &beside] {
            fs::create_dir_all(d).unwrap();
        }
        fs::write(root.join("whole"), [1; 8]).unwrap();
        fs::write(root.join("empty"), []).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(beside.join("out"), [1; 8]).unwrap();
        symlink(beside.join("out"), root.join("leaving")).unwrap();
        symlink("whole", root.join("inner")).unwrap();
        symlink(&beside, root.join("leaving-dir")).unwrap();

        let inspect = |name: &str, len, links| {
            let files = vec![file(name, len)];
            let disk = disk(&root);
            async move {
                let flaws = disk.inspect(files, links, LONG).await.unwrap();
                flaws.into_iter().next().map(|f| f.what)
            }
        };
        for links in [Links::Forbidden, Links::Inside, Links::Anywhere] {
            assert_eq!(inspect("whole", Some(8), links).await, None);
            assert_eq!(inspect("whole", None, links).await, None);
            assert_eq!(
                inspect("whole", Some(9), links).await,
                Some(FlawKind::Length(8, 9))
            );
            assert_eq!(inspect("empty", None, links).await, Some(FlawKind::Empty));
            assert_eq!(inspect("dir", None, links).await, Some(FlawKind::NotAFile));
            assert_eq!(inspect("no", None, links).await, Some(FlawKind::Missing));
            assert_eq!(
                inspect("whole/below", None, links).await,
                Some(FlawKind::Missing)
            );
        }
        for (name, strict, inside) in [
            ("leaving", FlawKind::Link, Some(FlawKind::Escapes)),
            ("inner", FlawKind::Link, None),
            (
                "leaving-dir/out",
                FlawKind::Escapes,
                Some(FlawKind::Escapes),
            ),
        ] {
            assert_eq!(
                inspect(name, None, Links::Forbidden).await,
                Some(strict),
                "{name}"
            );
            assert_eq!(inspect(name, None, Links::Inside).await, inside, "{name}");
            assert_eq!(inspect(name, None, Links::Anywhere).await, None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_missing_root_is_a_store_out_of_reach_not_a_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(&dir.path().join("not-mounted"));
        let error = disk
            .inspect(vec![file("sealed/x", None)], Links::Inside, LONG)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("s1"), "{error}");
        assert!(disk.call(LONG, Space::of).await.is_err());
    }

    #[tokio::test]
    async fn space_is_that_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let space = disk(dir.path()).call(LONG, Space::of).await.unwrap();
        assert!(space.total >= space.free && space.total >= space.used);
        assert!(space.total > 0);
    }

    #[tokio::test]
    async fn a_hung_store_gives_up_and_holds_back_only_its_own_callers() {
        let dir = tempfile::tempdir().unwrap();
        let hung = Disk::new("hung".into(), dir.path().to_owned());
        let short = Duration::from_millis(20);
        // More callers at once than places, and none of the calls ends by itself.
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let calls = (0..PLACES + 2).map(|_| {
            let wait = wait.clone();
            hung.call(short, move |_| {
                let _ = wait.lock().map(|w| w.recv());
                Ok(())
            })
        });
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            assert!(error.why.contains("no answer"), "{error}");
        }
        let error = hung.call(LONG, Space::of).await.unwrap_err();
        assert!(error.why.contains("earlier call"), "{error}");
        assert!(disk(dir.path()).call(LONG, Space::of).await.is_ok());
        // The mount comes back, and so does the store.
        drop(release);
        hung.all_back().await;
        assert!(hung.call(LONG, Space::of).await.is_ok());
        assert_eq!(hung.overdue.load(Ordering::Acquire), 0);
    }
}
