//! Durable key-value tables with atomic batches; the only crate that names rocksdb.
//!
//! ```text
//! Schema ──open──► Kv ── get · scan · update(batch) ──► RocksDB, or the same in memory
//! ```
//! A daemon says in a [`Schema`] who it is and which [`Table`]s it has; [`Kv::open`] refuses a
//! database of somebody else or of a newer version before anything is changed. Both kinds of
//! store pass the same suite (`tests/conformance.rs`). [`Kv::open_existing`] makes none: where
//! there was a database, an empty directory is a disk that is not mounted.
//!
//! This crate knows nothing of what is stored: keys are bytes, values are bytes or JSON.

mod table;
mod batch;
mod health;
mod mem;
mod rocks;
mod store;
mod schema;
mod refusal;
mod look;
mod open;

pub use batch::{Batch, Durability};
pub use health::Trouble;
pub use refusal::{ACCEPT_CUT, OpenError};
pub use schema::{Migration, Schema};
pub use store::{Entry, Kv};
pub use table::{KvError, Table};
