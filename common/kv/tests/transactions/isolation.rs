//! What transactions do to each other: as if one had come after the other.

use crate::{
    engines::{A, everywhere},
    records::{Done, keys, set, sure, value},
};
use damocles_kv::{
    Durability::{Buffered, Synced},
    Record, Span, Store, StoreError, Transaction,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Runs a transaction that reads, is overtaken by what `other` does while it is open, and then
/// writes. Returns how often it ran.
fn overtaken<R>(
    store: &Store,
    read: impl Fn(&mut Transaction<'_>) -> Done<R>,
    other: impl Fn() + Sync,
    write: impl Fn(&mut Transaction<'_>, R) -> Done,
) -> u32 {
    let mut runs = 0;
    sure(store, |t| {
        runs += 1;
        let seen = read(t)?;
        if runs == 1 {
            thread::scope(|scope| scope.spawn(&other).join().unwrap());
        }
        write(t, seen)
    });
    runs
}

fn add(t: &mut Transaction<'_>, key: &str) -> Done {
    let record = t.get(A, key.as_bytes())?;
    let n: u64 = record.json()?.unwrap_or(0);
    t.put_json(&record, &(n + 1))
}

#[test]
fn an_update_is_not_lost() {
    everywhere(|store| {
        let runs = overtaken(
            store,
            |t| t.get(A, b"n"),
            || sure(store, |t| add(t, "n")),
            |t, record| {
                let n: u64 = record.json()?.unwrap_or(0);
                t.put_json(&record, &(n + 1))
            },
        );
        assert_eq!(value(store, "n").as_deref(), Some("2"));
        assert_eq!(runs, 2);
    });
}

/// Each may leave only while the other stays; both records are written by one only.
#[test]
fn two_do_not_write_what_only_one_of_them_may() {
    everywhere(|store| {
        set(store, "x", "on");
        set(store, "y", "on");
        let leave = |t: &mut Transaction<'_>, mine: &str, other: &str| {
            let both = [t.get(A, mine.as_bytes())?, t.get(A, other.as_bytes())?];
            Ok((both[1].bytes() == Some(b"on"), both))
        };
        let go = |t: &mut Transaction<'_>, (may, both): (bool, [Record; 2])| match may {
            true => t.put(&both[0], "off"),
            false => Ok(()),
        };
        overtaken(
            store,
            |t| leave(t, "x", "y"),
            || {
                sure(store, |t| {
                    let seen = leave(t, "y", "x")?;
                    go(t, seen)
                });
            },
            go,
        );
        let both = [value(store, "x").unwrap(), value(store, "y").unwrap()];
        assert_eq!(both, ["on", "off"]);
    });
}

/// Each makes a record where a scan shows none: what is not there is read, too.
#[test]
fn what_a_scan_did_not_find_is_not_put_there_by_two() {
    for (span, mine, other) in [
        (Span::prefix("r/"), "r/1", "r/2"),
        (Span::prefix("r/").backwards(), "r/2", "r/1"),
        (Span::prefix("r/").from("r/5"), "r/7", "r/6"),
        (Span::all().after("r/").below("s"), "r/1", "r/9"),
    ] {
        everywhere(|store| {
            set(store, "q", "before");
            set(store, "s", "behind");
            let find = |t: &mut Transaction<'_>| t.scan(A, &span, 5);
            let make = |t: &mut Transaction<'_>, found: Vec<Record>, key: &str| {
                if found.is_empty() {
                    t.overwrite(A, key, "made")?;
                }
                Ok(())
            };
            let runs = overtaken(
                store,
                find,
                || {
                    sure(store, |t| {
                        let found = find(t)?;
                        make(t, found, other)
                    });
                },
                |t, found| make(t, found, mine),
            );
            let all = sure(store, |t| t.scan(A, &Span::prefix("r/"), 9));
            assert_eq!(keys(&all), [other.as_bytes()], "{span:?}");
            assert_eq!(runs, 2);
        });
    }
}

/// Takes the first two of three, and deletes them: another one takes the first beside it.
#[test]
fn two_do_not_take_the_same_from_a_row() {
    everywhere(|store| {
        for key in ["r/1", "r/2", "r/3"] {
            set(store, key, "");
        }
        let first = |t: &mut Transaction<'_>, n| t.scan(A, &Span::prefix("r/"), n);
        let take = |t: &mut Transaction<'_>, found: Vec<Record>, by: &str| {
            for record in found {
                let taken = format!("{by}{}", str::from_utf8(record.key()).unwrap());
                t.delete(&record)?;
                t.insert(A, taken, "")?;
            }
            Ok(())
        };
        overtaken(
            store,
            |t| first(t, 2),
            || {
                sure(store, |t| {
                    let found = first(t, 1)?;
                    take(t, found, "b")
                });
            },
            |t, found| take(t, found, "a"),
        );
        let all = sure(store, |t| t.scan(A, &Span::all(), 9));
        assert_eq!(keys(&all), [&b"ar/2"[..], b"ar/3", b"br/1"]);
    });
}

#[test]
fn a_reader_sees_one_moment() {
    everywhere(|store| {
        set(store, "x", "0");
        set(store, "y", "0");
        let mut runs = 0;
        let seen: Done<(Record, Record)> = store.read(|t| {
            runs += 1;
            let x = t.get(A, b"x")?;
            if runs == 1 {
                let other = || {
                    sure(store, |t| {
                        add(t, "x")?;
                        add(t, "y")
                    });
                };
                thread::scope(|scope| scope.spawn(other).join().unwrap());
            }
            Ok((x, t.get(A, b"y")?))
        });
        let (x, y) = seen.unwrap();
        assert_eq!(x.bytes(), y.bytes());
    });
}

#[test]
fn who_only_reads_is_in_nobodys_way() {
    everywhere(|store| {
        let runs = overtaken(
            store,
            |t| t.get(A, b"x"),
            || assert_eq!(value(store, "x"), None),
            |t, record| t.put(&record, "1"),
        );
        assert_eq!(runs, 1);
    });
}

#[test]
fn a_conflict_is_told_when_there_is_no_other_attempt() {
    everywhere(|store| {
        let once = store.clone().with_attempts(1);
        let beaten: Done = once.transact(Synced, |t| {
            let record = t.get(A, b"n")?;
            thread::scope(|s| s.spawn(|| sure(store, |t| add(t, "n"))).join().unwrap());
            t.put(&record, "mine")
        });
        let error = beaten.unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict { attempts: 1 }),
            "{error:?}"
        );
        assert!(error.is_wait());
        assert_eq!(value(store, "n").as_deref(), Some("1"));
    });
}

/// A closure that makes light of an error is run again all the same.
#[test]
fn a_result_that_rests_on_stale_records_is_not_returned() {
    everywhere(|store| {
        set(store, "x", "1");
        let first = AtomicBool::new(true);
        let sum: Done<usize> = store.transact(Synced, |t| {
            let x = t.get(A, b"x")?;
            if first.swap(false, Ordering::Relaxed) {
                let other = || {
                    sure(store, |t| {
                        t.erase(A, "x")?;
                        t.overwrite(A, "y", "1")
                    });
                };
                thread::scope(|s| s.spawn(other).join().unwrap());
            }
            let y = t.get(A, b"y").is_ok_and(|y| y.exists());
            // a write, so that it cannot be taken for one that came before
            let _ = t.overwrite(A, "seen", "1");
            Ok(usize::from(x.exists()) + usize::from(y))
        });
        assert_eq!(sum.unwrap(), 1);
    });
}

#[test]
fn many_count_together_and_none_is_lost() {
    everywhere(|store| {
        let (threads, each) = (8, 25);
        thread::scope(|scope| {
            for n in 0..threads {
                scope.spawn(move || {
                    for _ in 0..each {
                        let durability = if n % 2 == 0 { Synced } else { Buffered };
                        let mut done: Done = store.transact(durability, |t| add(t, "n"));
                        while done.as_ref().is_err_and(StoreError::is_wait) {
                            done = store.transact(durability, |t| add(t, "n"));
                        }
                        done.unwrap();
                    }
                });
            }
        });
        let want = (threads * each).to_string();
        assert_eq!(value(store, "n"), Some(want));
    });
}
