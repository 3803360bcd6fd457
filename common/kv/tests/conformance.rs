//! What both kinds of store promise; every test runs on RocksDB and on its twin in memory.

use damocles_kv::{Batch, Durability, Kv, KvError, Schema, Table};
use serde::{Deserialize, Serialize};
use std::{ops::ControlFlow, sync::Arc, thread};

const A: Table = Table("a");
const B: Table = Table("b");
const SCHEMA: Schema = Schema {
    owner: "conformance",
    tables: &[A, B],
    migrations: &[],
};

/// Runs a check on both kinds.
fn both(check: impl Fn(&Kv)) {
    check(&Kv::in_memory(&SCHEMA));
    let dir = tempfile::tempdir().unwrap();
    check(&Kv::open(dir.path(), &SCHEMA).unwrap());
}

fn put(kv: &Kv, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(table, key, value);
    kv.write(batch, Durability::Buffered).unwrap();
}

fn keys(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<u8>> {
    entries.into_iter().map(|(k, _)| k).collect()
}

#[test]
fn tables_are_apart_and_values_can_be_replaced_and_removed() {
    both(|kv| {
        put(kv, A, b"k", b"1");
        put(kv, B, b"k", b"2");
        put(kv, A, b"k", b"3");
        assert_eq!(kv.get(A, b"k").unwrap().unwrap(), b"3");
        assert_eq!(kv.get(B, b"k").unwrap().unwrap(), b"2");
        let mut batch = Batch::new();
        batch.delete(A, b"k".as_slice());
        batch.delete(A, b"never there".as_slice());
        kv.write(batch, Durability::Synced).unwrap();
        assert_eq!(kv.get(A, b"k").unwrap(), None);
        assert_eq!(kv.get(B, b"k").unwrap().unwrap(), b"2");
    });
}

#[test]
fn scans_keep_to_their_prefix_in_order_and_to_their_limit() {
    both(|kv| {
        for key in [
            &b"m\x00\x02"[..],
            b"m\x00\x01",
            b"m\x00\xff",
            b"m\x01",
            b"l",
            b"m\x00",
        ] {
            put(kv, A, key, b"v");
        }
        let want: [&[u8]; 4] = [b"m\x00", b"m\x00\x01", b"m\x00\x02", b"m\x00\xff"];
        assert_eq!(keys(kv.scan(A, b"m\x00", 10).unwrap()), want);
        assert_eq!(keys(kv.scan(A, b"m\x00", 2).unwrap()), want[..2]);
        assert_eq!(kv.scan(A, b"", 10).unwrap().len(), 6);
        assert!(kv.scan(A, b"x", 10).unwrap().is_empty());
        assert!(kv.scan(A, b"m\x00", 0).unwrap().is_empty());

        let mut down = Vec::new();
        kv.walk_back(A, b"m\x00", |key, _| {
            down.push(key.to_vec());
            if down.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        assert_eq!(down, [want[3], want[2], want[1]]);

        let mut from = Vec::new();
        kv.walk(A, b"m\x00", b"m\x00\x02", |key, _| {
            from.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(from, want[2..]);
    });
}

#[test]
fn walking_back_knows_prefixes_of_the_highest_byte() {
    both(|kv| {
        for key in [&b"\xff"[..], b"\xff\xff", b"\xff\xff\x01", b"\xfe"] {
            put(kv, A, key, b"");
        }
        let mut seen = Vec::new();
        kv.walk_back(A, b"\xff\xff", |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, [&b"\xff\xff\x01"[..], b"\xff\xff"]);
    });
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

#[test]
fn json_comes_back_and_damage_names_its_record() {
    both(|kv| {
        let mut batch = Batch::new();
        for text in ["one", "two"] {
            let note = Note { text: text.into() };
            batch.put_json(A, text.as_bytes(), &note).unwrap();
        }
        kv.write(batch, Durability::Synced).unwrap();
        let all: Vec<Note> = kv.scan_json(A, b"").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(kv.get_json::<Note>(A, b"two").unwrap().unwrap().text, "two");
        assert_eq!(kv.get_json::<Note>(A, b"three").unwrap(), None);
        put(kv, A, b"two", b"{\"text\":");
        for e in [
            kv.get_json::<Note>(A, b"two").unwrap_err(),
            kv.scan_json::<Note>(A, b"").unwrap_err(),
        ] {
            assert!(
                matches!(&e, KvError::Decode { key, .. } if key == "two"),
                "{e}"
            );
        }
    });
}

#[test]
fn a_batch_that_cannot_be_applied_whole_is_not_applied_at_all() {
    both(|kv| {
        let mut batch = Batch::new();
        batch.put(A, b"k".as_slice(), b"v".as_slice());
        batch.put(Table("unknown"), b"k".as_slice(), b"v".as_slice());
        let e = kv.write(batch, Durability::Synced).unwrap_err();
        assert!(matches!(e, KvError::UnknownTable("unknown")), "{e}");
        assert_eq!(kv.get(A, b"k").unwrap(), None);

        let refused: Result<(), KvError> = kv.update(Durability::Synced, |_, batch| {
            batch.put(A, b"k".as_slice(), b"v".as_slice());
            Err(KvError::UnknownTable("changed my mind"))
        });
        assert!(refused.is_err());
        assert_eq!(kv.get(A, b"k").unwrap(), None);
    });
}

#[test]
fn the_last_change_of_a_key_in_a_batch_counts() {
    both(|kv| {
        let mut batch = Batch::new();
        batch.put(A, b"k".as_slice(), b"1".as_slice());
        batch.delete(A, b"k".as_slice());
        batch.put(A, b"k".as_slice(), b"2".as_slice());
        batch.put(A, b"gone".as_slice(), b"1".as_slice());
        batch.delete(A, b"gone".as_slice());
        kv.write(batch, Durability::Buffered).unwrap();
        assert_eq!(kv.get(A, b"k").unwrap().unwrap(), b"2");
        assert_eq!(kv.get(A, b"gone").unwrap(), None);
    });
}

#[test]
fn updates_do_not_lose_each_other() {
    both(|kv| {
        let kv = Arc::new(kv.clone());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let kv = kv.clone();
                thread::spawn(move || {
                    for _ in 0..50 {
                        kv.update(Durability::Buffered, |kv, batch| {
                            let n: u64 = kv.get_json(A, b"counter")?.unwrap_or(0);
                            batch.put_json(A, b"counter".as_slice(), &(n + 1))
                        })
                        .unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(kv.get_json::<u64>(A, b"counter").unwrap(), Some(200));
    });
}
