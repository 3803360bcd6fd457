//! State machines as tables that can be printed: the plans of the worker, and in the manager
//! the life of a chain message, of a WindowPoSt, of the job that a worker proves one by, of a
//! declaration of recoveries, of a deal and of a block. Pure data: no IO, no clock, no policy.
//!
//! A table is a function from a state to its edges, an exhaustive `match` without wildcard,
//! so that a forgotten state does not compile. The documents under `docs/flows/` are rendered
//! from the tables and compared in a test.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod table;
pub mod state;
pub mod seal;
pub mod plan;
pub mod message;
pub mod post;
pub mod job;
pub mod deal;
pub mod recovery;
pub mod block;

pub use plan::{IllegalStep, PlanName};
pub use seal::Finding;
pub use state::{Ev, State};
