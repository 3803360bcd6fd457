//! Figures for docs/benchmarks.md, as this machine gives them. They print and never judge:
//! a slow machine is not a fault.

pub mod devnet;
pub mod idle;
