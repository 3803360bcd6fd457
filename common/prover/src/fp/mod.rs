//! The base field of BLS12-381, over which its points lie, in the form that vector units
//! calculate with: eight elements side by side, eight limbs of 52 bits each.
//!
//! `limbs` the modulus and numbers as limbs · `lanes` arithmetic on eight elements
//! (AVX-512 IFMA).

pub(crate) mod lanes;
pub(crate) mod limbs;
