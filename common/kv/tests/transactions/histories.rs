//! Random histories: several threads run random transactions on a few keys at a time, and some
//! order in which they would have run one after the other must explain everything that they have
//! read, scans and what was not there included, and what is there at the end.

use crate::{
    engines::{A, everywhere},
    records::{Done, sure, text},
};
use damocles_kv::{Durability::Buffered, Span, Store, Transaction};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

const THREADS: usize = 3;
const KEYS: u8 = 5;

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Scan {
        from: u8,
        limit: usize,
        backwards: bool,
    },
    Put(u8),
    Delete(u8),
}

/// What a step has read.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Value(Option<String>),
    Row(Vec<(u8, String)>),
    Nothing,
}

/// A transaction that happened: its steps, what it wrote by a name of its own, what it read.
#[derive(Clone, Debug)]
struct Run {
    steps: Vec<Step>,
    name: String,
    seen: Vec<Seen>,
}

type Model = BTreeMap<u8, String>;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..KEYS).prop_map(Step::Get),
        3 => (0..KEYS, 1..4_usize, any::<bool>())
            .prop_map(|(from, limit, backwards)| Step::Scan { from, limit, backwards }),
        4 => (0..KEYS).prop_map(Step::Put),
        2 => (0..KEYS).prop_map(Step::Delete),
    ]
}

/// For each thread its transactions, for each of them its steps.
fn program() -> impl Strategy<Value = Vec<Vec<Vec<Step>>>> {
    let transaction = prop::collection::vec(step(), 1..5);
    let thread = prop::collection::vec(transaction, 1..4);
    prop::collection::vec(thread, THREADS)
}

fn span(from: u8, backwards: bool) -> Span {
    let span = Span::prefix("k").from([b'k', from]);
    if backwards { span.backwards() } else { span }
}

/// One step in the store.
fn act(t: &mut Transaction<'_>, step: &Step, name: &str) -> Done<Seen> {
    let key = |k: &u8| [b'k', *k];
    Ok(match step {
        Step::Get(k) => Seen::Value(text(&t.get(A, &key(k))?)),
        Step::Scan {
            from,
            limit,
            backwards,
        } => {
            let found = t.scan(A, &span(*from, *backwards), *limit)?;
            Seen::Row(
                found
                    .iter()
                    .map(|r| (r.key()[1], text(r).unwrap()))
                    .collect(),
            )
        }
        Step::Put(k) => {
            t.overwrite(A, key(k), name)?;
            Seen::Nothing
        }
        Step::Delete(k) => {
            t.erase(A, key(k))?;
            Seen::Nothing
        }
    })
}

/// The same step in the model.
fn imagine(model: &mut Model, step: &Step, name: &str) -> Seen {
    match step {
        Step::Get(k) => Seen::Value(model.get(k).cloned()),
        Step::Scan {
            from,
            limit,
            backwards,
        } => {
            let entry = |(k, v): (&u8, &String)| (*k, v.clone());
            Seen::Row(if *backwards {
                model.range(..=from).rev().take(*limit).map(entry).collect()
            } else {
                model.range(from..).take(*limit).map(entry).collect()
            })
        }
        Step::Put(k) => {
            model.insert(*k, name.to_owned());
            Seen::Nothing
        }
        Step::Delete(k) => {
            model.remove(k);
            Seen::Nothing
        }
    }
}

/// Whether some order, in which each thread's transactions keep theirs, explains everything.
fn explained(rows: &[&[Run]], model: &Model, end: &Model) -> bool {
    if rows.iter().all(|row| row.is_empty()) {
        return model == end;
    }
    (0..rows.len()).any(|n| {
        let [run, rest @ ..] = rows[n] else {
            return false;
        };
        let mut next = model.clone();
        let fits = run
            .steps
            .iter()
            .zip(&run.seen)
            .all(|(step, seen)| imagine(&mut next, step, &run.name) == *seen);
        let mut left = rows.to_vec();
        left[n] = rest;
        fits && explained(&left, &next, end)
    })
}

fn contents(store: &Store) -> Model {
    let all = sure(store, |t| t.scan(A, &Span::prefix("k"), usize::MAX));
    all.iter().map(|r| (r.key()[1], text(r).unwrap())).collect()
}

/// Runs the program; what happened, by threads.
fn history(store: &Store, program: &[Vec<Vec<Step>>], again: &AtomicU64) -> Vec<Vec<Run>> {
    let start = Barrier::new(program.len());
    let run = |thread: usize, transactions: &[Vec<Step>]| {
        start.wait();
        let mut runs = Vec::new();
        for (n, steps) in transactions.iter().enumerate() {
            let name = format!("{thread}.{n}");
            let mut tries = 0;
            let seen: Done<Vec<Seen>> = store.transact(Buffered, |t| {
                tries += 1;
                let mut seen = Vec::new();
                for step in steps {
                    seen.push(act(t, step, &name)?);
                    thread::yield_now();
                }
                Ok(seen)
            });
            again.fetch_add(tries - 1, Ordering::Relaxed);
            runs.push(Run {
                steps: steps.clone(),
                name,
                seen: seen.unwrap(),
            });
        }
        runs
    };
    thread::scope(|scope| {
        let threads: Vec<_> = program
            .iter()
            .enumerate()
            .map(|(n, transactions)| scope.spawn(move || run(n, transactions)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn some_order_explains_what_random_transactions_saw() {
    everywhere(|store| {
        let again = AtomicU64::new(0);
        let mut runner = TestRunner::new(Config {
            cases: 300,
            max_shrink_iters: 50,
            failure_persistence: None,
            ..Config::default()
        });
        let done = runner.run(&program(), |program| {
            let begin = contents(store);
            let runs = history(store, &program, &again);
            let end = contents(store);
            let rows: Vec<&[Run]> = runs.iter().map(Vec::as_slice).collect();
            prop_assert!(
                explained(&rows, &begin, &end),
                "no order explains this, from {begin:?} to {end:?}: {runs:#?}"
            );
            Ok(())
        });
        done.unwrap();
        let again = again.into_inner();
        assert!(again > 0, "they never met, so nothing was tried");
    });
}

/// The judge itself: it must know a history that no order explains.
#[test]
fn the_judge_tells_a_lost_update() {
    let run = |name: &str| Run {
        steps: vec![Step::Get(1), Step::Put(1)],
        name: name.to_owned(),
        seen: vec![Seen::Value(None), Seen::Nothing],
    };
    let (a, mut b) = ([run("a")], [run("b")]);
    let end = |name: &str| Model::from([(1, name.to_owned())]);
    assert!(!explained(&[&a, &b], &Model::new(), &end("b")));
    b[0].seen[0] = Seen::Value(Some("a".to_owned()));
    assert!(explained(&[&a, &b], &Model::new(), &end("b")));
    assert!(!explained(&[&a, &b], &Model::new(), &end("a")));
}
