//! What the door costs and gains; printed, for a person to judge.

use crate::engines::{A, SCHEMA};
use damocles_kv::{Durability::Synced, Kv, KvError, Store, StoreError};
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
        "{what:<28} {:>8.0} calls/s   p50 {:>9.2?}   p99 {:>9.2?}",
        f.per_second, f.median, f.slow
    );
}

fn update(kv: &Kv, key: &str) {
    let done: Result<(), KvError> = kv.update(Synced, |kv, batch| {
        let n: u64 = kv.get_json(A, key.as_bytes())?.unwrap_or(0);
        batch.put_json(A, key, &(n + 1))
    });
    done.unwrap();
}

fn transact(store: &Store, key: &str) {
    let done: Result<(), StoreError> = store.transact(Synced, |t| {
        let record = t.get(A, key.as_bytes())?;
        let n: u64 = record.json()?.unwrap_or(0);
        t.put_json(&record, &(n + 1))
    });
    done.unwrap();
}

#[test]
#[ignore = "a measurement: cargo test -p damocles-kv --test transactions speed -- --ignored --nocapture"]
fn synced_calls_of_64_threads_by_update_and_by_transact() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Kv::open(dir.path(), &SCHEMA).unwrap();
    let store = kv.store();
    let keys: Vec<String> = (0..THREADS).map(|n| format!("thread {n}")).collect();
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let old = measured(|n| update(&kv, &keys[n]));
        let new = measured(|n| transact(&store, &keys[n]));
        let hot = measured(|_| transact(&store, "one record"));
        println!("round {round}");
        print("update", &old);
        print("transact", &new);
        print("transact, all one record", &hot);
        ratios.push(new.per_second / old.per_second);
    }
    let total: u64 = kv.get_json(A, b"one record").unwrap().unwrap();
    assert_eq!(total as usize, 3 * THREADS * EACH);
    println!(
        "transact / update: {}",
        ratios
            .iter()
            .map(|r| format!("{r:.1}"))
            .collect::<Vec<_>>()
            .join(" ")
    );
}
