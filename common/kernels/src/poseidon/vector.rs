//! Batches on vector lanes: which code a batch runs, rows gathered into lanes, hashes
//! scattered from them.
#![expect(unsafe_code, reason = "calls code for a CPU that was asked before")]

use super::lanes::{self, Words8};
use super::rounds::{Divisors, Rounds};
use super::{Arity, C2, C4, C8, C11, NotCanonical};
use crate::cpu::Cpu;
use crate::field::limbs::{Limbs, MODULUS, is_canonical, split, value, words};
use blstrs::Scalar;
use neptune::{Arity as NeptuneArity, poseidon::PoseidonConstants};
use std::sync::LazyLock;

/// Proof that this CPU has AVX-512 IFMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifma(());

static R2: LazyLock<Rounds<Limbs, 3>> = LazyLock::new(|| rounds(&C2));
static R4: LazyLock<Rounds<Limbs, 5>> = LazyLock::new(|| rounds(&C4));
static R8: LazyLock<Rounds<Limbs, 9>> = LazyLock::new(|| rounds(&C8));
static R11: LazyLock<Rounds<Limbs, 12>> = LazyLock::new(|| rounds(&C11));

fn rounds<A: NeptuneArity<Scalar>, const T: usize>(
    neptune: &PoseidonConstants<Scalar, A>,
) -> Rounds<Limbs, T> {
    Rounds::new(neptune, Divisors::of_bits(260, 52)).map(|constant| split(value(constant)))
}

impl Ifma {
    /// When `cpu` allows it and this CPU really has it.
    pub(super) fn of(cpu: Cpu) -> Option<Self> {
        (cpu.ifma && Cpu::detect().ifma).then_some(Self(()))
    }

    /// [`super::Poseidon::hash_rows`].
    pub(super) fn hash_rows(
        self,
        arity: Arity,
        rows: &[&[u8]],
        stride: usize,
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        match arity {
            Arity::Two => self.batch(&R2, rows, stride, out),
            Arity::Four => self.batch(&R4, rows, stride, out),
            Arity::Eight => self.batch(&R8, rows, stride, out),
            Arity::Eleven => self.batch(&R11, rows, stride, out),
        }
    }

    fn batch<const T: usize>(
        self,
        rounds: &Rounds<Limbs, T>,
        rows: &[&[u8]],
        stride: usize,
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        let mut first = 0;
        for out in out.chunks_mut(2 * 8 * 32) {
            // a batch that fills one group only does not pay for two
            if out.len() > 8 * 32 {
                self.groups::<T, 2>(rounds, rows, stride, first, out)?;
            } else {
                self.groups::<T, 1>(rounds, rows, stride, first, out)?;
            }
            first += 16;
        }
        Ok(())
    }

    /// At most `G` × 8 hashes, the first of which is hash `first` of the batch. Lanes without
    /// a hash calculate with zeros.
    fn groups<const T: usize, const G: usize>(
        self,
        rounds: &Rounds<Limbs, T>,
        rows: &[&[u8]],
        stride: usize,
        first: usize,
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        let mut input: [[Words8; G]; T] = [[[[0; 8]; 4]; G]; T];
        for h in 0..out.len() / 32 {
            let (g, lane) = (h / 8, h % 8);
            let hash = first + h;
            for (element, row) in rows.iter().enumerate() {
                let words = words(&row[hash * stride..][..32]);
                // one comparison settles all elements but one in 2^63
                if words[3] >= MODULUS[3] && !is_canonical(&words) {
                    return Err(NotCanonical { hash, element });
                }
                for (slot, word) in input[element + 1][g].iter_mut().zip(words) {
                    slot[lane] = word;
                }
            }
        }
        // SAFETY: `self` proves that the CPU has AVX-512 F, DQ and IFMA
        let hashes = unsafe { lanes::hash(rounds, &input) };
        for (h, out) in out.chunks_exact_mut(32).enumerate() {
            for (word, out) in hashes[h / 8].iter().zip(out.chunks_exact_mut(8)) {
                out.copy_from_slice(&word[h % 8].to_le_bytes());
            }
        }
        Ok(())
    }
}
