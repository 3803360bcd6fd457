//! Stores in a PostgreSQL of the tests' own, each in a schema of its own.

use crate::engines::SCHEMA;
use damocles_kv::{ConnectError, Postgres, Store};
pub(crate) use damocles_test_postgres::{Server, shared};
use std::sync::atomic::{AtomicU32, Ordering};

/// How a schema of it is reached.
pub(crate) fn place(server: &Server, schema: &str) -> Postgres {
    Postgres {
        dsn: server.dsn(),
        password: None,
        schema: schema.to_owned(),
        connections: 8,
        authorities: None,
    }
}

/// A schema of it that is not there yet.
pub(crate) fn another(server: &Server) -> Postgres {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    place(
        server,
        &format!("test {}", NEXT.fetch_add(1, Ordering::Relaxed)),
    )
}

/// An empty store in it.
pub(crate) fn empty(server: &Server) -> Store {
    open(&another(server)).unwrap()
}

pub(crate) fn open(place: &Postgres) -> Result<Store, ConnectError> {
    Store::postgres(place, &SCHEMA)
}
