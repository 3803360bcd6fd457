//! A killed process loses nothing that was acknowledged, and leaves nothing half done; and a disk
//! that fails costs nothing that was.

use crate::engines::{A, B, SCHEMA};
use damocles_kv::{Durability, Span, Store, StoreError};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

const PLACE: &str = "KV_TEST_WRITE";

/// Not a test of its own: run by the next one in a process of its own, it writes until it is
/// killed, and says what is done.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(PLACE) else {
        return;
    };
    let store = Store::open(Path::new(&dir), &SCHEMA).unwrap();
    println!();
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                // both survive that, and only a power cut tells them apart
                let class = [Durability::Synced, Durability::Buffered][thread % 2];
                for n in 0.. {
                    let key = format!("{thread}.{n}");
                    let done: Result<(), StoreError> = store.transact(class, |t| {
                        t.insert(A, key.as_str(), "")?;
                        t.insert(B, key.as_str(), "")
                    });
                    done.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "done {key}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process that is killed is the point"
)]
fn a_killed_process_loses_no_acknowledged_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writer", "--nocapture"])
            .env(PLACE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let done = |line: String| line.strip_prefix("done ").map(str::to_owned);
        let found = lines.by_ref().map_while(Result::ok).filter_map(done);
        acknowledged.extend(found.take(200));
        child.kill().unwrap();
        // what it said before it died
        acknowledged.extend(lines.map_while(Result::ok).filter_map(done));
        child.wait().unwrap();

        let store = Store::open_existing(dir.path(), &SCHEMA).unwrap();
        let all = |table| -> BTreeSet<String> {
            let found: Result<_, StoreError> =
                store.read(|t| t.scan(table, &Span::all(), usize::MAX));
            let key = |r: &damocles_kv::Record| String::from_utf8(r.key().to_vec()).unwrap();
            found.unwrap().iter().map(key).collect()
        };
        let there = all(A);
        assert!(
            acknowledged.is_subset(&there),
            "lost: {:?}",
            acknowledged.difference(&there)
        );
        assert_eq!(there, all(B), "half of a transaction");
        let cleared: Result<(), StoreError> = store.transact(Durability::Synced, |t| {
            for table in [A, B] {
                for record in t.scan(table, &Span::all(), usize::MAX)? {
                    t.delete(&record)?;
                }
            }
            Ok(())
        });
        cleared.unwrap();
        acknowledged.clear();
    }
}

/// The directory is away for a while, as a disk may be, while several write.
#[test]
fn a_store_whose_disk_failed_goes_on_and_has_lost_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (dir, away) = (place.path().join("db"), place.path().join("away"));
    let store = Store::open(&dir, &SCHEMA).unwrap();
    let write = |key: &str| -> Result<(), StoreError> {
        store.transact(Durability::Synced, |t| {
            t.overwrite(A, key, vec![b'x'; 64 << 10])?;
            t.overwrite(B, key, "")
        })
    };
    write("first").unwrap();
    fs::rename(&dir, &away).unwrap();
    let written: BTreeSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let write = &write;
                scope.spawn(move || {
                    let keys = (0..).map(|n| format!("{thread}.{n:04}"));
                    keys.take_while(|key| write(key).is_ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let done = threads.into_iter().flat_map(|t| t.join().unwrap());
        done.collect()
    });
    assert!(store.trouble().is_some());
    fs::rename(&away, &dir).unwrap();
    while write("last").is_err() {
        // it is not tried more than once a second
        thread::yield_now();
    }
    assert!(store.trouble().is_none());
    drop(store);
    let store = Store::open_existing(&dir, &SCHEMA).unwrap();
    let found: Result<_, StoreError> = store.read(|t| t.scan(B, &Span::all(), usize::MAX));
    let key = |r: &damocles_kv::Record| String::from_utf8(r.key().to_vec()).unwrap();
    let found: BTreeSet<String> = found.unwrap().iter().map(key).collect();
    assert!(found.contains("first") && found.contains("last"));
    assert!(
        found.is_superset(&written),
        "lost: {:?}",
        written.difference(&found)
    );
}
