//! What synced transactions cost; printed, for a person to judge.

use crate::engines::{A, SCHEMA};
use damocles_kv::{Durability::Synced, Store, StoreError};
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const THREADS: usize = 64;
const EACH: usize = 25;

struct Figures {
    per_second: f64,
    median: Duration,
    slow: Duration,
}

/// Every thread makes its calls one after the other.
fn measured(call: impl Fn(usize) + Sync) -> Figures {
    let start = Barrier::new(THREADS + 1);
    let (mut took, whole) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let (start, call) = (&start, &call);
                scope.spawn(move || {
                    start.wait();
                    let timed = |_| {
                        let begin = Instant::now();
                        call(n);
                        begin.elapsed()
                    };
                    (0..EACH).map(timed).collect::<Vec<_>>()
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        let took: Vec<_> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        (took, begin.elapsed())
    });
    took.sort();
    Figures {
        per_second: took.len() as f64 / whole.as_secs_f64(),
        median: took[took.len() / 2],
        slow: took[took.len() * 99 / 100],
    }
}

fn print(what: &str, f: &Figures) {
    println!(
        "{what:<22} {:>8.0} calls/s   p50 {:>9.2?}   p99 {:>9.2?}",
        f.per_second, f.median, f.slow
    );
}

fn add(store: &Store, key: &str) {
    let done: Result<(), StoreError> = store.transact(Synced, |t| {
        let record = t.get(A, key.as_bytes())?;
        let n: u64 = record.json()?.unwrap_or(0);
        t.put_json(&record, &(n + 1))
    });
    done.unwrap();
}

/// Those that are in nobody's way share syncs; those that all raise one record should not be
/// much slower for it.
#[test]
#[ignore = "a measurement: cargo test -p damocles-kv --test transactions speed -- --ignored --nocapture"]
fn synced_calls_of_64_threads_on_a_record_each_and_on_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &SCHEMA).unwrap();
    let keys: Vec<String> = (0..THREADS).map(|n| format!("thread {n}")).collect();
    for round in 1..=3 {
        println!("round {round}");
        print("a record each", &measured(|n| add(&store, &keys[n])));
        print("all the same record", &measured(|_| add(&store, "one")));
    }
    let total: Result<Option<u64>, StoreError> = store.read(|t| t.get_json(A, b"one"));
    assert_eq!(total.unwrap(), Some((3 * THREADS * EACH) as u64));
}
