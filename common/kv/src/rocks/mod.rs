//! RocksDB below the store. Many transactions share a sync: each goes into the log and is seen by
//! the next ones at once, and whoever finds no sync running does one for all that are there;
//! nobody hears of a commit that is to be on the disk before it is.
//!
//! RocksDB stops for good after a failed write of its log, also when the disk is well again a
//! second later. So a write that failed is tried once more on a database that was closed and
//! opened anew; what was acknowledged is in the log and comes back with it.

mod options;
mod glimpse;
mod state;
mod commit;
mod reads;
mod moment;

pub(crate) use commit::Rocks;
pub(crate) use glimpse::Glimpse;
pub use options::Memory;
pub(crate) use options::{Log, db_options, families};

#[cfg(test)]
mod tests;
