//! The scalar field of BLS12-381 in the form that vector units calculate with: eight elements
//! side by side, five limbs of 52 bits each. Poseidon stands on it; a prover's FFT may, too.
//!
//! `limbs` the modulus and numbers as limbs · `lanes` arithmetic on eight elements
//! (AVX-512 IFMA) · `words` arithmetic on one element (any CPU) · `reference` the same results
//! from arithmetic anybody can check.

#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "limbs are for lanes")
)]
pub mod limbs;
pub mod words;

#[cfg(target_arch = "x86_64")]
pub mod lanes;
#[cfg(test)]
mod reference;
