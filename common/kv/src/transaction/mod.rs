//! The door to what is stored: `store.transact(|t| …)`.
//!
//! ```text
//! Store ── transact(closure) ──► Transaction ── get · scan · put · delete ──► an engine
//!   ▲                               own writes laid over what the engine reads
//!   └── again, when others wrote what it read; `Conflict` when that happens too often
//! ```
//! A closure may run more than once, so it reads and writes through `t` only, and does nothing
//! else: no message, no file, no lock. What it read was the truth of one moment when it counts,
//! on every engine, scanned ranges included; what it wrote is there whole or not at all.

mod error;
mod record;
mod span;
mod engine;
mod access;
mod store;

pub use access::Transaction;
pub(crate) use engine::{Attempt, End, Engine, Failure, View};
pub use error::StoreError;
pub use record::{Record, Version};
pub(crate) use record::{Stored, pack, unpack};
pub(crate) use span::Range;
pub use span::Span;
pub use store::Store;
