//! The house under test: real daemons, the devnet and real proofs, started from files and
//! asked through their own doors. Scenario tests, `make demo` and `make bench` stand on it.
//! Nothing of the daemons' insides is used here, only what crosses their wires.

pub mod wait;
pub mod usage;
pub mod copy;
pub mod alone;
pub mod process;
pub mod rpc;
pub mod node;
pub mod render;
pub mod files;
pub mod house;
pub mod managers;
pub mod unaided;
pub mod scenario;
pub mod demo;
pub mod idle;
pub mod bench;
pub mod peers;
