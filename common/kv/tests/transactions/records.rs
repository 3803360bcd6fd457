//! What one transaction alone sees and does.

use crate::engines::{A, B, everywhere};
use damocles_kv::{
    Durability::{Buffered, Synced},
    KvError, Record, Span, Store, StoreError, Table, Transaction,
};
use std::collections::BTreeMap;

pub(crate) type Done<T = ()> = Result<T, StoreError>;

/// Runs a transaction that must succeed.
pub(crate) fn sure<T>(
    store: &Store,
    body: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError>,
) -> T {
    store.transact(Synced, body).unwrap()
}

pub(crate) fn set(store: &Store, key: &str, value: &str) {
    sure(store, |t| t.overwrite(A, key, value));
}

pub(crate) fn value(store: &Store, key: &str) -> Option<String> {
    let record: Done<Record> = store.read(|t| t.get(A, key.as_bytes()));
    text(&record.unwrap())
}

pub(crate) fn text(record: &Record) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    record.bytes().map(text)
}

pub(crate) fn keys(records: &[Record]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.key().to_vec()).collect()
}

#[test]
fn what_was_written_is_there_and_tables_are_apart() {
    everywhere(|store| {
        let odd: [&[u8]; 4] = [b"", b"\0", b"\xff\xff", b"k"];
        sure(store, |t| {
            for key in odd {
                t.insert(A, key, key)?;
            }
            t.insert(B, "k", vec![7; 300_000])
        });
        sure(store, |t| {
            for key in odd {
                assert_eq!(t.get(A, key)?.bytes(), Some(key));
            }
            assert_eq!(t.get(B, b"k")?.bytes().map(<[u8]>::len), Some(300_000));
            assert_eq!(t.get(B, b"")?.bytes(), None);
            assert_eq!(keys(&t.scan(A, &Span::all(), 10)?), odd_in_order());
            t.erase(A, "k")?;
            t.erase(A, "never there")
        });
        assert_eq!(value(store, "k"), None);
        let beside: Done<Record> = store.read(|t| t.get(B, b"k"));
        assert!(beside.unwrap().exists());
        set(store, "\0", "replaced");
        assert_eq!(value(store, "\0").as_deref(), Some("replaced"));
    });
}

fn odd_in_order() -> Vec<Vec<u8>> {
    [&b""[..], b"\0", b"k", b"\xff\xff"]
        .map(<[u8]>::to_vec)
        .into()
}

#[test]
fn scans_go_both_ways_from_a_key_and_to_a_limit() {
    everywhere(|store| {
        sure(store, |t| {
            for key in ["l", "m", "m1", "m2", "m3", "n"] {
                t.insert(A, key, "")?;
            }
            Ok(())
        });
        let m = || Span::prefix("m");
        for (span, limit, want) in [
            (m(), 9, "m m1 m2 m3"),
            (m(), 2, "m m1"),
            (m(), 0, ""),
            (m().backwards(), 9, "m3 m2 m1 m"),
            (m().backwards(), 2, "m3 m2"),
            (m().from("m1"), 2, "m1 m2"),
            (m().after("m1"), 9, "m2 m3"),
            (m().from("m1").backwards(), 9, "m1 m"),
            (m().after("m1").backwards(), 9, "m"),
            (m().after("m11").backwards(), 1, "m1"),
            (m().below("m2"), 9, "m m1"),
            (m().from("z"), 9, ""),
            (m().after("a").backwards(), 9, ""),
            (Span::all().backwards(), 2, "n m3"),
            (Span::all().after("m3"), 9, "n"),
        ] {
            let found = sure(store, |t| t.scan(A, &span, limit));
            let found: Vec<_> = found
                .iter()
                .map(|r| str::from_utf8(r.key()).unwrap())
                .collect();
            assert_eq!(found.join(" "), want, "{span:?} {limit}");
        }
    });
}

/// No key is above all that begin with 0xff, and a prefix may end anywhere.
#[test]
fn scans_keep_to_prefixes_of_the_lowest_and_the_highest_bytes() {
    everywhere(|store| {
        let all: [&[u8]; 10] = [
            b"l",
            b"m\0",
            b"m\0\x01",
            b"m\0\xff",
            b"m\0\xff\xff",
            b"m\x01",
            b"\xfe",
            b"\xff",
            b"\xff\xff",
            b"\xff\xff\x01",
        ];
        sure(store, |t| {
            all.iter().try_for_each(|key| t.insert(A, *key, *key))
        });
        for prefix in [&b""[..], b"m\0", b"m\0\xff", b"\xff", b"\xff\xff", b"x"] {
            for (backwards, limit) in [(false, 99), (true, 99), (false, 2), (true, 2)] {
                let mut want: Vec<_> = all.iter().filter(|k| k.starts_with(prefix)).collect();
                let mut span = Span::prefix(prefix);
                if backwards {
                    want.reverse();
                    span = span.backwards();
                }
                want.truncate(limit);
                let found = sure(store, |t| t.scan(A, &span, limit));
                assert_eq!(keys(&found), want_keys(&want), "{span:?} {limit}");
                assert!(found.iter().all(|r| r.bytes() == Some(r.key())));
            }
        }
    });
}

fn want_keys(keys: &[&&[u8]]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.to_vec()).collect()
}

#[test]
fn the_last_change_of_a_key_counts() {
    everywhere(|store| {
        set(store, "there", "before");
        sure(store, |t| {
            for key in ["new", "there"] {
                t.overwrite(A, key, "1")?;
                t.erase(A, key)?;
                t.overwrite(A, key, "2")?;
            }
            let seen = t.get(A, b"there")?;
            t.delete(&seen)?;
            t.insert(A, "there", "3")?;
            t.overwrite(A, "gone", "1")?;
            t.erase(A, "gone")
        });
        assert_eq!(value(store, "new").as_deref(), Some("2"));
        assert_eq!(value(store, "there").as_deref(), Some("3"));
        assert_eq!(value(store, "gone"), None);
    });
}

/// Compared with a map, for every limit and both directions.
#[test]
fn a_transaction_sees_its_own_writes_in_reads_and_scans() {
    everywhere(|store| {
        for key in ["b", "d", "f", "h"] {
            set(store, key, "old");
        }
        let mut want: BTreeMap<&str, &str> = ["b", "d", "f", "h"].map(|k| (k, "old")).into();
        sure(store, |t| {
            for key in ["a", "e", "i"] {
                t.overwrite(A, key, "new")?;
            }
            for key in ["b", "f", "x"] {
                t.erase(A, key)?;
            }
            let seen = t.get(A, b"d")?;
            t.put(&seen, "newer")?;
            t.put(&seen, "newest")?;
            for key in ["a", "e", "i"] {
                want.insert(key, "new");
            }
            want.retain(|key, _| !["b", "f"].contains(key));
            want.insert("d", "newest");
            for (backwards, limit) in [(false, 0), (true, 0)]
                .into_iter()
                .flat_map(|(b, _)| (0..8).map(move |n| (b, n)))
            {
                let mut all: Vec<_> = want.iter().map(|(k, v)| (*k, *v)).collect();
                let span = if backwards {
                    all.reverse();
                    Span::all().backwards()
                } else {
                    Span::all()
                };
                all.truncate(limit);
                let found = t.scan(A, &span, limit)?;
                let found: Vec<_> = found
                    .iter()
                    .map(|r| (str::from_utf8(r.key()).unwrap(), text(r).unwrap()))
                    .collect();
                let found: Vec<_> = found.iter().map(|(k, v)| (*k, v.as_str())).collect();
                assert_eq!(found, all, "{backwards} {limit}");
            }
            assert!(!t.get(A, b"b")?.exists());
            assert_eq!(text(&t.get(A, b"e")?).as_deref(), Some("new"));
            Ok(())
        });
        let found: Done<Vec<Record>> = store.read(|t| t.scan(A, &Span::all(), 9));
        let found = found.unwrap();
        assert_eq!(found.len(), want.len());
        assert!(
            found
                .iter()
                .all(|r| text(r).as_deref() == want.get(str::from_utf8(r.key()).unwrap()).copied())
        );
    });
}

#[test]
fn a_record_is_made_once() {
    everywhere(|store| {
        sure(store, |t| t.insert(A, "k", "first"));
        let again: Done = store.transact(Synced, |t| t.insert(A, "k", "second"));
        assert!(matches!(again, Err(StoreError::Exists { table: "a", .. })));
        assert_eq!(value(store, "k").as_deref(), Some("first"));
    });
}

#[test]
fn a_record_that_was_seen_earlier_is_written_only_if_it_is_still_the_same() {
    everywhere(|store| {
        set(store, "k", "1");
        let seen = sure(store, |t| t.get(A, b"k"));
        let gone = sure(store, |t| t.get(A, b"none"));
        sure(store, |t| t.put(&seen, "2"));
        // the same bytes again are another version
        set(store, "k", "1");
        for late in [
            store.transact(Synced, |t| t.put(&seen, "3")),
            store.transact(Synced, |t| t.delete(&seen)),
        ] {
            assert!(
                matches!(late, Err(StoreError::Changed { table: "a", .. })),
                "{late:?}"
            );
        }
        assert_eq!(value(store, "k").as_deref(), Some("1"));

        sure(store, |t| t.put(&gone, "made"));
        let late: Done = store.transact(Synced, |t| t.put(&gone, "made again"));
        assert!(matches!(late, Err(StoreError::Changed { .. })));
        let seen = sure(store, |t| t.get(A, b"none"));
        sure(store, |t| t.delete(&seen));
        assert_eq!(value(store, "none"), None);

        // its own writes have a version only when they are done
        let own = sure(store, |t| {
            t.overwrite(A, "own", "1")?;
            t.get(A, b"own")
        });
        let late: Done = store.transact(Synced, |t| t.put(&own, "2"));
        assert!(matches!(late, Err(StoreError::Changed { .. })));
    });
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("no")]
    No,
    #[error("store")]
    Store,
}

impl From<StoreError> for Refusal {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

#[test]
fn what_the_closure_refuses_is_returned_as_it_is_and_nothing_is_written() {
    everywhere(|store| {
        let refused: Result<(), Refusal> = store.transact(Synced, |t| {
            t.overwrite(A, "k", "v")?;
            Err(Refusal::No)
        });
        assert_eq!(refused, Err(Refusal::No));
        assert_eq!(value(store, "k"), None);
        let of_the_store: Result<(), Refusal> =
            store.transact(Synced, |t| Ok(t.overwrite(Table("nowhere"), "k", "v")?));
        assert_eq!(of_the_store, Err(Refusal::Store));
    });
}

#[test]
fn what_is_wrong_with_a_transaction_is_told_by_name() {
    everywhere(|store| {
        let unknown: Done = store.transact(Synced, |t| {
            t.overwrite(A, "k", "v")?;
            t.overwrite(Table("nowhere"), "k", "v")
        });
        assert!(
            matches!(
                unknown,
                Err(StoreError::Kv(KvError::UnknownTable("nowhere")))
            ),
            "{unknown:?}"
        );
        assert_eq!(value(store, "k"), None, "all or nothing");
        let unknown: Done<Record> = store.read(|t| t.get(Table("nowhere"), b"k"));
        assert!(
            matches!(
                unknown,
                Err(StoreError::Kv(KvError::UnknownTable("nowhere")))
            ),
            "{unknown:?}"
        );

        let nested: Done = store.transact(Synced, |_| store.read(|_| Ok(())));
        assert!(matches!(nested, Err(StoreError::Nested)));
        let writes: Done = store.read(|t| t.overwrite(A, "k", "v"));
        assert!(matches!(writes, Err(StoreError::ReadOnly { table: "a" })));
        set(store, "k", "{");
        set(store, "good", "7");
        let damaged: Done<Option<u64>> = store.read(|t| t.get_json(A, b"k"));
        let among: Done<Vec<Option<u64>>> = store.read(|t| {
            let found = t.scan(A, &Span::all(), 9)?;
            found.iter().map(Record::json).collect()
        });
        for told in [damaged.unwrap_err(), among.unwrap_err()] {
            let told = told.to_string();
            assert!(told.contains("the record k of table \"a\""), "{told}");
        }
        sure(store, |_| Ok(()));
    });
}

#[test]
fn writes_that_are_on_the_disk_are_counted_and_reads_are_not() {
    everywhere(|store| {
        let before = store.synced_writes();
        set(store, "k", "v");
        assert_eq!(value(store, "k").as_deref(), Some("v"));
        let buffered: Done = store.transact(Buffered, |t| t.overwrite(A, "k", "w"));
        buffered.unwrap();
        assert_eq!(value(store, "k").as_deref(), Some("w"));
        // a server counts its own
        assert_eq!(store.synced_writes(), before.map(|n| n + 1));
    });
}
