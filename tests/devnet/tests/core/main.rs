//! The chain core, tried through its library: messages, the miner actor's rules, deadlines
//! with real WindowPoSt proofs, randomness, snapshot. Sealing proofs (a SNARK of 40 s) are
//! left to `tests/devnet/tests/seal.rs` and to the scenarios.
mod compact;
mod house;
mod messages;
mod post;
mod precommit;
mod randomness;
mod snapshot;
mod state;
