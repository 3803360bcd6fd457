//! A daemon's home directory: made, marked as ours, and held by one process at a time.

use crate::{
    exit::{Exit, Fatal},
    file,
};
use fs4::FileExt;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// File that says which program a home belongs to.
const MARK: &str = "damocles-home";
/// File that the running daemon holds locked; its text is the process id.
const LOCK: &str = "daemon.lock";
/// What a Lotus or Venus repository has at its top, and no home of ours.
const FOREIGN: [&str; 3] = ["keystore", "datastore", "repo.lock"];

/// A locked home; the lock goes with the value (and with the process, however it ends).
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the directory if need be, checks that it is a home of `program`, and locks it.
    ///
    /// # Errors
    /// [`Exit::Refused`] not writable, [`Exit::Data`] another program's home,
    /// [`Exit::Occupied`] another process runs on it.
    pub fn acquire(path: &Path, program: &str) -> Result<Self, Fatal> {
        let unusable = |what: &str, error: io::Error| {
            Fatal::new(
                Exit::Refused,
                format!(
                    "the home {} cannot be used: {what}: {error}",
                    path.display()
                ),
            )
            .hint("let the daemon's user write there, or choose another directory with --home")
        };
        fs::create_dir_all(path).map_err(|e| unusable("making the directory", e))?;
        check_kind(path, program)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(|e| unusable("opening its lock file", e))?;
        match FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // an unreadable id only makes the sentence shorter
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    id => format!(" by process {id}"),
                };
                return Err(Fatal::new(
                    Exit::Occupied,
                    format!("the home {} is in use{holder}", path.display()),
                )
                .hint("stop that daemon first, or choose another directory with --home"));
            }
            Err(fs4::TryLockError::Error(e)) => return Err(unusable("locking it", e)),
        }
        let note = (|| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())?;
            lock.sync_all()
        })();
        note.map_err(|e| unusable("writing its lock file", e))?;
        let mark = path.join(MARK);
        if !mark.exists() {
            file::write_atomic(&mark, format!("{program}\n").as_bytes(), 0o644)
                .map_err(|e| unusable("marking it", e))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Refuses a directory that belongs to something else; a missing or unmarked one is fine.
pub fn check_kind(path: &Path, program: &str) -> Result<(), Fatal> {
    let hint = "choose another directory with --home; every daemon needs one of its own";
    match fs::read_to_string(path.join(MARK)) {
        Ok(owner) if owner.trim() == program => Ok(()),
        Ok(owner) => Err(Fatal::new(
            Exit::Data,
            format!("{} is the home of {}, not of {program}", path.display(), owner.trim()),
        )
        .hint(hint)),
        Err(_) => match FOREIGN.iter().find(|name| path.join(name).exists()) {
            Some(name) => Err(Fatal::new(
                Exit::Data,
                format!(
                    "{} is not a home of {program}: it holds {name:?}, as a Filecoin node's repository does",
                    path.display()
                ),
            )
            .hint(hint)),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_one_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/home");
        let held = Home::acquire(&path, "damocles-manager").unwrap();
        let second = Home::acquire(&path, "damocles-manager").unwrap_err();
        assert_eq!(second.exit, Exit::Occupied);
        assert!(
            second
                .message
                .contains(&format!("by process {}", std::process::id())),
            "{second}"
        );
        let foreign = Home::acquire(&path, "damocles-worker").unwrap_err();
        assert_eq!(foreign.exit, Exit::Data);
        assert!(
            foreign.message.contains("home of damocles-manager"),
            "{foreign}"
        );
        drop(held);
        Home::acquire(&path, "damocles-manager").unwrap();
    }

    #[test]
    fn a_nodes_repository_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keystore")).unwrap();
        let error = Home::acquire(dir.path(), "damocles-manager").unwrap_err();
        assert_eq!(error.exit, Exit::Data);
        assert!(!dir.path().join(LOCK).exists(), "nothing was written");
    }

    #[test]
    fn an_impossible_home_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Home::acquire(&file.join("home"), "damocles-manager").unwrap_err();
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.hint.is_some_and(|h| h.contains("--home")));
    }
}
