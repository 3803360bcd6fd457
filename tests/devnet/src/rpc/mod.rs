//! The node's JSON-RPC: `Filecoin.*` as Lotus serves it, and our own `Devnet.*`. Answers come
//! from [`Network`](crate::network::Network); nothing here decides what the chain does.
//!
//! From the ground floor up: what a method gets and may fail with, shapes from chain types, the
//! node, the methods by theme, the table of all of them, the protocol, the transport.

mod call;
mod shapes;
mod door;

pub mod node;

mod chain;
mod common;
mod devnet;
mod state;
mod wallet;

mod data;
mod gas;
mod miner;
mod mpool;
mod production;
mod switch;

pub mod table;

mod dispatch;

mod ws;

mod http;

pub use call::{Params, RpcError};
pub use door::Kind;
pub use http::{router, serve};
pub use node::Node;
