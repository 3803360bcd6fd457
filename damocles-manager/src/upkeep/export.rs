//! An exported database as a file: whole, or not there.

use super::House;
use crate::db::export::{ExportError, Exported, Sink};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_types::chain;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

impl House {
    /// Exports into a file, which is replaced at the end, or to standard output. `progress` hears
    /// how many records there are so far.
    ///
    /// # Errors
    /// A [`Fatal`] that says what to do.
    pub fn export(
        &self,
        out: Option<&Path>,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Exported> {
        let (_home, db) = self.existing()?;
        match out {
            Some(path) => {
                let mut file = Written::beside(path).map_err(|e| unwritable(path, &e))?;
                let done = db.export(&mut Told(&mut file, progress));
                let done = done.and_then(|done| Ok(file.finish(path).map(|()| done)?));
                if done.is_err() {
                    // best effort: the error that matters is the first one
                    let _ = fs::remove_file(&file.path);
                }
                Ok(done.map_err(|e| failed(e, &path.display().to_string()))?)
            }
            None => {
                let mut pipe = Piped {
                    out: BufWriter::new(io::stdout()),
                    begun: false,
                };
                let done = db.export(&mut Told(&mut pipe, progress));
                let done = done.and_then(|done| Ok(pipe.out.flush().map(|()| done)?));
                Ok(done.map_err(|e| failed(e, "standard output"))?)
            }
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Fatal {
    Fatal::new(
        Exit::Refused,
        format!("{} cannot be written: {error}", path.display()),
    )
    .hint("see that its directory is there, has room, and lets this user write")
}

fn failed(error: ExportError, place: &str) -> Fatal {
    match error {
        ExportError::Io(e) => unwritable(Path::new(place), &e),
        ExportError::BetweenVersions => {
            Fatal::new(Exit::Data, "the database is on its way to another version")
                .hint("start the manager once, which brings it there, and export it then")
        }
        ExportError::Db(e) if e.is_wait() => {
            Fatal::new(Exit::Database, chain(&e)).hint("try again in a moment")
        }
        ExportError::Db(e) => Fatal::new(Exit::Data, chain(&e))
            .hint("`damocles-manager db check` says what is damaged"),
    }
}

/// Lines that somebody can write, begun anew or not.
trait Lines {
    fn begin(&mut self) -> io::Result<()>;
    fn line(&mut self, line: &[u8]) -> io::Result<()>;
}

struct Told<'a, L>(&'a mut L, &'a mut dyn FnMut(u64));

impl<L: Lines> Sink for Told<'_, L> {
    fn begin(&mut self) -> io::Result<()> {
        self.0.begin()
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.line(line)
    }

    fn progress(&mut self, records: u64) {
        (self.1)(records);
    }
}

/// A file beside the one that it will be.
struct Written {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Written {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
        let name = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
        let path = path.with_file_name(name);
        // what is in it is the owner's alone, as the database is
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let file = BufWriter::new(file);
        Ok(Self { path, file })
    }

    fn finish(&mut self, path: &Path) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.path, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Lines for Written {
    fn begin(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        self.file.get_ref().set_len(0)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)
    }
}

/// What has left cannot be taken back.
struct Piped {
    out: BufWriter<io::Stdout>,
    begun: bool,
}

impl Lines for Piped {
    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Err(io::Error::other(
                "others wrote meanwhile, and it would have to begin anew; name a file with --out",
            ));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(line)
    }
}
