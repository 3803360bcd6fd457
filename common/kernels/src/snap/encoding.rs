//! The encoding of an updated sector (FIP-0019, storage-proofs-update 19.1): every node of the
//! new replica is
//!
//! ```text
//! key + data × ρ(i)        in the scalar field
//! ```
//!
//! with the node of the old replica, the node of the new data, and a number ρ that is the same
//! for all nodes whose index has the same `h` top bits: a Poseidon hash of these bits and of φ,
//! which hashes the new CommD and the old CommR.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls code for a CPU that was asked before")
)]

use crate::cpu::Cpu;
use crate::field::limbs::{self, Words, is_canonical, put, value};
use crate::field::words::{plus, subtract_once, times};
use blstrs::Scalar;
use ff::{Field, PrimeField};
use generic_array::typenum::U2;
use neptune::{
    Poseidon, Strength,
    hash_type::{CType, HashType},
    poseidon::PoseidonConstants,
};
use std::sync::LazyLock;

/// Bytes of a node.
const NODE: usize = 32;

/// Hashes of two elements that are no tree: a domain of their own.
static RANDOMNESS: LazyLock<PoseidonConstants<Scalar, U2>> = LazyLock::new(|| {
    let domain = HashType::Custom(CType::Arbitrary(1));
    PoseidonConstants::new_with_strength_and_type(Strength::Standard, domain)
});

/// What is no field element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    #[error("the new CommD is not a field element")]
    CommD,
    #[error("the old CommR is not a field element")]
    CommR,
    #[error("node {0} of the old replica is not a field element")]
    Key(u64),
    #[error("node {0} of the data is not a field element; is it fr32-padded?")]
    Data(u64),
}

/// How many top bits of a node's index choose ρ in a sector of so many nodes.
pub fn index_bits(nodes: u64) -> u32 {
    if nodes <= 1 << 10 { 1 } else { 10 }
}

/// The encoding of one sector.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Index of a node → index of its ρ.
    shift: u32,
    rhos: Vec<Scalar>,
    /// This CPU has AVX-512 IFMA and may use it.
    #[cfg(target_arch = "x86_64")]
    lanes: bool,
}

impl Encoding {
    /// `nodes` is the sector's size / 32, a power of two of at least 2.
    ///
    /// # Panics
    /// When it is not.
    pub fn new(
        nodes: u64,
        comm_d_new: [u8; NODE],
        comm_r_old: [u8; NODE],
        cpu: Cpu,
    ) -> Result<Self, NotCanonical> {
        assert!(nodes.is_power_of_two() && nodes >= 2);
        let element = |bytes| Option::<Scalar>::from(Scalar::from_repr(bytes));
        let hash = |pair: [Scalar; 2]| Poseidon::new_with_preimage(&pair, &*RANDOMNESS).hash();
        let phi = hash([
            element(comm_d_new).ok_or(NotCanonical::CommD)?,
            element(comm_r_old).ok_or(NotCanonical::CommR)?,
        ]);
        let bits = index_bits(nodes);
        let _ = cpu; // says something on x86-64 only
        Ok(Self {
            shift: nodes.ilog2() - bits,
            rhos: (0..1 << bits)
                .map(|index| hash([phi, Scalar::from(index)]))
                .collect(),
            #[cfg(target_arch = "x86_64")]
            lanes: cpu.here().ifma,
        })
    }

    /// Nodes of the new replica from node `first` on, as many as `out` holds.
    ///
    /// # Errors
    /// Names the first node that is no field element. What `out` holds then is not defined.
    ///
    /// # Panics
    /// When the slices differ in length, hold no whole nodes, or reach beyond the sector.
    pub fn encode(
        &self,
        first: u64,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        assert!(
            key.len() == out.len() && data.len() == out.len() && out.len().is_multiple_of(NODE)
        );
        let mut done = 0;
        while done < out.len() {
            let node = first + (done / NODE) as u64;
            let rho = (node >> self.shift) as usize;
            // nodes with this ρ
            let left = ((rho as u64 + 1) << self.shift) - node;
            let length = usize::try_from(left).map_or(usize::MAX, |left| left.saturating_mul(NODE));
            let part = done..out.len().min(done.saturating_add(length));
            self.encode_with(
                &self.rhos[rho],
                node,
                &key[part.clone()],
                &data[part.clone()],
                &mut out[part.clone()],
            )?;
            done = part.end;
        }
        Ok(())
    }

    fn encode_with(
        &self,
        rho: &Scalar,
        first: u64,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        #[cfg(target_arch = "x86_64")]
        let done = if self.lanes {
            // SAFETY: `lanes` says that this CPU has AVX-512 F, DQ and IFMA
            unsafe { lanes::encode(rho, first, key, data, out)? }
        } else {
            0
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        // × 2^256, which the product is divided by
        let rho = value(&(rho * Scalar::from(2).pow_vartime([256])));
        for at in (done..out.len()).step_by(NODE) {
            let [key, data] = elements(first, key, data, at)?;
            let sum = subtract_once(plus(times(&data, &rho), &key));
            put(&mut out[at..], sum);
        }
        Ok(())
    }
}

/// The two elements `at` bytes behind node `first`.
#[inline]
fn elements(first: u64, key: &[u8], data: &[u8], at: usize) -> Result<[Words; 2], NotCanonical> {
    let [key, data] = [key, data].map(|bytes| limbs::words(&bytes[at..at + NODE]));
    let node = || first + (at / NODE) as u64;
    if !is_canonical(&key) {
        Err(NotCanonical::Key(node()))
    } else if !is_canonical(&data) {
        Err(NotCanonical::Data(node()))
    } else {
        Ok([key, data])
    }
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use super::{NODE, NotCanonical, elements};
    use crate::field::lanes::Lanes;
    use crate::field::limbs::{put, split, value};
    use blstrs::Scalar;
    use ff::Field;

    /// As many nodes as make whole groups of eight; how many bytes were done.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn encode(
        rho: &Scalar,
        first: u64,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, NotCanonical> {
        // key × R + data × ρ·R, divided by R = 2^260: the sum of two products of elements
        // below p is reduced to below (2/35.3 + 1) p, so that to_words may take it
        let r = Scalar::from(2).pow_vartime([260]);
        let [r, rho] = [r, r * rho].map(|factor| Lanes::splat(&split(value(&factor))));
        let whole = out.len() - out.len() % (8 * NODE);
        for group in (0..whole).step_by(8 * NODE) {
            let mut words = [[[0; 8]; 4]; 2];
            for lane in 0..8 {
                let pair = elements(first, key, data, group + lane * NODE)?;
                for (words, element) in words.iter_mut().zip(pair) {
                    for (eight, word) in words.iter_mut().zip(element) {
                        eight[lane] = word;
                    }
                }
            }
            let [key, data] = [Lanes::from_words(&words[0]), Lanes::from_words(&words[1])];
            let sum = Lanes::sum_of_products([&key, &r], [&data, &rho]).to_words();
            for lane in 0..8 {
                put(
                    &mut out[group + lane * NODE..],
                    sum.map(|eight| eight[lane]),
                );
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scalar(seed: [u64; 4]) -> Scalar {
        let radix = Scalar::from(u64::MAX) + Scalar::ONE;
        seed.iter()
            .fold(Scalar::ZERO, |x, word| x * radix + Scalar::from(*word))
    }

    fn any_scalar() -> impl Strategy<Value = Scalar> {
        prop_oneof![
            8 => any::<[u64; 4]>().prop_map(scalar),
            1 => Just(Scalar::ZERO),
            1 => Just(-Scalar::ONE),
        ]
    }

    fn bytes(elements: &[Scalar]) -> Vec<u8> {
        elements.iter().flat_map(PrimeField::to_repr).collect()
    }

    fn codes(nodes: u64) -> [Encoding; 2] {
        [Cpu::PORTABLE, Cpu::detect()]
            .map(|cpu| Encoding::new(nodes, [7; NODE], [9; NODE], cpu).unwrap())
    }

    proptest! {
        #[test]
        fn any_part_of_a_sector_is_key_plus_data_times_rho(
            key in prop::collection::vec(any_scalar(), 64),
            data in prop::collection::vec(any_scalar(), 64),
            first in 0..64usize,
            length in 0..64usize,
        ) {
            let end = 64.min(first + length);
            for code in codes(64) {
                let expected: Vec<Scalar> = (first..end)
                    .map(|node| key[node] + data[node] * code.rhos[node / 32])
                    .collect();
                let mut out = vec![0; 32 * expected.len()];
                code.encode(first as u64, &bytes(&key[first..end]), &bytes(&data[first..end]), &mut out)
                    .unwrap();
                prop_assert_eq!(out, bytes(&expected));
            }
        }
    }

    #[test]
    fn the_first_node_that_is_no_element_is_told() {
        for code in codes(64) {
            for node in [0, 5, 31, 32, 63] {
                let good = vec![1; 64 * NODE];
                let mut bad = good.clone();
                bad[node * NODE..][..NODE].copy_from_slice(&[0xff; NODE]);
                let mut out = vec![0; 64 * NODE];
                assert_eq!(
                    code.encode(0, &bad, &good, &mut out),
                    Err(NotCanonical::Key(node as u64))
                );
                assert_eq!(
                    code.encode(0, &good, &bad, &mut out),
                    Err(NotCanonical::Data(node as u64))
                );
            }
        }
        let wrong = Encoding::new(64, [0xff; NODE], [0; NODE], Cpu::PORTABLE);
        assert_eq!(wrong.unwrap_err(), NotCanonical::CommD);
        let wrong = Encoding::new(64, [0; NODE], [0xff; NODE], Cpu::PORTABLE);
        assert_eq!(wrong.unwrap_err(), NotCanonical::CommR);
    }
}
