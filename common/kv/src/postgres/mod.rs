//! PostgreSQL below the store, or what speaks like it: YugabyteDB and CockroachDB have all the
//! SQL that is used here. A table of the store is one of the database, with columns for key,
//! version and value. Transactions are the database's own, at its highest isolation: one that reads is
//! held open there, one that writes is made of what was seen, and looked at again and applied there in
//! one statement, so that a call costs as few ways over the network as can be.

mod tls;
mod settings;
mod sql;
mod question;
mod connection;
mod pool;
mod kept;
mod seen;
mod wish;
mod row;
mod landing;
mod look;
mod server;
mod rows;
mod verdict;
mod together;
mod reading;
mod writing;
mod commit;
mod moment;
mod open;

pub use open::ConnectError;
pub use settings::Postgres;
