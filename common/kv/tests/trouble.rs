//! A database whose disk fails: what was acknowledged stays, the trouble is told, and it goes
//! on when the disk does.

use damocles_kv::{Batch, Durability, Kv, KvError, Schema, Table};
use std::fs;

const A: Table = Table("a");
const SCHEMA: Schema = Schema {
    owner: "house",
    tables: &[A],
    migrations: &[],
};
const LARGE: usize = 64 << 10;

fn put(kv: &Kv, n: u32) -> Result<(), KvError> {
    let mut batch = Batch::new();
    batch.put(A, n.to_be_bytes(), vec![0; LARGE]);
    kv.write(batch, Durability::Synced)
}

/// The directory is away, as a disk may be: RocksDB needs a new log file after some MiB, does
/// not get it, and by itself would never write again.
#[test]
fn a_database_that_could_not_write_goes_on_when_the_disk_does() {
    let place = tempfile::tempdir().unwrap();
    let (dir, away) = (place.path().join("db"), place.path().join("away"));
    let kv = Kv::open(&dir, &SCHEMA).unwrap();
    assert_eq!(kv.trouble(), None);
    fs::rename(&dir, &away).unwrap();
    let failed = (0..200).find(|n| put(&kv, *n).is_err()).unwrap();
    let trouble = kv.trouble().unwrap();
    assert!(!trouble.full, "{trouble:?}");
    assert!(put(&kv, failed).is_err(), "it is still away");
    assert!(!dir.exists(), "nothing was made in its place");
    assert_eq!(kv.trouble().unwrap().since, trouble.since);
    assert!(
        kv.get(A, &0_u32.to_be_bytes()).unwrap().is_some(),
        "reads go on"
    );

    fs::rename(&away, &dir).unwrap();
    put(&kv, failed).unwrap();
    assert_eq!(kv.trouble(), None);
    kv.probe().unwrap();
    drop(kv);
    let kv = Kv::open_existing(&dir, &SCHEMA).unwrap();
    let rows = kv.scan(A, b"", usize::MAX).unwrap();
    assert_eq!(
        rows.len() as u32,
        failed + 1,
        "nothing acknowledged is lost"
    );
}

#[test]
fn who_writes_from_within_a_walk_is_not_held_up_by_the_trouble() {
    let place = tempfile::tempdir().unwrap();
    let (dir, away) = (place.path().join("db"), place.path().join("away"));
    let kv = Kv::open(&dir, &SCHEMA).unwrap();
    put(&kv, 0).unwrap();
    fs::rename(&dir, &away).unwrap();
    let mut next = 1;
    while put(&kv, next).is_ok() {
        next += 1;
    }
    fs::rename(&away, &dir).unwrap();
    let mut inside = None;
    kv.walk(A, b"", b"", |_, _| {
        inside = Some(put(&kv, next).is_ok());
        std::ops::ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(inside, Some(false), "the reader itself holds it open");
    put(&kv, next).unwrap();
}

#[test]
fn synced_writes_are_counted_and_trouble_can_be_played() {
    let kv = Kv::in_memory(&SCHEMA);
    put(&kv, 1).unwrap();
    let mut batch = Batch::new();
    batch.put(A, "k", "v");
    kv.write(batch, Durability::Buffered).unwrap();
    assert_eq!(kv.synced_writes(), 1);
    kv.fail_writes(Some("IO error: Input/output error"));
    assert!(put(&kv, 2).is_err());
    assert!(!kv.trouble().unwrap().full);
    assert_eq!(kv.synced_writes(), 1);
    kv.fail_writes(None);
    kv.probe().unwrap();
    assert_eq!(kv.trouble(), None);
    assert_eq!(kv.get(A, &2_u32.to_be_bytes()).unwrap(), None);
}
