//! What lies at a place on a server before a store is opened there: nothing is made where one must
//! be already, and nothing in what is somebody else's.

use crate::{
    engines::{A, B, SCHEMA},
    records::sure,
    server::{Server, another, open, shared},
};
use damocles_kv::{ConnectError, Migration, Postgres, Schema, Store, Work};

/// Of an earlier program: some tables are not there yet.
const FEW: Schema = Schema {
    tables: &[A],
    ..SCHEMA
};

/// What there is in the schema, and whether that is there itself.
fn contents(server: &Server, place: &Postgres) -> String {
    let name = &place.schema;
    server.psql(&format!(
        "SELECT 'schema' WHERE EXISTS (SELECT 1 FROM information_schema.schemata WHERE schema_name = '{name}') \
         UNION SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}' ORDER BY 1"
    ))
}

fn missing(place: &Postgres) {
    let refused = Store::postgres_existing(place, &SCHEMA).unwrap_err();
    assert!(matches!(refused, ConnectError::Missing { .. }), "{refused}");
    assert!(refused.to_string().contains(&place.schema), "{refused}");
}

#[test]
fn none_is_made_where_one_must_be() {
    let Some(server) = shared() else { return };
    let place = another(server);
    let nothing = contents(server, &place);
    assert!(!nothing.contains("schema"), "{nothing}");
    missing(&place);
    assert_eq!(contents(server, &place), nothing);
    // an operator may make it for a user who must not
    server.psql(&format!("CREATE SCHEMA \"{}\"", place.schema));
    let empty = contents(server, &place);
    missing(&place);
    assert_eq!(contents(server, &place), empty);
    assert!(
        empty.contains("schema") && !empty.contains("meta"),
        "{empty}"
    );

    let id = open(&place).unwrap().id();
    let there = Store::postgres_existing(&place, &SCHEMA).unwrap();
    assert_eq!(there.id(), id);
    // somebody has emptied it, in part or whole
    sure(&there, |t| t.overwrite(A, "k", "v"));
    drop(there);
    server.psql(&format!("TRUNCATE \"{}\".meta", place.schema));
    for refused in [
        Store::postgres_existing(&place, &SCHEMA).unwrap_err(),
        open(&place).unwrap_err(),
    ] {
        assert!(matches!(refused, ConnectError::Foreign { .. }), "{refused}");
    }
    server.psql(&format!("TRUNCATE \"{}\".a", place.schema));
    missing(&place);
    missing(&place);
    assert_ne!(open(&place).unwrap().id(), id);
}

#[test]
fn what_is_somebody_elses_or_newer_is_left_as_it_is() {
    const NEIGHBOUR: Schema = Schema {
        owner: "neighbour",
        ..FEW
    };
    const NEWER: Schema = Schema {
        migrations: &[Migration {
            what: "a step of the future",
            work: Work::Nothing,
        }],
        ..FEW
    };
    let Some(server) = shared() else { return };
    for schema in [NEIGHBOUR, NEWER] {
        let place = another(server);
        drop(Store::postgres(&place, &schema).unwrap());
        let before = contents(server, &place);
        for refused in [
            open(&place).unwrap_err(),
            Store::postgres_existing(&place, &SCHEMA).unwrap_err(),
        ] {
            assert!(
                matches!(
                    refused,
                    ConnectError::Foreign { .. }
                        | ConnectError::Newer {
                            found: 2,
                            known: 1,
                            ..
                        }
                ),
                "{refused}"
            );
        }
        assert_eq!(contents(server, &place), before);
    }
    // tables of a program that is none of ours
    let place = another(server);
    server.psql(&format!(
        "CREATE SCHEMA \"{0}\"; CREATE TABLE \"{0}\".precious (n INT)",
        place.schema
    ));
    let before = contents(server, &place);
    let refused = open(&place).unwrap_err();
    assert!(matches!(refused, ConnectError::Foreign { .. }), "{refused}");
    assert_eq!(contents(server, &place), before);
}

/// One whose making was cut short is finished, and so is one of an earlier program.
#[test]
fn what_is_ours_in_part_is_made_whole() {
    let Some(server) = shared() else { return };
    let place = another(server);
    server.psql(&format!(
        "CREATE SCHEMA \"{0}\"; CREATE TABLE \"{0}\".a (key BYTEA PRIMARY KEY, version BIGINT NOT NULL, value BYTEA NOT NULL)",
        place.schema
    ));
    missing(&place);
    open(&place).unwrap();

    let place = another(server);
    let id = Store::postgres(&place, &FEW).unwrap().id();
    let store = Store::postgres_existing(&place, &SCHEMA).unwrap();
    assert_eq!(store.id(), id);
    sure(&store, |t| t.insert(B, "k", "v"));
}
