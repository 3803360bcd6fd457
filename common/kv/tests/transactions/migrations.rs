//! How older databases are brought up to date: a page at a time, each record once, also over
//! failures in between. On every engine that keeps what it has.

use crate::{
    engines::{A, B, Place, Refused, SCHEMA, wherever_it_stays},
    records::{Done, keys, sure, text, value},
    server::{another, shared},
};
use damocles_kv::{
    ConnectError, KvError, Migration, OpenError, Record, Schema, Span, Store, StoreError, Table,
    Transaction, Work,
};
use std::{cell::RefCell, collections::BTreeSet, sync::Barrier, thread};

/// More than two pages, and no whole number of them.
const RECORDS: usize = 1203;
/// At this one a migration is stopped: in the second page.
const BAD: usize = 700;

thread_local! {
    /// Which records a migration was shown. It runs on the thread that opens.
    static SHOWN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// The record at which it fails, as on a database that cannot be written.
    static STOP: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

fn shown() -> Vec<Vec<u8>> {
    SHOWN.take()
}

/// Counts in table B how often a record was shown, and changes the record; every third goes.
fn count(t: &mut Transaction<'_>, record: &Record) -> Done {
    SHOWN.with_borrow_mut(|shown| shown.push(record.key().to_vec()));
    if STOP.with_borrow(|stop| stop.as_deref() == Some(record.key())) {
        return Err(StoreError::Kv(KvError::Storage {
            doing: "writing",
            table: B.0,
            reason: "IO error: Input/output error".to_owned(),
        }));
    }
    let times = t.get(B, record.key())?;
    let n: u64 = times.json()?.unwrap_or(0);
    t.put_json(&times, &(n + 1))?;
    if record.key().ends_with(b"3") {
        t.delete(record)
    } else {
        t.put(record, "changed")
    }
}

/// What the one before has written is written out.
fn spell(t: &mut Transaction<'_>, record: &Record) -> Done {
    match record.bytes() {
        Some(b"1") => t.put(record, "once"),
        _ => t.put(record, "not once"),
    }
}

const COUNT: Migration = Migration {
    what: "records are counted",
    work: Work::Each(A, count),
};
const CLOSED: Migration = Migration {
    what: "older programs would misread it",
    work: Work::Nothing,
};
const SPELL: Migration = Migration {
    what: "counts are written out",
    work: Work::Each(B, spell),
};

const ONE: Schema = SCHEMA;
const TWO: Schema = Schema {
    migrations: &[COUNT],
    ..SCHEMA
};
const FOUR: Schema = Schema {
    migrations: &[COUNT, CLOSED, SPELL],
    ..SCHEMA
};

fn key(n: usize) -> Vec<u8> {
    format!("{n:04}").into_bytes()
}

fn all_keys() -> Vec<Vec<u8>> {
    (0..RECORDS).map(key).collect()
}

/// Makes a database of the first version.
fn older(place: &Place) {
    let store = place.open(&ONE).unwrap();
    sure(&store, |t| {
        (0..RECORDS).try_for_each(|n| t.overwrite(A, key(n), "old"))
    });
}

fn all(store: &Store, table: Table) -> Vec<Record> {
    sure(store, |t| t.scan(table, &Span::all(), usize::MAX))
}

/// That the first migration happened to each record, and to each once.
fn counted(store: &Store, want: &str) {
    let counts = all(store, B);
    assert_eq!(keys(&counts), all_keys());
    assert!(counts.iter().all(|r| text(r).as_deref() == Some(want)));
    let kept: Vec<_> = all_keys()
        .into_iter()
        .filter(|k| !k.ends_with(b"3"))
        .collect();
    let left = all(store, A);
    assert_eq!(keys(&left), kept);
    assert!(left.iter().all(|r| text(r).as_deref() == Some("changed")));
}

/// The version that the database has, and the one that the program knows.
fn newer(refused: &Refused) -> Option<(u32, u32)> {
    match refused {
        Refused::Directory(OpenError::Newer { found, known, .. })
        | Refused::Server(ConnectError::Newer { found, known, .. }) => Some((*found, *known)),
        _ => None,
    }
}

/// Opens it so that the first migration fails in its second page.
fn stopped(place: &Place, schema: &Schema) {
    STOP.set(Some(key(BAD)));
    let refused = place.open(schema).unwrap_err();
    STOP.set(None);
    assert!(
        matches!(
            refused,
            Refused::Directory(OpenError::Migration { .. })
                | Refused::Server(ConnectError::Store { .. })
        ),
        "{refused:?}"
    );
    assert_eq!(shown().last(), Some(&key(BAD)));
}

#[test]
fn each_record_is_shown_once_in_several_pages() {
    wherever_it_stays(|place| {
        older(place);
        let store = place.open(&TWO).unwrap();
        assert_eq!(shown(), all_keys());
        counted(&store, "1");
        let id = store.id();
        sure(&store, |t| t.overwrite(A, "late", "new"));
        drop(store);
        let store = place.open(&TWO).unwrap();
        assert!(shown().is_empty(), "it is done once");
        assert_eq!(value(&store, "late").as_deref(), Some("new"));
        assert_eq!(store.id(), id);
    });
}

#[test]
fn one_that_stopped_goes_on_where_it_was() {
    wherever_it_stays(|place| {
        older(place);
        stopped(place, &TWO);
        let store = place.open(&TWO).unwrap();
        let again = shown();
        assert!(again.contains(&key(BAD)), "{again:?}");
        assert!(!again.contains(&key(0)), "a page is not done twice");
        assert_eq!(again, all_keys()[RECORDS - again.len()..], "in order");
        counted(&store, "1");
    });
}

/// What it wrote would be passed over: the place is behind it.
#[test]
fn a_database_that_is_half_brought_up_is_closed_to_the_older_program() {
    wherever_it_stays(|place| {
        older(place);
        stopped(place, &FOUR);
        let refused = place.open(&ONE).unwrap_err();
        assert_eq!(newer(&refused), Some((2, 1)), "{refused:?}");
        assert!(shown().is_empty());
        // one between them brings it as far as it can, and the last one further
        let store = place.open(&TWO).unwrap();
        counted(&store, "1");
        drop(store);
        shown();
        let store = place.open(&FOUR).unwrap();
        assert!(shown().is_empty());
        counted(&store, "once");
    });
}

#[test]
fn several_versions_are_caught_up_in_one_opening_and_in_their_order() {
    wherever_it_stays(|place| {
        older(place);
        stopped(place, &FOUR);
        let store = place.open(&FOUR).unwrap();
        assert!(!shown().is_empty());
        counted(&store, "once");
        drop(store);
        let refused = place.open(&TWO).unwrap_err();
        assert_eq!(newer(&refused), Some((4, 2)), "{refused:?}");
    });
}

#[test]
fn a_new_database_has_the_newest_version_and_nothing_to_catch_up() {
    wherever_it_stays(|place| {
        drop(place.open(&FOUR).unwrap());
        let refused = place.open(&ONE).unwrap_err();
        assert_eq!(newer(&refused), Some((4, 1)), "{refused:?}");
        drop(place.open(&FOUR).unwrap());
        assert!(shown().is_empty());
    });
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    wherever_it_stays(|place| {
        let store = place.open(&TWO).unwrap();
        sure(&store, |t| t.insert(A, "k", "v"));
        let id = store.id();
        drop(store);
        let refused = place.open(&ONE).unwrap_err();
        assert_eq!(newer(&refused), Some((2, 1)), "{refused:?}");
        let store = place.open(&TWO).unwrap();
        assert_eq!((store.id(), value(&store, "k")), (id, Some("v".to_owned())));
    });
}

#[test]
fn a_table_that_came_with_a_newer_version_is_made() {
    const FEW: Schema = Schema {
        tables: &[A],
        ..SCHEMA
    };
    wherever_it_stays(|place| {
        let store = place.open(&FEW).unwrap();
        sure(&store, |t| t.insert(A, "k", "v"));
        drop(store);
        let store = place.open(&TWO).unwrap();
        assert_eq!(keys(&all(&store, B)), [b"k"]);
    });
}

#[test]
fn several_that_open_an_older_database_at_a_time_share_the_work() {
    let Some(server) = shared() else { return };
    let place = Place::Server(another(server));
    older(&place);
    let openers = 4;
    let ready = Barrier::new(openers);
    let ids: BTreeSet<_> = thread::scope(|scope| {
        let openers: Vec<_> = (0..openers)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    place.open(&FOUR).unwrap().id()
                })
            })
            .collect();
        openers.into_iter().map(|o| o.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    counted(&place.open(&FOUR).unwrap(), "once");
}

/// As a manager of before that runs beside a newer one.
#[test]
fn an_older_program_that_runs_writes_nothing_once_a_newer_one_came() {
    let Some(server) = shared() else { return };
    let place = Place::Server(another(server));
    let old = place.open(&TWO).unwrap();
    sure(&old, |t| t.insert(A, "k", "v"));
    assert_eq!(old.trouble(), None);
    let new = place.open(&FOUR).unwrap();
    let written: Done = old.transact(damocles_kv::Durability::Synced, |t| t.insert(A, "l", "v"));
    let refused = written.unwrap_err();
    assert!(
        matches!(refused, StoreError::Newer { found: 4, known: 2 }),
        "{refused}"
    );
    assert!(!refused.is_wait());
    let trouble = old.trouble().unwrap();
    assert!(
        !trouble.away && trouble.reason.contains("newer program"),
        "{trouble:?}"
    );
    assert_eq!(value(&old, "k").as_deref(), Some("v"), "reads go on");
    sure(&new, |t| t.insert(A, "l", "v"));
}
