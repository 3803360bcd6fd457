//! From rows to hashes: which code a batch runs on, elements gathered and checked, hashes put
//! back.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls code for a CPU that was asked before")
)]

#[cfg(target_arch = "x86_64")]
use super::lanes::{self, Words8};
use super::rounds::{Divisors, Rounds};
use super::words;
use super::{Arity, NotCanonical};
use crate::cpu::Cpu;
use crate::field::limbs::{self, Words, is_canonical, put, value};
#[cfg(target_arch = "x86_64")]
use crate::field::limbs::{Limbs, split};
use blstrs::Scalar;
use ff::PrimeField;
use generic_array::typenum::{U2, U4, U8, U11};
use neptune::{Arity as NeptuneArity, Poseidon as Neptune, poseidon::PoseidonConstants};
use std::sync::LazyLock;

/// Constants of one arity in each code's form, made when first asked for.
struct Constants<A: NeptuneArity<Scalar>, const T: usize> {
    neptune: LazyLock<PoseidonConstants<Scalar, A>>,
    words: LazyLock<Rounds<Words, T>>,
    #[cfg(target_arch = "x86_64")]
    lanes: LazyLock<Rounds<Limbs, T>>,
}

macro_rules! constants {
    ($name:ident, $arity:ty, $elements:literal) => {
        static $name: Constants<$arity, $elements> = Constants {
            neptune: LazyLock::new(PoseidonConstants::new),
            words: LazyLock::new(|| {
                Rounds::new(&$name.neptune, Divisors::of_bits(256, 64)).map(value)
            }),
            #[cfg(target_arch = "x86_64")]
            lanes: LazyLock::new(|| {
                Rounds::new(&$name.neptune, Divisors::of_bits(260, 52))
                    .map(|constant| split(value(constant)))
            }),
        };
    };
}

constants!(TWO, U2, 3);
constants!(FOUR, U4, 5);
constants!(EIGHT, U8, 9);
constants!(ELEVEN, U11, 12);

/// Who computes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    #[cfg(target_arch = "x86_64")]
    Lanes(Ifma),
    Words,
    Neptune,
}

/// Proof that this CPU has AVX-512 IFMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifma(());

/// A batch: see [`super::Poseidon::hash_rows`].
struct Batch<'a> {
    rows: &'a [&'a [u8]],
    stride: usize,
    out: &'a mut [u8],
}

impl Code {
    /// The fastest code that `cpu` allows and this CPU really has.
    pub(super) fn best(cpu: Cpu) -> Self {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            return Self::Lanes(Ifma(()));
        }
        let _ = cpu;
        Self::Words
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Lanes(_) => super::LANES,
            Self::Words => super::WORDS,
            Self::Neptune => "neptune",
        }
    }

    pub(super) fn hash_rows(
        self,
        arity: Arity,
        rows: &[&[u8]],
        stride: usize,
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        let batch = Batch { rows, stride, out };
        match arity {
            Arity::Two => batch.hash(self, &TWO),
            Arity::Four => batch.hash(self, &FOUR),
            Arity::Eight => batch.hash(self, &EIGHT),
            Arity::Eleven => batch.hash(self, &ELEVEN),
        }
    }
}

impl Batch<'_> {
    fn hash<A: NeptuneArity<Scalar>, const T: usize>(
        self,
        code: Code,
        constants: &Constants<A, T>,
    ) -> Result<(), NotCanonical> {
        match code {
            #[cfg(target_arch = "x86_64")]
            Code::Lanes(ifma) => self.on_lanes(ifma, &constants.lanes),
            Code::Words => self.on_words(&constants.words),
            Code::Neptune => self.by_neptune(&constants.neptune),
        }
    }

    /// Element of a hash, when it is one.
    #[inline]
    fn element(&self, hash: usize, element: usize) -> Result<Words, NotCanonical> {
        let words = limbs::words(&self.rows[element][hash * self.stride..][..32]);
        if is_canonical(&words) {
            Ok(words)
        } else {
            Err(NotCanonical { hash, element })
        }
    }

    fn hashes(&self) -> usize {
        self.out.len() / 32
    }

    #[cfg(target_arch = "x86_64")]
    fn on_lanes<const T: usize>(
        mut self,
        ifma: Ifma,
        rounds: &Rounds<Limbs, T>,
    ) -> Result<(), NotCanonical> {
        let hashes = self.hashes();
        for first in (0..hashes).step_by(16) {
            // what fills one group only does not pay for two
            if hashes - first > 8 {
                self.groups::<T, 2>(ifma, rounds, first)?;
            } else {
                self.groups::<T, 1>(ifma, rounds, first)?;
            }
        }
        Ok(())
    }

    /// At most `G` × 8 hashes. Lanes without a hash calculate with zeros.
    #[cfg(target_arch = "x86_64")]
    fn groups<const T: usize, const G: usize>(
        &mut self,
        Ifma(()): Ifma,
        rounds: &Rounds<Limbs, T>,
        first: usize,
    ) -> Result<(), NotCanonical> {
        let hashes = (self.hashes() - first).min(8 * G);
        let mut input: [[Words8; G]; T] = [[[[0; 8]; 4]; G]; T];
        for h in 0..hashes {
            for (element, input) in input[1..].iter_mut().enumerate() {
                let words = self.element(first + h, element)?;
                for (eight, word) in input[h / 8].iter_mut().zip(words) {
                    eight[h % 8] = word;
                }
            }
        }
        // SAFETY: `Ifma` proves that the CPU has AVX-512 F, DQ and IFMA
        let results = unsafe { lanes::hash(rounds, &input) };
        for h in 0..hashes {
            let hash = results[h / 8].map(|eight| eight[h % 8]);
            put(&mut self.out[32 * (first + h)..], hash);
        }
        Ok(())
    }

    fn on_words<const T: usize>(self, rounds: &Rounds<Words, T>) -> Result<(), NotCanonical> {
        for hash in 0..self.hashes() {
            let mut input = [[0; 4]; T];
            for (element, input) in input[1..].iter_mut().enumerate() {
                *input = self.element(hash, element)?;
            }
            put(&mut self.out[32 * hash..], words::hash(rounds, &input));
        }
        Ok(())
    }

    fn by_neptune<A: NeptuneArity<Scalar>>(
        self,
        constants: &PoseidonConstants<Scalar, A>,
    ) -> Result<(), NotCanonical> {
        let mut preimage = vec![Scalar::from(0); self.rows.len()];
        for hash in 0..self.hashes() {
            for (element, row) in self.rows.iter().enumerate() {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(&row[hash * self.stride..][..32]);
                preimage[element] =
                    Option::from(Scalar::from_repr(bytes)).ok_or(NotCanonical { hash, element })?;
            }
            let digest = Neptune::new_with_preimage(&preimage, constants).hash();
            put(&mut self.out[32 * hash..], value(&digest));
        }
        Ok(())
    }
}
