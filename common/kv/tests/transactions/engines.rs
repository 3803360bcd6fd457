//! The stores on which everything is tried.

use crate::server;
use damocles_kv::{ConnectError, OpenError, Postgres, Schema, Store, Table};
use std::path::PathBuf;

pub(crate) const A: Table = Table("a");
pub(crate) const B: Table = Table("b");
pub(crate) const LEASES: Table = Table("leases");
pub(crate) const QUEUES: Table = Table("queues");
pub(crate) const FEEDS: Table = Table("feeds");
pub(crate) const SCHEMA: Schema = Schema {
    owner: "transactions",
    tables: &[A, B, LEASES, QUEUES, FEEDS],
    migrations: &[],
};

/// Says on which engine a check failed.
struct On(&'static str);

impl Drop for On {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on the engine {}", self.0);
        }
    }
}

/// Runs a check on every engine, each with an empty store.
pub(crate) fn everywhere(check: impl Fn(&Store)) {
    {
        let _on = On("in memory");
        check(&Store::in_memory(&SCHEMA));
    }
    {
        let _on = On("RocksDB");
        let dir = tempfile::tempdir().unwrap();
        check(&Store::open(dir.path(), &SCHEMA).unwrap());
    }
    if let Some(server) = server::shared() {
        let _on = On("PostgreSQL");
        check(&server::empty(server));
    }
}

/// Where a store is, that can be opened again.
#[derive(Clone)]
pub(crate) enum Place {
    Directory(PathBuf),
    Server(Postgres),
}

/// Why it was not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    Directory(OpenError),
    Server(ConnectError),
}

impl Place {
    pub(crate) fn open(&self, schema: &Schema) -> Result<Store, Refused> {
        match self {
            Self::Directory(dir) => Store::open(dir, schema).map_err(Refused::Directory),
            Self::Server(server) => Store::postgres(server, schema).map_err(Refused::Server),
        }
    }
}

/// Runs a check on every engine that keeps what it has, each with a place where nothing is.
pub(crate) fn wherever_it_stays(check: impl Fn(&Place)) {
    {
        let _on = On("RocksDB");
        let dir = tempfile::tempdir().unwrap();
        check(&Place::Directory(dir.path().to_owned()));
    }
    if let Some(server) = server::shared() {
        let _on = On("PostgreSQL");
        check(&Place::Server(server::another(server)));
    }
}
