//! What is not ours, or not whole, is left as it is to the last byte; and nothing is made where
//! something should have been.

use damocles_kv::{ACCEPT_CUT, Durability, OpenError, Schema, Span, Store, StoreError, Table};
use rocksdb::{DB, Options};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const A: Table = Table("a");
const SCHEMA: Schema = Schema {
    owner: "house",
    tables: &[A],
    migrations: &[],
};

fn write(store: &Store, table: Table, key: &str, value: &[u8]) {
    let done: Result<(), StoreError> =
        store.transact(Durability::Synced, |t| t.overwrite(table, key, value));
    done.unwrap();
}

fn put(store: &Store, key: &str) {
    write(store, A, key, b"v");
}

/// Every file with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|e| e.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// The files of a running database, as they lie at the moment of a kill.
fn killed(running: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for (path, bytes) in files(running) {
        fs::write(image.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    image
}

fn only(dir: &Path, ending: &str) -> PathBuf {
    let all = files(dir).into_keys();
    let found: Vec<_> = all
        .filter(|p| p.extension().is_some_and(|e| e == ending))
        .filter(|p| fs::metadata(p).unwrap().len() > 0)
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

/// A database of another program, with a record in its log.
fn strangers(flushed: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    let db = DB::open(&options, dir.path()).unwrap();
    if flushed {
        db.put("early", "flushed").unwrap();
        db.flush().unwrap();
    }
    db.put("info", "the sector's document").unwrap();
    killed(dir.path())
}

#[test]
fn another_programs_database_is_refused_and_not_a_byte_of_it_changes() {
    for flushed in [false, true] {
        let dir = strangers(flushed);
        let before = files(dir.path());
        for opened in [
            Store::open(dir.path(), &SCHEMA),
            Store::open_existing(dir.path(), &SCHEMA),
        ] {
            let e = opened.unwrap_err();
            assert!(matches!(e, OpenError::Foreign { .. }), "{e}");
        }
        assert!(files(dir.path()) == before, "files have changed");
    }
}

/// As when it compresses in a way that this program has not.
#[test]
fn another_programs_database_is_foreign_also_when_it_cannot_be_read() {
    let dir = strangers(true);
    fs::write(only(dir.path(), "sst"), [7; 4096]).unwrap();
    let before = files(dir.path());
    let e = Store::open(dir.path(), &SCHEMA).unwrap_err();
    assert!(matches!(e, OpenError::Foreign { .. }), "{e}");
    assert!(files(dir.path()) == before, "files have changed");
}

#[test]
fn one_that_was_just_begun_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    drop(DB::open(&options, dir.path()).unwrap());
    let e = Store::open_existing(dir.path(), &SCHEMA).unwrap_err();
    assert!(matches!(e, OpenError::Missing { .. }), "{e}");
    put(&Store::open(dir.path(), &SCHEMA).unwrap(), "k");
    assert!(Store::open_existing(dir.path(), &SCHEMA).is_ok());
}

#[test]
fn where_a_database_was_none_is_made_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("not/mounted");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for place in [&gone, &empty] {
        let e = Store::open_existing(place, &SCHEMA).unwrap_err();
        assert!(matches!(e, OpenError::Missing { .. }), "{e}");
    }
    assert!(!gone.exists());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

/// A database with records of which the log alone knows.
fn with_a_log() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &SCHEMA).unwrap();
    for n in 0..200 {
        put(&store, &format!("{n:04}"));
    }
    killed(dir.path())
}

fn count(store: &Store) -> usize {
    let all: Result<Vec<_>, StoreError> = store.read(|t| t.scan(A, &Span::all(), usize::MAX));
    all.unwrap().len()
}

#[test]
fn a_rotten_byte_in_the_log_is_told_and_costs_nothing_until_a_person_agrees() {
    let dir = with_a_log();
    let log = only(dir.path(), "log");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();

    let e = Store::open(dir.path(), &SCHEMA).unwrap_err();
    assert!(matches!(e, OpenError::DamagedLog { .. }), "{e}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "the log is kept");

    let accept = dir.path().join(ACCEPT_CUT);
    assert!(e.to_string().contains(accept.to_str().unwrap()), "{e}");
    fs::write(&accept, "").unwrap();
    let store = Store::open(dir.path(), &SCHEMA).unwrap();
    let left = count(&store);
    assert!(left > 0 && left < 200, "{left}");
    assert!(!accept.exists(), "it is asked again the next time");
    assert_eq!(
        fs::read(log.with_extension("log-before-cut")).unwrap(),
        bytes
    );
    drop(store);
    let store = Store::open_existing(dir.path(), &SCHEMA).unwrap();
    assert_eq!(count(&store), left);
}

#[test]
fn a_last_record_that_a_kill_cut_short_is_no_damage() {
    let dir = with_a_log();
    let log = only(dir.path(), "log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(count(&Store::open(dir.path(), &SCHEMA).unwrap()), 199);
}

/// A log of which RocksDB wrote down that it is needed.
#[test]
fn a_log_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &SCHEMA).unwrap();
    // two tables fill at a different pace, so an older log stays needed
    put(&store, "kept in the first log");
    let large = vec![b'x'; 64 << 10];
    for n in 0..80 {
        write(&store, Table("meta"), &format!("filler {n}"), &large);
    }
    let image = killed(dir.path());
    drop(store);
    let mut logs: Vec<_> = files(image.path())
        .into_keys()
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() > 1, "{logs:?}");
    fs::remove_file(&logs[0]).unwrap();
    let e = Store::open(image.path(), &SCHEMA).unwrap_err();
    assert!(matches!(e, OpenError::DamagedLog { .. }), "{e}");
    fs::write(image.path().join(ACCEPT_CUT), "").unwrap();
    drop(Store::open(image.path(), &SCHEMA).unwrap());
    drop(Store::open_existing(image.path(), &SCHEMA).unwrap());
}
