//! Answers that are none, kept for whoever wants to know what a program said: each goes into a file
//! of its own, named as upstream names them. Off until somebody names a directory.

use parking_lot::Mutex;
use std::{
    fs::OpenOptions,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The beginning of every file's name.
const PREFIX: &str = "ext-processor-err-resp";
/// So many files in a directory; a program that says nothing else fills no disk.
const MOST: usize = 100;
/// So many bytes of one answer.
const LONGEST: usize = 64 << 20;

/// Where the bad answers of one child go; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Dump(Arc<Mutex<Option<PathBuf>>>);

impl Dump {
    /// None: they are kept no more.
    pub fn set(&self, dir: Option<PathBuf>) {
        *self.0.lock() = dir;
    }

    pub fn dir(&self) -> Option<PathBuf> {
        self.0.lock().clone()
    }

    /// Keeps an answer of that process, if that is wanted; a failure is only told of. The file.
    pub(super) fn keep(&self, child: &str, pid: u32, said: &[u8]) -> Option<PathBuf> {
        let dir = self.dir()?;
        match write(&dir, pid, &said[..said.len().min(LONGEST)]) {
            Ok(Some(file)) => {
                tracing::warn!(child, pid, "its bad answer is kept in {}", file.display());
                Some(file)
            }
            Ok(None) => {
                let dir = dir.display();
                tracing::warn!(
                    child,
                    "its bad answer is not kept: {dir} has {MOST} of them already"
                );
                None
            }
            Err(error) => {
                let dir = dir.display();
                tracing::warn!(child, "its bad answer cannot be kept in {dir}: {error}");
                None
            }
        }
    }
}

/// None: the directory has enough of them.
fn write(dir: &Path, pid: u32, said: &[u8]) -> io::Result<Option<PathBuf>> {
    let ours = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with(PREFIX))
    };
    if dir.read_dir()?.map(ours).filter(|ours| *ours).count() >= MOST {
        return Ok(None);
    }
    // a hasher with fresh keys is the house's dice where nothing secret is at stake
    let dice = || RandomState::new().hash_one(pid);
    let name = format!("{PREFIX}-{pid}-{:016x}{:016x}.json", dice(), dice());
    let file = dir.join(name);
    // never over something that is there
    let mut open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)?;
    open.write_all(said)?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_kept_before_somebody_wants_it_and_never_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let dump = Dump::default();
        assert_eq!(dump.keep("pc1-0", 7, b"{"), None);
        dump.set(Some(dir.path().to_owned()));
        let kept = dump.clone().keep("pc1-0", 7, b"{x").unwrap();
        let name = kept.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("ext-processor-err-resp-7-") && name.ends_with(".json"),
            "{name}"
        );
        assert_eq!(fs::read(&kept).unwrap(), b"{x");
        for _ in 1..MOST {
            dump.keep("pc1-0", 7, b"{").unwrap();
        }
        assert_eq!(dump.keep("pc1-0", 7, b"{"), None, "enough");
        assert_eq!(dir.path().read_dir().unwrap().count(), MOST);
        dump.set(Some(dir.path().join("gone")));
        assert_eq!(dump.keep("pc1-0", 7, b"{"), None, "told of, and no more");
        dump.set(None);
        assert_eq!(dump.dir(), None);
    }
}
