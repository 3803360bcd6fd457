//! Durable key-value tables; the only crate that names a database.
//!
//! ```text
//! Store::open ───────► Store ── transact(|t| …) ──► RocksDB
//! Store::in_memory ──► Store ── transact(|t| …) ──► the same in memory, for tests
//! Store::postgres ───► Store ── transact(|t| …) ──► PostgreSQL
//! ```
//! A daemon says in a [`Schema`] who it is and which [`Table`]s it has; [`Store::open`] refuses a
//! database of somebody else or of a newer version before anything is changed.
//! [`Store::open_existing`] makes none: where there was a database, an empty directory is a disk
//! that is not mounted.
//!
//! Records are read and written through [`Store::transact`]: serialisable transactions that may
//! run again, on every engine the same, as one suite shows (`tests/transactions`). See
//! `docs/decisions/0006-transactions-that-run-again.md`.
//!
//! [`Import`] fills a new database with the records of another one; until it is at its end, nobody
//! opens it. [`Store::backup`] copies one that is in use.
//!
//! On the transactions stand, the same on every engine: [`Leases`] with fences, [`Queues`] from
//! which many claim, [`Feeds`] of what happened.
//!
//! This crate knows nothing of what is stored: keys are bytes, values are bytes or JSON.

mod table;
mod change;
mod health;
mod stamp;
mod transaction;
mod schema;
mod named;
mod lease;
mod queue;
mod feed;
mod recent;
mod ledger;
mod mem;
mod rocks;
mod migrate;
mod import;
mod refusal;
mod look;
mod open;
mod postgres;

pub use change::Durability;
pub use feed::Feeds;
pub use health::Trouble;
pub use import::Import;
pub use lease::{Fence, Held, Lease, Leases};
pub use postgres::{ConnectError, Postgres};
pub use queue::{Claim, Item, Queues};
pub use refusal::{ACCEPT_CUT, OpenError};
pub use rocks::Memory;
pub use schema::{Migration, Schema, Work};
pub use stamp::Stamp;
pub use table::{KvError, Table};
pub use transaction::{Record, Span, Store, StoreError, Transaction, Version};
