//! Sealing computations of our own, for x86-64 CPUs with vector units: what filecoin-proofs
//! computes, bit for bit, several times faster. Pure computation on files and memory: no
//! config, no chain, no async. Which code runs is decided at run time by what the CPU has
//! ([`cpu::Cpu`]); without the instructions the same functions run portable code.
//!
//! Rooms from the ground up: `cpu` · `crew` chunks of work shared out among threads · `field`
//! numbers in vector lanes (the prover's too) · `poseidon`, `sha` hash functions over many
//! inputs at once · `tree` Merkle trees and their files · `fr32` padding of payload · `piece`
//! pieces on their way into a sector · `pc1` SDR labels · `pc2` columns, encoding, trees ·
//! `snap` new data into a sealed sector.

pub mod cpu;

pub mod crew;

pub mod field;

pub mod poseidon;

pub mod sha;

pub mod tree;

pub mod fr32;

pub mod piece;

pub mod pc1;

pub mod pc2;

pub mod snap;
