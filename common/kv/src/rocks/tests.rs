//! What can be seen of RocksDB itself only: when it brings its log to the disk.

use super::*;
use crate::{Durability, Store, StoreError, Table, Transaction, change::Change, recent::Footprint};
use rocksdb::{Options, statistics::Ticker};
use std::{path::Path, sync::Arc, sync::Barrier, thread};
use uuid::Uuid;

const A: Table = Table("a");

fn counted(dir: &Path) -> (Arc<Rocks>, Options, Store) {
    let mut options = db_options(true, Log::Whole);
    options.enable_statistics();
    let mut rocks = Rocks::open(dir, &["default".to_owned()], &options).unwrap();
    rocks.add_tables([A].into_iter()).unwrap();
    let rocks = Arc::new(rocks);
    let store = Store::new(rocks.clone(), Uuid::nil());
    (rocks, options, store)
}

fn done(
    store: &Store,
    durability: Durability,
    body: impl FnMut(&mut Transaction<'_>) -> Result<(), StoreError>,
) {
    store.transact(durability, body).unwrap();
}

/// RocksDB itself counts how often it brought its log to the disk.
#[test]
fn a_synced_write_is_brought_to_the_disk_and_a_buffered_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_, options, store) = counted(dir.path());
    let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
    let write = |durability| done(&store, durability, |t| t.overwrite(A, "k", "v"));
    let before = syncs();
    write(Durability::Buffered);
    assert_eq!(syncs(), before);
    for n in 1..=3 {
        write(Durability::Synced);
        assert_eq!(syncs(), before + n);
    }
}

fn add(store: &Store, durability: Durability) {
    done(store, durability, |t| {
        let record = t.get(A, b"k")?;
        let n: u64 = record.json()?.unwrap_or(0);
        t.put_json(&record, &(n + 1))
    });
}

fn read(store: &Store) -> u64 {
    let n: Result<_, StoreError> = store.read(|t| t.get_json(A, b"k"));
    n.unwrap().unwrap_or(0)
}

#[test]
fn a_synced_transaction_is_on_the_disk_before_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (_, options, store) = counted(dir.path());
    let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
    let before = syncs();
    add(&store, Durability::Buffered);
    assert_eq!((syncs(), read(&store)), (before, 1), "no sync for pings");
    for n in 1..=3 {
        add(&store, Durability::Synced);
        assert_eq!((syncs(), read(&store)), (before + n, 1 + n));
    }
}

#[test]
fn many_that_wait_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (_, options, store) = counted(dir.path());
    let (threads, each) = (32, 20);
    let before = options.get_ticker_count(Ticker::WalFileSynced);
    let ready = Barrier::new(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                ready.wait();
                for _ in 0..each {
                    add(&store, Durability::Synced);
                }
            });
        }
    });
    let done = (threads * each) as u64;
    assert_eq!(read(&store), done, "none was lost");
    let syncs = options.get_ticker_count(Ticker::WalFileSynced) - before;
    assert!(syncs < done / 2, "{syncs} syncs for {done} transactions");
}

/// What another one has written and what is not on the disk yet is not told to anybody.
#[test]
fn a_reader_waits_for_the_disk_with_what_it_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let (rocks, options, store) = counted(dir.path());
    let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
    // as it stands between the log and the disk
    let changes = [Change::Put(A, b"k".to_vec(), b"1".to_vec())];
    let (began, read_before) = (rocks.ledger.applied(), Footprint::default());
    let logged = rocks
        .append(began, &read_before, &changes, Durability::Synced)
        .unwrap();
    assert!(logged.is_some());
    let before = syncs();
    let other: Result<_, StoreError> = store.read(|t| t.get(A, b"another"));
    assert!(!other.unwrap().exists());
    assert_eq!(syncs(), before, "it has not read it");
    assert_eq!(read(&store), 1);
    assert_eq!(syncs(), before + 1);
    assert_eq!(read(&store), 1);
    assert_eq!(syncs(), before + 1, "once is enough");
}
