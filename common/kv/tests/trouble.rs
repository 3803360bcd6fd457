//! A database whose disk fails: what was acknowledged stays, the trouble is told, and it goes
//! on when the disk does.

use damocles_kv::{Durability, Record, Schema, Span, Store, StoreError, Table};
use std::{fs, path::PathBuf, sync::mpsc, thread};
use tempfile::TempDir;

const A: Table = Table("a");
const SCHEMA: Schema = Schema {
    owner: "house",
    tables: &[A],
    migrations: &[],
};
const LARGE: usize = 64 << 10;

fn put(store: &Store, n: u32) -> Result<(), StoreError> {
    store.transact(Durability::Synced, |t| {
        t.overwrite(A, n.to_be_bytes(), vec![0; LARGE])
    })
}

fn get(store: &Store, n: u32) -> Record {
    let found: Result<Record, StoreError> = store.read(|t| t.get(A, &n.to_be_bytes()));
    found.unwrap()
}

/// A database in a directory that can be put away, as a disk may be.
struct Movable {
    _place: TempDir,
    dir: PathBuf,
    away: PathBuf,
    store: Store,
}

impl Movable {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (dir, away) = (place.path().join("db"), place.path().join("away"));
        let store = Store::open(&dir, &SCHEMA).unwrap();
        Self {
            _place: place,
            dir,
            away,
            store,
        }
    }

    /// Puts it away and writes until that fails: RocksDB needs a new log file after some MiB, and
    /// does not get it. Returns what could not be written.
    fn put_away(&self) -> u32 {
        fs::rename(&self.dir, &self.away).unwrap();
        (0..200).find(|n| put(&self.store, *n).is_err()).unwrap()
    }

    fn put_back(&self) {
        fs::rename(&self.away, &self.dir).unwrap();
    }
}

/// By itself RocksDB would never write again.
#[test]
fn a_database_that_could_not_write_goes_on_when_the_disk_does() {
    let movable = Movable::new();
    let store = &movable.store;
    assert_eq!(store.trouble(), None);
    let failed = movable.put_away();
    let trouble = store.trouble().unwrap();
    assert!(!trouble.full && !trouble.away, "{trouble:?}");
    assert!(put(store, failed).is_err(), "it is still away");
    assert!(!movable.dir.exists(), "nothing was made in its place");
    assert_eq!(store.trouble().unwrap().since, trouble.since);
    assert!(get(store, 0).exists(), "reads go on");

    movable.put_back();
    put(store, failed).unwrap();
    assert_eq!(store.trouble(), None);
    store.probe().unwrap();
    let Movable {
        _place, dir, store, ..
    } = movable;
    drop(store);
    let store = Store::open_existing(&dir, &SCHEMA).unwrap();
    let all: Result<Vec<Record>, StoreError> = store.read(|t| t.scan(A, &Span::all(), usize::MAX));
    assert_eq!(
        all.unwrap().len() as u32,
        failed + 1,
        "nothing acknowledged is lost"
    );
}

/// It cannot be opened anew as long as somebody is inside; who wants to write hears of that
/// instead of waiting for ever, also if the one inside waits for it.
#[test]
fn a_transaction_that_is_open_holds_up_nobody_for_ever() {
    let movable = Movable::new();
    let store = &movable.store;
    let failed = movable.put_away();
    movable.put_back();
    let (inside, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let found: Result<Record, StoreError> = store.read(|t| {
                inside.send(()).unwrap();
                left.recv().unwrap();
                t.get(A, &0_u32.to_be_bytes())
            });
            found.unwrap()
        });
        entered.recv().unwrap();
        assert!(put(store, failed).is_err(), "the reader holds it open");
        assert!(get(store, 0).exists(), "others read beside it");
        leave.send(()).unwrap();
        assert!(reader.join().unwrap().exists());
    });
    put(store, failed).unwrap();
    assert_eq!(store.trouble(), None);
}

#[test]
fn synced_writes_are_counted_and_trouble_can_be_played() {
    let store = Store::in_memory(&SCHEMA);
    put(&store, 1).unwrap();
    let buffered: Result<(), StoreError> =
        store.transact(Durability::Buffered, |t| t.overwrite(A, "k", "v"));
    buffered.unwrap();
    assert_eq!(store.synced_writes(), Some(1));
    store.fail_writes(Some("IO error: Input/output error"));
    assert!(put(&store, 2).is_err_and(|e| !e.is_wait()));
    assert!(!store.trouble().unwrap().full);
    assert_eq!(store.synced_writes(), Some(1));
    assert!(get(&store, 1).exists(), "reads go on");
    store.fail_writes(None);
    store.probe().unwrap();
    assert_eq!(store.trouble(), None);
    assert!(!get(&store, 2).exists());
}
