//! Groth16 proofs over BLS12-381 on the CPU: what bellperson computes, bit for bit where the
//! randomness is the same, several times faster. Pure computation on memory and files; the
//! numbers in vector lanes, the threads and what the CPU has come from `damocles-kernels`.
//!
//! Rooms from the ground up: `run` who works, until when · `kept` numbers in memory or in a
//! mapped file · `large` vectors in large pages ·
//! `wiped` numbers that nobody may find later · `fp` the base field · `multiexp` sums of multiples of points · `fft` transforms over the scalar field, and the
//! quotient polynomial h · `synthesis` a circuit's witness · `parameters` decoded once · `stored`
//! these in a file · `setup` parameters from nothing · `reference` bellperson, to measure against ·
//! `prove` a proof · `batch` those of several partitions, in a bounded memory.

pub mod run;

mod kept;

mod large;

mod wiped;

mod fp;

pub mod multiexp;

pub mod fft;

pub mod synthesis;

pub mod parameters;

pub mod stored;

pub mod setup;

pub mod reference;

pub mod prove;

pub mod batch;
