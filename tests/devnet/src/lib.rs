//! damocles-devnet: a one-node Filecoin network for tests and demos.
//!
//! This file is the floor plan: a module uses only modules declared above it.

/// Numbers that a network may choose.
pub mod policy;
/// IPLD blocks in memory.
pub mod store;

/// Signed messages and their CIDs.
pub mod message;

/// Block headers and tipsets.
pub mod block;

/// Ticket and beacon chains, and drawing from them.
pub mod randomness;

/// Gas and fees (pure).
pub mod gas;

/// Deposits, pledges and rewards.
pub mod economy;

/// The state tree and the addresses in it.
pub mod tree;

/// Actor codes of an older network version.
pub mod codes;

/// Claimed power and the cron queue.
pub mod power;

/// Allocations and claims.
pub mod registry;

/// Deals.
pub mod market;

/// Data that a test orders.
pub mod orders;

/// Verification of proofs.
pub mod proofs;

/// The miner actor.
pub mod miner;

/// Runs messages.
pub mod vm;

/// Messages that wait.
pub mod mempool;

/// Tipsets and what came of them.
pub mod chain;

/// What miners make of rounds.
pub mod rounds;

/// Makes tipsets.
pub mod engine;

/// Reads the state of a tipset.
pub mod view;

/// Sectors sealed before genesis.
pub mod preseal;

/// The first tipset.
pub mod genesis;

/// The chain on disk.
pub mod snapshot;

/// The network behind its RPC server.
pub mod network;

/// What a node tells of the chain.
pub mod reading;

/// What a miner is told before a round.
pub mod mining;

/// What a block must be.
pub mod judge;

/// Blocks of miners.
pub mod production;

/// Trouble on request.
pub mod switches;

/// Allocations, claims and deals: ordered, and read at a tipset.
pub mod data;

/// How a node words a failure.
pub mod verdict;

/// How messages get into the pool.
pub mod outbox;

/// The network to disk and back.
pub mod persist;

/// How errors end the program.
pub mod fatal;

/// Tokens.
pub mod auth;

/// Keys of the node.
pub mod wallet;

/// Which message answered which id.
pub mod sent;

/// The JSON-RPC server.
pub mod rpc;

/// How a real node answers, as a suite for everything that stands in for one.
pub mod contract;

/// The command line.
pub mod cli;

/// From options to a node.
pub mod start;

/// Measures.
pub mod bench;

/// What the commands do.
pub mod daemon;

#[cfg(test)]
mod tests;
