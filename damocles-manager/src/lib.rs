//! The manager's rooms, from the ground floor up. A room uses only rooms listed above it;
//! rooms of the trade (sealing, commit, post) do not know each other: `daemon` wires them.

pub mod chain;
pub mod cli;
pub mod commit;
pub mod config;
pub mod daemon;
pub mod db;
pub mod messages;
pub mod model;
pub mod policy;
pub mod post;
pub mod rpc;
pub mod sealing;
pub mod storage;
