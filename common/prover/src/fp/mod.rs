//! The base field of BLS12-381, over which its points lie.
//!
//! `limbs` the modulus and numbers as words and limbs · `coordinate` one element at a time, and its
//! extension for G2 · `lanes` eight elements side by side, eight limbs of 52 bits each (AVX-512
//! IFMA) · `element` eight elements of it or of its extension.

pub(crate) mod coordinate;
#[cfg(target_arch = "x86_64")]
pub(crate) mod element;
#[cfg(target_arch = "x86_64")]
pub(crate) mod lanes;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "limbs are for lanes")
)]
pub(crate) mod limbs;
