//! A database that is filled with the records of another one: until it is at its end nobody takes
//! it for a database, and it can be begun again. And a copy of one that is in use.

use crate::{
    engines::{A, B, Place, Refused, SCHEMA, wherever_it_stays},
    records::{keys, sure},
};
use damocles_kv::{
    ConnectError, Import, Migration, OpenError, Schema, Span, Stamp, Store, StoreError, Work,
};
use uuid::Uuid;

const NEWER: Schema = Schema {
    migrations: &[Migration {
        what: "records of a are repeated in b",
        work: Work::Each(A, |t, record| {
            let value = record.bytes().unwrap_or_default();
            t.overwrite(B, record.key(), value)
        }),
    }],
    ..SCHEMA
};

fn stamp() -> Stamp {
    Stamp {
        owner: SCHEMA.owner.to_owned(),
        version: 1,
        id: Some(Uuid::from_u128(7)),
    }
}

fn import(place: &Place, schema: &Schema) -> Result<Import, Refused> {
    match place {
        Place::Directory(dir) => Store::import(dir, schema, stamp()).map_err(Refused::Directory),
        Place::Server(server) => {
            Store::postgres_import(server, schema, stamp()).map_err(Refused::Server)
        }
    }
}

fn existing(place: &Place) -> Result<Store, Refused> {
    match place {
        Place::Directory(dir) => Store::open_existing(dir, &SCHEMA).map_err(Refused::Directory),
        Place::Server(server) => Store::postgres_existing(server, &SCHEMA).map_err(Refused::Server),
    }
}

fn is_half(refused: &Refused) -> bool {
    matches!(
        refused,
        Refused::Directory(OpenError::HalfImported { .. })
            | Refused::Server(ConnectError::HalfImported { .. })
    )
}

fn is_not_empty(refused: &Refused) -> bool {
    matches!(
        refused,
        Refused::Directory(OpenError::NotEmpty { .. })
            | Refused::Server(ConnectError::NotEmpty { .. })
    )
}

fn records(n: u32) -> Vec<(damocles_kv::Table, Vec<u8>, Vec<u8>)> {
    (0..n)
        .map(|n| (A, n.to_be_bytes().to_vec(), b"v".to_vec()))
        .collect()
}

#[test]
fn a_half_imported_database_is_refused_and_the_import_can_be_begun_again() {
    wherever_it_stays(|place| {
        let first = import(place, &SCHEMA).unwrap();
        first.put(&records(1200)).unwrap();
        drop(first);
        assert!(is_half(&place.open(&SCHEMA).unwrap_err()));
        assert!(is_half(&existing(place).unwrap_err()));
        let again = import(place, &NEWER).unwrap();
        again.put(&[(A, b"k".to_vec(), b"w".to_vec())]).unwrap();
        let store = again.finish().unwrap();
        assert_eq!(store.id(), Uuid::from_u128(7));
        for table in [A, B] {
            let found = sure(&store, |t| t.scan(table, &Span::all(), 9));
            assert_eq!(
                keys(&found),
                [b"k"],
                "nothing is left, and it is up to date"
            );
        }
        drop(store);
        assert!(is_not_empty(&import(place, &NEWER).unwrap_err()));
        assert_eq!(place.open(&NEWER).unwrap().id(), Uuid::from_u128(7));
    });
}

#[test]
fn of_two_imports_the_later_one_goes_on() {
    let Some(server) = crate::server::shared() else {
        return;
    };
    let place = Place::Server(crate::server::another(server));
    let first = import(&place, &SCHEMA).unwrap();
    let second = import(&place, &SCHEMA).unwrap();
    let over = first.put(&records(1)).unwrap_err();
    assert!(matches!(over, StoreError::ImportOver), "{over}");
    second.put(&records(2)).unwrap();
    assert!(matches!(first.finish(), Err(StoreError::ImportOver)));
    let store = second.finish().unwrap();
    let found = sure(&store, |t| t.scan(A, &Span::all(), 9));
    assert_eq!(found.len(), 2);
}

#[test]
fn a_database_of_an_older_version_can_be_read_as_it_is() {
    wherever_it_stays(|place| {
        let store = place.open(&SCHEMA).unwrap();
        sure(&store, |t| t.insert(A, "k", "v"));
        drop(store);
        let as_it_is = || match place {
            Place::Directory(dir) => Store::open_as_it_is(dir, &NEWER).unwrap(),
            Place::Server(server) => Store::postgres_as_it_is(server, &NEWER).unwrap(),
        };
        let store = as_it_is();
        let stamp = sure(&store, |t| t.stamp()).unwrap();
        assert_eq!((stamp.version, stamp.id), (1, Some(store.id())));
        assert!(sure(&store, |t| t.scan(B, &Span::all(), 9)).is_empty());
        drop(store);
        let newest = place.open(&NEWER).unwrap();
        assert_eq!(sure(&newest, |t| t.stamp()).unwrap().version, 2);
    });
}

#[test]
fn a_copy_of_a_database_in_use_is_one_with_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (here, copy) = (dir.path().join("here"), dir.path().join("copy"));
    let store = Store::open(&here, &SCHEMA).unwrap();
    sure(&store, |t| t.insert(A, "before", "v"));
    assert!(store.backup(&copy).unwrap());
    assert!(store.backup(&copy).is_err(), "it is there already");
    sure(&store, |t| t.insert(A, "after", "v"));
    let stamp = Store::stamp_in(&copy, &SCHEMA).unwrap();
    assert_eq!(stamp.id, Some(store.id()));
    let old = Store::open_existing(&copy, &SCHEMA).unwrap();
    assert_eq!(old.id(), store.id());
    let found = sure(&old, |t| t.scan(A, &Span::all(), 9));
    assert_eq!(keys(&found), [b"before"]);
    sure(&old, |t| t.insert(B, "own", "v"));
    drop(old);
    assert_eq!(sure(&store, |t| t.scan(A, &Span::all(), 9)).len(), 2);
    assert!(sure(&store, |t| t.scan(B, &Span::all(), 9)).is_empty());
    assert!(
        !Store::in_memory(&SCHEMA)
            .backup(&dir.path().join("no"))
            .unwrap()
    );
}
