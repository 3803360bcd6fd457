//! damocles-worker: seals sectors, one local state machine per sealing thread.
//!
//! From the ground floor up; a module uses only those above it in this list.

pub mod stores;
pub mod hardware;
pub mod pipeline;
pub mod endpoint;
pub mod managers;
pub mod connection;
pub mod figures;
pub mod config;
pub mod resources;
pub mod draft;
pub mod reload;
pub mod document;
pub mod giving_up;
pub mod draining;
pub mod event;
pub mod metadb;
pub mod mounts;
pub mod disks;
pub mod manager;
pub mod profiles;
pub mod pieces;
pub mod control;
pub mod view;
pub mod plans;
pub mod threads;
pub mod metrics;
pub mod rpc;
pub mod ping;
pub mod greeting;
pub mod daemon;
pub mod cli;
