//! Who changed what, and when: a file in the home with a line (JSON) for every call that may
//! change something. It is turned over when it is full, and of the full ones only the newest stay,
//! so that it has an end. A thread of its own writes: nobody who calls waits for the disk.

use crate::{
    exit::{Exit, Fatal},
    seldom::Seldom,
};
use damocles_types::shown;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

/// The newest file's name in the home; older ones end in `.1` (the youngest of them) and so on.
pub const AUDIT_FILE: &str = "audit.log";
/// A file is turned over before it is longer, in bytes.
const LARGEST: u64 = 8 << 20;
/// So many files that are full are kept.
const KEPT: usize = 7;
/// Lines that wait for the disk; more than these are lost, and counted.
const WAITING: usize = 4096;
/// Characters of a text that a caller made up.
const TEXT: usize = 200;

/// A call that may have changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub time: String,
    pub method: String,
    /// The caller's address, without its port.
    pub address: String,
    /// The id of its token; None: it needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The worker for which it speaks, if it says so, or its token does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The sector that it is about, as `s-t01000-7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sector: Option<String>,
    /// What it is about otherwise, if that has a name: a message, a store, a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The code of the error that it was answered; None: it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<i32>,
    /// That error's sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    /// Without what would make a line longer than it need be.
    fn bounded(mut self) -> Self {
        let texts = [
            &mut self.token,
            &mut self.worker,
            &mut self.subject,
            &mut self.reason,
        ];
        for text in texts.into_iter().flatten() {
            *text = shown(text, TEXT).into_owned();
        }
        self
    }
}

/// Adds a line to the log of that home, for a command that does something in the daemon's place.
/// Where there is no log yet none is begun.
///
/// # Errors
/// [`Exit::Refused`] when it cannot be written.
pub fn append(home: &Path, entry: Entry) -> Result<(), Fatal> {
    let path = home.join(AUDIT_FILE);
    let written = serde_json::to_vec(&entry.bounded())
        .map_err(io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            OpenOptions::new()
                .append(true)
                .open(&path)?
                .write_all(&line)
        });
    match written {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(&path, &e)),
        _ => Ok(()),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Fatal {
    let path = path.display();
    let what = format!("the audit log {path} cannot be written: {error}");
    Fatal::new(Exit::Refused, what)
}

enum Job {
    Line(Box<Entry>),
    Flush(SyncSender<()>),
}

/// The log of a daemon; clones write the same file.
#[derive(Clone, Debug)]
pub struct Audit(SyncSender<Job>);

impl Audit {
    /// Begins to write in that home.
    ///
    /// # Errors
    /// [`Exit::Refused`] when the file cannot be opened.
    pub fn open(home: &Path) -> Result<Self, Fatal> {
        Self::within(home, LARGEST)
    }

    fn within(home: &Path, largest: u64) -> Result<Self, Fatal> {
        let path = home.join(AUDIT_FILE);
        let refused =
            |e: io::Error| unwritable(&path, &e).hint("let the daemon's user write there");
        let book = Book::open(path.clone(), largest).map_err(refused)?;
        let (send, receive) = sync_channel(WAITING);
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || keep(book, &receive))
            .map_err(refused)?;
        Ok(Self(send))
    }

    /// Notes a call.
    pub fn note(&self, entry: Entry) {
        static LOST: Seldom = Seldom::new(Duration::from_secs(60));
        let full = match self.0.try_send(Job::Line(Box::new(entry.bounded()))) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "the disk is too slow",
            Err(TrySendError::Disconnected(_)) => "its thread has ended",
        };
        if let Some(more) = LOST.now() {
            tracing::error!(more, "a line of the audit log is lost: {full}");
        }
    }

    /// Waits until all that was noted is written, for a while.
    pub fn flush(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let (done, written) = sync_channel(1);
        if self.0.send(Job::Flush(done)).is_ok() {
            // a disk that hangs at the end has its line in the log already
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

fn keep(mut book: Book, jobs: &Receiver<Job>) {
    static FAILED: Seldom = Seldom::new(Duration::from_secs(60));
    for job in jobs {
        let written = match job {
            Job::Line(entry) => serde_json::to_vec(&entry)
                .map_err(Into::into)
                .and_then(|line| book.write(line)),
            Job::Flush(done) => {
                let synced = book.file.sync_data();
                // who asked may have gone
                let _ = done.send(());
                synced
            }
        };
        if let Err(error) = written
            && let Some(more) = FAILED.now()
        {
            tracing::error!(more, file = %book.path.display(), "a line of the audit log is lost: {error}");
        }
    }
}

/// The file that is written now.
struct Book {
    path: PathBuf,
    file: File,
    bytes: u64,
    largest: u64,
}

impl Book {
    fn open(path: PathBuf, largest: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            // the line that a power cut tore must not swallow the next one
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self {
            path,
            file,
            bytes,
            largest,
        })
    }

    fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        let more = line.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.largest {
            self.turn()?;
        }
        self.bytes += more;
        self.file.write_all(&line)
    }

    fn turn(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for n in (1..=KEPT).rev() {
            let from = numbered(&self.path, n - 1);
            match fs::rename(&from, numbered(&self.path, n)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        *self = Self::open(self.path.clone(), self.largest)?;
        Ok(())
    }
}

/// The file that was turned over so many times ago.
fn numbered(path: &Path, n: usize) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The newest `count` entries of the log in that home, oldest first. A line that was torn is left
/// out.
///
/// # Errors
/// [`Exit::NotFound`] no log, [`Exit::Refused`] it cannot be read.
pub fn newest(home: &Path, count: usize) -> Result<Vec<Entry>, Fatal> {
    let path = home.join(AUDIT_FILE);
    let mut found: Vec<Entry> = Vec::new();
    for n in 0..=KEPT {
        if found.len() >= count {
            break;
        }
        let text = match fs::read_to_string(numbered(&path, n)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && n > 0 => break,
            Err(e) => {
                let exit = match e.kind() {
                    io::ErrorKind::NotFound => Exit::NotFound,
                    _ => Exit::Refused,
                };
                let what = format!("cannot read the audit log {}: {e}", path.display());
                return Err(Fatal::new(exit, what)
                    .hint("run this as the daemon's user, on its host, with its home"));
            }
        };
        let lines = text.lines().rev();
        let entries = lines.filter_map(|line| serde_json::from_str(line).ok());
        found.extend(entries.take(count - found.len()));
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize) -> Entry {
        Entry {
            method: n.to_string(),
            worker: Some("w".repeat(1000)),
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_entries_are_kept_and_the_files_have_an_end() {
        let home = tempfile::tempdir().unwrap();
        let audit = Audit::within(home.path(), 1000).unwrap();
        for n in 0..100 {
            audit.note(entry(n));
        }
        audit.flush();
        let newest = newest(home.path(), 10).unwrap();
        let methods: Vec<&str> = newest.iter().map(|e| e.method.as_str()).collect();
        assert_eq!(methods[0], "90");
        assert_eq!(methods[9], "99");
        assert!(newest[0].worker.as_ref().unwrap().len() < 2 * TEXT);
        let files: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(files.len(), KEPT + 1);
        for file in files {
            assert!(file.unwrap().metadata().unwrap().len() <= 1000);
        }
    }

    #[test]
    fn a_torn_line_swallows_no_other() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(AUDIT_FILE), "{\"Method\":\"to").unwrap();
        let audit = Audit::open(home.path()).unwrap();
        audit.note(entry(1));
        audit.flush();
        append(home.path(), entry(2)).unwrap();
        audit.note(entry(3));
        audit.flush();
        let found = newest(home.path(), 10).unwrap();
        assert_eq!(found, [1, 2, 3].map(|n| entry(n).bounded()));
        let empty = tempfile::tempdir().unwrap();
        append(empty.path(), entry(1)).unwrap();
        assert_eq!(newest(empty.path(), 1).unwrap_err().exit, Exit::NotFound);
    }
}
