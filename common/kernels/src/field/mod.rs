//! The scalar field of BLS12-381 in the form that vector units calculate with: eight elements
//! side by side, five limbs of 52 bits each. Poseidon and the prover's FFT stand on it.
//!
//! `limbs` the modulus and numbers as limbs · `lanes` arithmetic on eight elements
//! (AVX-512 IFMA) · `loose` sums of them that are carried late · `fixed` products
//! with constants · `words` arithmetic on one element (any CPU) · `reference` the same results
//! from arithmetic anybody can check.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        clippy::missing_safety_doc,
        reason = "a function that asks for features of the CPU names them"
    )
)]

#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "limbs are for lanes")
)]
pub mod limbs;
pub mod words;

#[cfg(target_arch = "x86_64")]
pub mod lanes;
#[cfg(target_arch = "x86_64")]
pub mod loose;
#[cfg(target_arch = "x86_64")]
pub mod fixed;
#[cfg(test)]
mod reference;
