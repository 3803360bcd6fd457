//! Transactions beside the older way, on the same records: both count.

use crate::{
    engines::{A, both},
    records::{Done, sure, value},
};
use damocles_kv::{Batch, Durability, Kv, KvError, Span};
use std::{ops::ControlFlow, thread};

fn old(kv: &Kv) -> Result<(), KvError> {
    kv.update(Durability::Buffered, |kv, batch| {
        let n: u64 = kv.get_json(A, b"n")?.unwrap_or(0);
        batch.put_json(A, *b"n", &(n + 1))
    })
}

#[test]
fn updates_and_transactions_do_not_lose_each_other() {
    both(|kv| {
        let store = kv.store();
        let store = &store;
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..100).for_each(|_| old(kv).unwrap()));
                scope.spawn(move || {
                    for _ in 0..100 {
                        sure(store, |t| {
                            let record = t.get(A, b"n")?;
                            let n: u64 = record.json()?.unwrap_or(0);
                            t.put_json(&record, &(n + 1))
                        });
                    }
                });
            }
        });
        assert_eq!(kv.get_json::<u64>(A, b"n").unwrap(), Some(400));
    });
}

#[test]
fn each_reads_what_the_other_wrote() {
    both(|kv| {
        let store = kv.store();
        let mut batch = Batch::new();
        batch.put(A, "old", "1");
        batch.put(A, "other", "1");
        kv.write(batch, Durability::Synced).unwrap();
        let seen = sure(&store, |t| t.get(A, b"old"));
        assert_eq!(seen.bytes(), Some(&b"1"[..]));
        assert_ne!(seen.version(), None);
        sure(&store, |t| {
            t.insert(A, "new", "2")?;
            t.put(&seen, "3")
        });
        assert_eq!(kv.get(A, b"old").unwrap().unwrap(), b"3");
        let mut all = Vec::new();
        kv.walk(A, b"", b"", |key, value| {
            all.push([key, value].concat());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(all, [&b"new2"[..], b"old3", b"other1"]);

        let mut batch = Batch::new();
        batch.put(A, "old", "4");
        kv.write(batch, Durability::Buffered).unwrap();
        let late: Done = store.transact(Durability::Synced, |t| t.put(&seen, "5"));
        assert!(late.is_err());
        assert_eq!(value(&store, "old").as_deref(), Some("4"));
        assert_eq!(sure(&store, |t| t.scan(A, &Span::all(), 9)).len(), 3);
    });
}

#[test]
fn trouble_with_writing_is_told_and_ends() {
    let kv = Kv::in_memory(&crate::engines::SCHEMA);
    let store = kv.store();
    kv.fail_writes(Some("IO error: Input/output error"));
    let failed: Done = store.transact(Durability::Synced, |t| t.overwrite(A, "k", "v"));
    assert!(failed.is_err_and(|e| !e.is_wait()));
    assert!(kv.trouble().is_some());
    assert_eq!(kv.synced_writes(), 0);
    kv.fail_writes(None);
    sure(&store, |t| t.overwrite(A, "k", "v"));
    assert!(kv.trouble().is_none());
    assert_eq!(kv.synced_writes(), 1);
}

#[test]
fn writes_that_are_on_the_disk_are_counted_and_reads_are_not() {
    both(|kv| {
        let store = kv.store();
        let before = kv.synced_writes();
        sure(&store, |t| t.overwrite(A, "k", "v"));
        assert_eq!(value(&store, "k").as_deref(), Some("v"));
        let buffered: Done = store.transact(Durability::Buffered, |t| t.overwrite(A, "k", "w"));
        buffered.unwrap();
        assert_eq!(value(&store, "k").as_deref(), Some("w"));
        assert_eq!(kv.synced_writes(), before + 1);
    });
}
