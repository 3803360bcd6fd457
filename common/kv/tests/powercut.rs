//! A host that loses power: what was written and not synced is gone, and so are names of files
//! whose directory was not synced. Nothing that was acknowledged may be among it.
//!
//! The writer runs in a process of its own, whose syncs go through this file: each is noted with
//! what it brought to the disk. The writer is killed, and the directory is made again from the
//! notes alone. The database appends to its files and overwrites nothing in them, so the length
//! at the last sync says what there is of each.

#![cfg(target_os = "linux")]
// syncs of the C++ below come in by name
#![allow(unsafe_code)]

use damocles_kv::{Durability, Record, Schema, Span, Store, StoreError, Table, Transaction};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    mem::ManuallyDrop,
    os::{
        fd::{FromRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

/// Where the notes are, for a process that is to take them.
const NOTES: &str = "KV_TEST_NOTES";
/// The writer's database.
const PLACE: &str = "KV_TEST_PLACE";

const RECORDS: Table = Table("records");
const SCHEMA: Schema = Schema {
    owner: "powercut",
    tables: &[RECORDS],
    migrations: &[],
};

/// In place of the C library's, for everything that is linked into this program.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: RawFd) -> libc::c_int {
    // SAFETY: the call takes any number and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_fdatasync, fd) };
    note(fd, done)
}

/// The same.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: RawFd) -> libc::c_int {
    // SAFETY: as above.
    let done = unsafe { libc::syscall(libc::SYS_fsync, fd) };
    note(fd, done)
}

fn note(fd: RawFd, done: libc::c_long) -> libc::c_int {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| std::env::var_os(NOTES).map(PathBuf::from));
    if let (Some(directory), 0) = (directory, done) {
        // SAFETY: the caller has it open during the call, and it is not closed here.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        take_down(directory, &file);
    }
    if done == 0 { 0 } else { -1 }
}

/// A line for a file's length, or for each name in a directory; the files themselves are kept by
/// a second link, as a disk would keep them until the directory is synced again.
fn take_down(notes: &Path, file: &File) {
    let about = file.metadata().unwrap();
    let mut lines = String::new();
    if about.is_dir() {
        let path = fs::read_link(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(file)
        ));
        lines += "directory\n";
        for entry in fs::read_dir(path.unwrap()).unwrap() {
            let entry = entry.unwrap();
            // what goes away meanwhile is not there
            let Ok(inode) = entry.metadata().map(|about| about.ino()) else {
                continue;
            };
            let linked = fs::hard_link(entry.path(), notes.join(inode.to_string()));
            let kept = linked.is_ok() || notes.join(inode.to_string()).exists();
            if kept {
                lines += &format!("name {inode} {}\n", entry.file_name().to_str().unwrap());
            }
        }
    } else {
        lines += &format!("file {} {}\n", about.ino(), about.len());
    }
    let mut log = OpenOptions::new();
    let log = log.append(true).create(true).open(notes.join("log"));
    log.unwrap().write_all(lines.as_bytes()).unwrap();
}

/// What a process that starts finds has survived.
fn all_is_there(notes: &Path, dir: &Path) {
    if dir.exists() {
        for entry in fs::read_dir(dir).unwrap() {
            take_down(notes, &File::open(entry.unwrap().path()).unwrap());
        }
        take_down(notes, &File::open(dir).unwrap());
    }
}

/// Makes the directory as it is found after the power cut.
fn after_the_cut(notes: &Path, to: &Path) {
    let (mut lengths, mut names) = (BTreeMap::new(), BTreeMap::new());
    for line in fs::read_to_string(notes.join("log")).unwrap().lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["directory"] => names.clear(),
            ["name", inode, name] => drop(names.insert(name.to_owned(), inode.to_owned())),
            ["file", inode, length] => {
                lengths.insert(inode.to_owned(), length.parse::<u64>().unwrap());
            }
            _ => panic!("{line:?}"),
        }
    }
    fs::create_dir(to).unwrap();
    for (name, inode) in names {
        fs::copy(notes.join(&inode), to.join(&name)).unwrap();
        let file = OpenOptions::new().write(true).open(to.join(&name)).unwrap();
        // what was never synced has a name at most
        let length = lengths.get(&inode).copied().unwrap_or(0);
        assert!(length <= file.metadata().unwrap().len(), "{name} was cut");
        file.set_len(length).unwrap();
    }
}

fn insert(t: &mut Transaction<'_>, key: &str) -> Result<(), StoreError> {
    // large enough for tables to be written out and merged meanwhile
    t.insert(RECORDS, key, vec![b'x'; 2000])
}

/// Not a test of its own: see [`a_power_cut_loses_nothing_that_was_acknowledged`].
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(PLACE) else {
        return;
    };
    let store = Store::open(Path::new(&dir), &SCHEMA).unwrap();
    let began = sure(&store, |t| t.scan(RECORDS, &Span::all(), usize::MAX)).len();
    let say = |key: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\ndone {key}").unwrap();
        out.flush().unwrap();
    };
    thread::scope(|scope| {
        for thread in 0..3 {
            let (store, say) = (&store, &say);
            scope.spawn(move || {
                for n in began.. {
                    let key = format!("{thread}.{n:06}");
                    if thread > 0 {
                        let done = store.transact(Durability::Synced, |t| insert(t, &key));
                        done.unwrap();
                        say(&key);
                        continue;
                    }
                    // what is in no hurry is there when somebody has acted upon it
                    let done = store.transact(Durability::Buffered, |t| insert(t, &key));
                    done.unwrap();
                    let seen = format!("seen {key}");
                    let done = store.transact(Durability::Synced, |t| {
                        assert!(t.get(RECORDS, key.as_bytes())?.exists());
                        insert(t, &seen)
                    });
                    done.unwrap();
                    say(&key);
                }
            });
        }
    });
}

fn sure<T>(store: &Store, body: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError>) -> T {
    store.read(body).unwrap()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process that is killed is the point"
)]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut dir = place.path().join("0");
    // the last ones begin with what is left of those before
    for (round, so_many) in [30, 300, 1000, 30, 300].into_iter().enumerate() {
        let notes = place.path().join(format!("notes {round}"));
        fs::create_dir(&notes).unwrap();
        all_is_there(&notes, &dir);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(PLACE, &dir)
            .env(NOTES, &notes)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let done = |line: String| line.strip_prefix("done ").map(str::to_owned);
        let found = lines.by_ref().map_while(Result::ok).filter_map(done);
        acknowledged.extend(found.take(so_many));
        child.kill().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(done));
        child.wait().unwrap();

        dir = place.path().join(format!("{}", round + 1));
        after_the_cut(&notes, &dir);
        let store = Store::open_existing(&dir, &SCHEMA).unwrap();
        let all = sure(&store, |t| t.scan(RECORDS, &Span::all(), usize::MAX));
        let key = |r: &Record| String::from_utf8(r.key().to_vec()).unwrap();
        let there: BTreeSet<String> = all.iter().map(key).collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        let unseen = |seen: &&String| {
            let before = seen.strip_prefix("seen ");
            before.is_some_and(|before| !there.contains(before))
        };
        assert_eq!(there.iter().find(unseen), None, "round {round}");
    }
}
