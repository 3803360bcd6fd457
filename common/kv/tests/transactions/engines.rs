//! The stores on which everything is tried.

use crate::server;
use damocles_kv::{Kv, Schema, Store, Table};

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
        check(&Kv::in_memory(&SCHEMA).store());
    }
    {
        let _on = On("RocksDB");
        let dir = tempfile::tempdir().unwrap();
        check(&Kv::open(dir.path(), &SCHEMA).unwrap().store());
    }
    if let Some(server) = server::shared() {
        let _on = On("PostgreSQL");
        check(&server.empty());
    }
}

/// Runs a check on those that have the older way beside.
pub(crate) fn both(check: impl Fn(&Kv)) {
    check(&Kv::in_memory(&SCHEMA));
    let dir = tempfile::tempdir().unwrap();
    check(&Kv::open(dir.path(), &SCHEMA).unwrap());
}
