//! PostgreSQL below the store, or what speaks like it: YugabyteDB and CockroachDB have all the
//! SQL that is used here. A table of the store is one of the database, with columns for key,
//! version and value; transactions are the database's own, at its highest isolation.

mod tls;
mod settings;
mod sql;
mod connection;
mod pool;
mod commit;
mod moment;
mod open;

pub use open::ConnectError;
pub use settings::Postgres;
