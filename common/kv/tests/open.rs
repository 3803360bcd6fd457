//! Opening, closing and dying: what is on disk stays, and what is not ours is not touched.

use damocles_kv::{Durability, OpenError, Record, Schema, Span, Store, StoreError, Table};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
};

const A: Table = Table("a");
const ONE: Schema = Schema {
    owner: "house",
    tables: &[A],
    migrations: &[],
};

fn put(store: &Store, key: &str, value: &str) {
    let done: Result<(), StoreError> =
        store.transact(Durability::Synced, |t| t.overwrite(A, key, value));
    done.unwrap();
}

fn get(store: &Store, key: &str) -> Record {
    let found: Result<Record, StoreError> = store.read(|t| t.get(A, key.as_bytes()));
    found.unwrap()
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("deep/er");
    put(&Store::open(&home, &ONE).unwrap(), "k", "v");
    let store = Store::open(&home, &ONE).unwrap();
    assert_eq!(get(&store, "k").bytes(), Some(&b"v"[..]));
}

/// The files as they lie at the moment of a kill: the process closes nothing.
#[test]
fn synced_writes_survive_without_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &ONE).unwrap();
    for n in 0..500 {
        put(&store, &format!("{n:04}"), "v");
    }
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
    }
    let after = Store::open(image.path(), &ONE).unwrap();
    let all: Result<Vec<Record>, StoreError> = after.read(|t| t.scan(A, &Span::all(), usize::MAX));
    assert_eq!(all.unwrap().len(), 500);
}

/// Programs of before wrote values without a version beside them. They can read the stamp of a
/// database of today, and so find it newer and not damaged.
#[test]
fn records_of_before_the_versions_are_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let id = Store::open(dir.path(), &ONE).unwrap().id();
    {
        let options = rocksdb::Options::default();
        let tables = rocksdb::DB::list_cf(&options, dir.path()).unwrap();
        let db = rocksdb::DB::open_cf(&options, dir.path(), tables).unwrap();
        let [meta, a] = ["meta", "a"].map(|name| db.cf_handle(name).unwrap());
        let stamp = db.get_cf(meta, "schema").unwrap().unwrap();
        let stamp: serde_json::Value = serde_json::from_slice(&stamp).unwrap();
        assert_eq!(
            (&stamp["owner"], &stamp["version"]),
            (&"house".into(), &1.into())
        );
        db.put_cf(a, "k", "{}").unwrap();
        db.put_cf(a, "other", "text").unwrap();
    }
    let store = Store::open_existing(dir.path(), &ONE).unwrap();
    assert_eq!(store.id(), id);
    let (seen, other) = (get(&store, "k"), get(&store, "other"));
    assert_eq!(seen.bytes(), Some(&b"{}"[..]));
    assert_eq!(other.bytes(), Some(&b"text"[..]));
    let write = |value: &str| -> Result<(), StoreError> {
        store.transact(Durability::Synced, |t| t.put(&seen, value))
    };
    write("1").unwrap();
    assert_eq!(get(&store, "k").bytes(), Some(&b"1"[..]));
    // the same bytes as before, and another version
    put(&store, "k", "{}");
    assert!(matches!(write("2"), Err(StoreError::Changed { .. })));
    assert_eq!(get(&store, "other").version(), other.version());
}

#[test]
fn somebody_elses_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), &ONE).unwrap());
    let other = Schema {
        owner: "neighbour",
        ..ONE
    };
    let e = Store::open(dir.path(), &other).unwrap_err();
    assert!(e.to_string().contains("a database of house"), "{e}");
    assert!(matches!(e, OpenError::Foreign { .. }));
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let e = Store::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Foreign { .. }), "{e}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn leavings_of_an_interrupted_creation_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["LOCK", "LOG", "MANIFEST-000001", "000001.dbtmp"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    put(&Store::open(dir.path(), &ONE).unwrap(), "k", "v");
}

#[test]
fn a_log_without_its_database_is_no_leaving() {
    let dir = tempfile::tempdir().unwrap();
    put(&Store::open(dir.path(), &ONE).unwrap(), "k", "v");
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let e = Store::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Damaged { .. }), "{e}");
}

#[test]
fn a_damaged_database_says_so() {
    let dir = tempfile::tempdir().unwrap();
    put(&Store::open(dir.path(), &ONE).unwrap(), "k", "v");
    fs::write(dir.path().join("CURRENT"), "MANIFEST-999999\n").unwrap();
    let e = Store::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Damaged { .. }), "{e}");
}

#[test]
fn a_place_that_cannot_be_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.join("db"), file] {
        let e = Store::open(&place, &ONE).unwrap_err();
        assert!(matches!(e, OpenError::Unwritable { .. }), "{e}");
    }
}

#[test]
fn a_second_opening_in_the_same_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &ONE).unwrap();
    let e = Store::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Busy { .. }), "{e}");
    put(&store, "k", "the first one goes on");
}

const HOLD: &str = "KV_TEST_HOLD";

/// Not a test of its own: run by the next one in a process of its own, it holds the database
/// that the environment names until its input ends.
#[test]
fn holder() {
    let Some(dir) = std::env::var_os(HOLD) else {
        return;
    };
    let _store = Store::open(Path::new(&dir), &ONE).unwrap();
    println!("\nheld");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a second process is the point")]
fn a_database_that_another_process_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // kept to the end: the child goes on printing
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|l| l == "held"));
    let e = Store::open(dir.path(), &ONE).unwrap_err();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(matches!(e, OpenError::Busy { .. }), "{e}");
    assert!(Store::open(dir.path(), &ONE).is_ok());
}
