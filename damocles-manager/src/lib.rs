//! The manager's rooms, from the ground floor up. A room uses only rooms listed above it;
//! rooms of the trade (sealing, commit, post) do not know each other: `daemon` wires them.

pub mod model;
pub mod deal;
pub mod policy;
pub mod served;
pub mod db;
pub mod roles;
pub mod retention;
pub mod chain;
pub mod wallet;
pub mod overview;
pub mod messages;
pub mod storage;
pub mod pieces;
pub mod deals;
pub mod sealing;
pub mod commit;
pub mod post;
pub mod contact;
pub mod config;
pub mod reload;
pub mod profiles;
pub mod rpc;
pub mod state;
pub mod upkeep;
pub mod cli;
pub mod daemon;
