//! Opening, closing and dying: what is on disk stays, and what is not ours is not touched.

use damocles_kv::{Batch, Durability, Kv, KvError, Migration, OpenError, Schema, Table};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
};

const A: Table = Table("a");
const B: Table = Table("b");
const ONE: Schema = Schema {
    owner: "house",
    tables: &[A],
    migrations: &[],
};

fn upper(kv: &Kv, batch: &mut Batch) -> Result<(), KvError> {
    for (key, value) in kv.scan(A, b"", usize::MAX)? {
        batch.put(B, key, value.to_ascii_uppercase());
    }
    Ok(())
}

const TWO: Schema = Schema {
    owner: "house",
    tables: &[A, B],
    migrations: &[Migration {
        what: "copies a to b in capitals",
        run: upper,
    }],
};

fn put(kv: &Kv, key: &str, value: &str) {
    let mut batch = Batch::new();
    batch.put(A, key, value);
    kv.write(batch, Durability::Synced).unwrap();
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("deep/er");
    put(&Kv::open(&home, &ONE).unwrap(), "k", "v");
    let kv = Kv::open(&home, &ONE).unwrap();
    assert_eq!(kv.get(A, b"k").unwrap().unwrap(), b"v");
}

/// The files as they lie at the moment of a kill: the process closes nothing.
#[test]
fn synced_writes_survive_without_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let kv = Kv::open(dir.path(), &ONE).unwrap();
    for n in 0..500 {
        put(&kv, &format!("{n:04}"), "v");
    }
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
    }
    let after = Kv::open(image.path(), &ONE).unwrap();
    assert_eq!(after.scan(A, b"", usize::MAX).unwrap().len(), 500);
}

#[test]
fn an_older_database_is_brought_up_to_date_once() {
    let dir = tempfile::tempdir().unwrap();
    put(&Kv::open(dir.path(), &ONE).unwrap(), "k", "v");
    let kv = Kv::open(dir.path(), &TWO).unwrap();
    assert_eq!(kv.get(B, b"k").unwrap().unwrap(), b"V");
    let mut batch = Batch::new();
    batch.delete(B, "k");
    kv.write(batch, Durability::Synced).unwrap();
    drop(kv);
    let kv = Kv::open(dir.path(), &TWO).unwrap();
    assert_eq!(kv.get(B, b"k").unwrap(), None, "it must not run again");
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    put(&Kv::open(dir.path(), &TWO).unwrap(), "k", "v");
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    assert!(
        matches!(
            e,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{e}"
    );
    let kv = Kv::open(dir.path(), &TWO).unwrap();
    assert_eq!(kv.get(A, b"k").unwrap().unwrap(), b"v");
}

#[test]
fn somebody_elses_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Kv::open(dir.path(), &ONE).unwrap());
    let other = Schema {
        owner: "neighbour",
        ..ONE
    };
    let e = Kv::open(dir.path(), &other).unwrap_err();
    assert!(e.to_string().contains("a database of house"), "{e}");
    assert!(matches!(e, OpenError::Foreign { .. }));
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Foreign { .. }), "{e}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn leavings_of_an_interrupted_creation_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["LOCK", "LOG", "MANIFEST-000001", "000001.dbtmp"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    put(&Kv::open(dir.path(), &ONE).unwrap(), "k", "v");
}

#[test]
fn a_log_without_its_database_is_no_leaving() {
    let dir = tempfile::tempdir().unwrap();
    put(&Kv::open(dir.path(), &ONE).unwrap(), "k", "v");
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Damaged { .. }), "{e}");
}

#[test]
fn a_damaged_database_says_so() {
    let dir = tempfile::tempdir().unwrap();
    put(&Kv::open(dir.path(), &ONE).unwrap(), "k", "v");
    fs::write(dir.path().join("CURRENT"), "MANIFEST-999999\n").unwrap();
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Damaged { .. }), "{e}");
}

#[test]
fn a_place_that_cannot_be_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.join("db"), file] {
        let e = Kv::open(&place, &ONE).unwrap_err();
        assert!(matches!(e, OpenError::Unwritable { .. }), "{e}");
    }
}

#[test]
fn a_second_opening_in_the_same_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Kv::open(dir.path(), &ONE).unwrap();
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    assert!(matches!(e, OpenError::Busy { .. }), "{e}");
    put(&kv, "k", "the first one goes on");
}

const HOLD: &str = "KV_TEST_HOLD";

/// Not a test of its own: run by the next one in a process of its own, it holds the database
/// that the environment names until its input ends.
#[test]
fn holder() {
    let Some(dir) = std::env::var_os(HOLD) else {
        return;
    };
    let _kv = Kv::open(Path::new(&dir), &ONE).unwrap();
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
    let e = Kv::open(dir.path(), &ONE).unwrap_err();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(matches!(e, OpenError::Busy { .. }), "{e}");
    assert!(Kv::open(dir.path(), &ONE).is_ok());
}
