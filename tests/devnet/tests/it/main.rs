//! Tests of the devnet from outside: its JSON-RPC and its program.

mod support;

mod blocks;
mod contract;
mod data;
mod docs;
mod notify;
mod process;
mod rpc;
mod schema;
mod switches;
mod trouble;
