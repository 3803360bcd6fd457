//! Leases, queues and feeds, on every engine.

use crate::{
    engines::{A, FEEDS, LEASES, QUEUES, everywhere},
    records::{Done, set, sure, value},
};
use damocles_kv::{
    Claim, Durability::Synced, Feeds, Fence, Held, Lease, Leases, Queues, Store, StoreError,
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const ROLES: Leases = Leases(LEASES);
const JOBS: Queues = Queues(QUEUES);
const NEWS: Feeds = Feeds(FEEDS);
const TTL: Duration = Duration::from_secs(10);

fn take(store: &Store, holder: &str, now: u64) -> Lease {
    sure(store, |t| ROLES.take(t, "post", "t01000", holder, TTL, now))
}

fn fence(lease: Lease) -> Fence {
    match lease {
        Lease::Granted(fence) => fence,
        Lease::Held(held) => panic!("{} has it", held.by),
    }
}

#[test]
fn a_role_has_one_holder_and_its_fence_rises() {
    everywhere(|store| {
        let first = fence(take(store, "a", 1_000));
        assert_eq!(first.number, 1);
        let held = Lease::Held(Held {
            role: "post".into(),
            scope: "t01000".into(),
            by: "a".into(),
            fence: 1,
            until_ms: 11_000,
        });
        assert_eq!(take(store, "b", 10_999), held);
        assert_eq!(fence(take(store, "a", 5_000)), first, "renewed");
        assert!(matches!(
            take(store, "b", 14_999),
            Lease::Held(Held {
                until_ms: 15_000,
                ..
            })
        ));
        let second = fence(take(store, "b", 15_000));
        assert_eq!(second.number, 2);
        let other = sure(store, |t| ROLES.take(t, "post", "t02000", "a", TTL, 0));
        assert_eq!(fence(other).number, 1, "roles are apart");

        sure(store, |t| ROLES.release(t, &second));
        let third = fence(take(store, "b", 15_001));
        assert_eq!(third.number, 3, "given back and taken anew");
    });
}

/// Whose clocks differ by hours.
#[test]
fn a_role_is_taken_over_from_one_that_was_seen_not_to_renew_it() {
    everywhere(|store| {
        let look = || sure(store, |t| ROLES.look(t, "post", "t01000"));
        let over = |seen: &Held| sure(store, |t| ROLES.take_over(t, seen, "b", TTL, 7));
        assert_eq!(look(), None);
        let hour = 3_600_000;
        fence(take(store, "a", hour));
        let seen = look().unwrap();
        assert_eq!((seen.by.as_str(), seen.until_ms), ("a", hour + 10_000));
        assert!(matches!(take(store, "b", 0), Lease::Held(_)));
        fence(take(store, "a", hour + 1));
        assert!(matches!(over(&seen), Lease::Held(_)), "it was renewed");
        let seen = look().unwrap();
        let won = fence(over(&seen));
        assert_eq!((won.number, look().unwrap().until_ms), (2, 10_007));
        assert!(matches!(
            sure(store, |t| ROLES.take_over(t, &seen, "c", TTL, 7)),
            Lease::Held(Held { fence: 2, .. })
        ));
        sure(store, |t| ROLES.release(t, &won));
        assert_eq!(look().unwrap().until_ms, 0);
        assert_eq!(fence(take(store, "c", 0)).number, 3, "given back");
    });
}

#[test]
fn who_lost_a_role_writes_nothing_any_more() {
    everywhere(|store| {
        let mine = fence(take(store, "a", 0));
        let write = |value: &'static str| -> Done {
            store.transact(Synced, |t| {
                ROLES.check(t, &mine)?;
                t.overwrite(A, "work", value)
            })
        };
        write("1").unwrap();
        // late, but nobody has come meanwhile
        fence(take(store, "a", 30_000));
        write("2").unwrap();
        let other = fence(take(store, "b", 60_000));
        for late in [
            write("3"),
            store.transact(Synced, |t| ROLES.release(t, &mine)),
        ] {
            let error = late.unwrap_err();
            assert!(
                matches!(
                    error,
                    StoreError::Fenced {
                        fence: 1,
                        current: 2,
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert_eq!(value(store, "work").as_deref(), Some("2"));
        sure(store, |t| ROLES.check(t, &other));
    });
}

/// It is overtaken between its look at the fence and its commit.
#[test]
fn a_role_that_is_lost_during_a_transaction_stops_it() {
    everywhere(|store| {
        let mine = fence(take(store, "a", 0));
        let first = AtomicBool::new(true);
        let late: Done = store.transact(Synced, |t| {
            ROLES.check(t, &mine)?;
            let work = t.get(A, b"work")?;
            if first.swap(false, Ordering::Relaxed) {
                let other = || {
                    let theirs = fence(take(store, "b", 10_000));
                    sure(store, |t| {
                        ROLES.check(t, &theirs)?;
                        let work = t.get(A, b"work")?;
                        t.put(&work, "theirs")
                    });
                };
                thread::scope(|s| s.spawn(other).join().unwrap());
            }
            t.put(&work, "mine")
        });
        assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
        assert_eq!(value(store, "work").as_deref(), Some("theirs"));
    });
}

#[test]
fn renewals_are_not_in_the_way_of_who_writes() {
    everywhere(|store| {
        let mine = fence(take(store, "a", 0));
        let mut runs = 0;
        sure(store, |t| {
            runs += 1;
            ROLES.check(t, &mine)?;
            if runs == 1 {
                let renew = || _ = take(store, "a", 5_000);
                thread::scope(|s| s.spawn(renew).join().unwrap());
            }
            t.overwrite(A, "work", "done")
        });
        assert_eq!(value(store, "work").as_deref(), Some("done"));
        // PostgreSQL looks at pages of an index, so it may have seen more than there was
        assert!(runs <= 2);
    });
}

fn push(store: &Store, item: &str, ready: u64) {
    assert!(sure(store, |t| JOBS.push(
        t,
        "jobs",
        item,
        &item.to_owned(),
        ready
    )));
}

fn claim(store: &Store, holder: &str, most: usize, now: u64) -> Vec<Claim<String>> {
    sure(store, |t| {
        JOBS.claim(t, "jobs", holder, most, now, now + 100)
    })
}

fn names(claims: &[Claim<String>]) -> Vec<&str> {
    claims.iter().map(|claim| claim.item.as_str()).collect()
}

#[test]
fn what_is_ready_is_claimed_the_oldest_first_and_by_one() {
    everywhere(|store| {
        push(store, "late", 50);
        push(store, "second", 20);
        push(store, "first", 10);
        let again = sure(store, |t| {
            JOBS.push(t, "jobs", "late", &"other".to_owned(), 0)
        });
        assert!(!again, "it is in there already");
        sure(store, |t| JOBS.push(t, "other queue", "x", &0_u8, 0));

        assert!(claim(store, "a", 5, 9).is_empty());
        let one = claim(store, "a", 1, 20);
        assert_eq!(names(&one), ["first"]);
        let two = claim(store, "b", 5, 20);
        assert_eq!(names(&two), ["second"]);
        assert!(claim(store, "c", 5, 49).is_empty());

        sure(store, |t| JOBS.done(t, &one[0]));
        let mut later = two[0].clone();
        later.what = "second, once more".to_owned();
        sure(store, |t| JOBS.retry(t, &later, 30));
        let both = claim(store, "c", 5, 50);
        assert_eq!(names(&both), ["second", "late"]);
        assert_eq!(
            (both[0].tries, both[0].what.as_str()),
            (2, "second, once more")
        );
        let left: Vec<(String, damocles_kv::Item<String>)> =
            sure(store, |t| JOBS.list(t, "jobs", None, 9));
        let left: Vec<_> = left
            .iter()
            .map(|(name, item)| (name.as_str(), item.holder.as_deref()))
            .collect();
        assert_eq!(left, [("late", Some("c")), ("second", Some("c"))]);
    });
}

#[test]
fn a_claim_that_ran_out_is_refused_and_another_one_has_the_item() {
    everywhere(|store| {
        push(store, "job", 0);
        let old = claim(store, "a", 1, 0);
        assert!(claim(store, "b", 1, 99).is_empty());
        sure(store, |t| JOBS.extend(t, &old[0], 150));
        assert!(claim(store, "b", 1, 149).is_empty());
        // the same holder, as after a pause that it did not notice
        let new = claim(store, "a", 1, 150);
        assert_eq!(new[0].tries, 2);
        for late in [
            store.transact(Synced, |t| JOBS.done(t, &old[0])),
            store.transact(Synced, |t| JOBS.retry(t, &old[0], 0)),
            store.transact(Synced, |t| JOBS.extend(t, &old[0], 999)),
        ] {
            assert!(
                matches!(late, Err(StoreError::ClaimLost { .. })),
                "{late:?}"
            );
        }
        sure(store, |t| JOBS.done(t, &new[0]));
        let late: Done = store.transact(Synced, |t| JOBS.done(t, &new[0]));
        assert!(matches!(late, Err(StoreError::ClaimLost { .. })));
    });
}

#[test]
fn many_empty_a_queue_and_no_item_is_done_twice() {
    everywhere(|store| {
        let items = 60;
        sure(store, |t| {
            for n in 0..items {
                JOBS.push(t, "jobs", &format!("{n:02}"), &String::new(), 0)?;
            }
            Ok(())
        });
        thread::scope(|scope| {
            for worker in ["a", "b", "c", "d"] {
                scope.spawn(move || {
                    loop {
                        let claims = claim(store, worker, 3, 1);
                        if claims.is_empty() {
                            break;
                        }
                        for claim in &claims {
                            sure(store, |t| {
                                JOBS.done(t, claim)?;
                                t.insert(A, claim.item.as_str(), worker)
                            });
                        }
                    }
                });
            }
        });
        let done = sure(store, |t| t.scan(A, &damocles_kv::Span::all(), usize::MAX));
        assert_eq!(done.len(), items);
    });
}

#[test]
fn a_feed_counts_its_entries_and_is_read_from_a_number_on() {
    everywhere(|store| {
        for (n, text) in [(1, "one"), (2, "two"), (3, "three")] {
            assert_eq!(sure(store, |t| NEWS.append(t, "sectors", &text)), n);
        }
        let refused: Done = store.transact(Synced, |t| {
            NEWS.append(t, "sectors", &"never")?;
            Err(StoreError::Conflict { attempts: 0 })
        });
        assert!(refused.is_err());
        assert_eq!(
            sure(store, |t| NEWS.append(t, "sectors", &"four")),
            4,
            "no gap"
        );
        assert_eq!(sure(store, |t| NEWS.append(t, "other", &0)), 1);
        let read = |from, limit| -> Vec<(u64, String)> {
            sure(store, |t| NEWS.read(t, "sectors", from, limit))
        };
        assert_eq!(read(2, 2), [(2, "two".into()), (3, "three".into())]);
        assert_eq!(read(0, 9).len(), 4);
        assert!(read(5, 9).is_empty());
        assert_eq!(sure(store, |t| NEWS.forget(t, "sectors", 4, 2)), 2);
        assert_eq!(read(0, 9), [(3, "three".into()), (4, "four".into())]);
        assert_eq!(sure(store, |t| NEWS.last(t, "sectors")), 4);
        set(store, "x", "");
    });
}

/// Readers follow while writers write: what they have read is 1, 2, 3 … without a hole.
#[test]
fn a_reader_of_a_feed_misses_nothing_that_is_written_beside_it() {
    everywhere(|store| {
        let (writers, each) = (4, 20);
        let left = AtomicU64::new(writers);
        let (left, total) = (&left, writers * each);
        thread::scope(|scope| {
            for writer in 0..writers {
                scope.spawn(move || {
                    for n in 0..each {
                        sure(store, |t| NEWS.append(t, "f", &(writer, n)));
                    }
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut seen = 0;
                    loop {
                        let over = left.load(Ordering::SeqCst) == 0;
                        let more: Vec<(u64, (u64, u64))> =
                            sure(store, |t| NEWS.read(t, "f", seen + 1, 7));
                        for (number, _) in &more {
                            assert_eq!(*number, seen + 1, "an entry came later");
                            seen = *number;
                        }
                        if over && more.is_empty() {
                            break;
                        }
                    }
                    assert_eq!(seen, total);
                });
            }
        });
    });
}
