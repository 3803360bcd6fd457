//! Poseidon over the scalar field of BLS12-381, many hashes at a time: the function that
//! columns and trees of sealing are made with (neptune's, standard strength, Merkle-tree
//! domain tag).
//!
//! `rounds` constants and their order · `lanes` sixteen hashes at a time (AVX-512 IFMA).

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod vector;

use crate::cpu::Cpu;
use blstrs::Scalar;
use ff::PrimeField;
use generic_array::typenum::{U2, U4, U8, U11};
use neptune::{Arity as NeptuneArity, Poseidon as Neptune, poseidon::PoseidonConstants};
use std::sync::LazyLock;

/// How many field elements go into one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Two,
    Four,
    Eight,
    Eleven,
}

impl Arity {
    pub const ALL: [Self; 4] = [Self::Two, Self::Four, Self::Eight, Self::Eleven];

    pub fn inputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
            Self::Eleven => 11,
        }
    }
}

/// An element that is no canonical field element (not below the modulus).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hash {hash}, element {element}: not a field element")]
pub struct NotCanonical {
    /// Which hash of the batch.
    pub hash: usize,
    /// Which of its inputs.
    pub element: usize,
}

/// Poseidon of one arity on the best code that the CPU allows.
#[derive(Clone, Copy, Debug)]
pub struct Poseidon {
    arity: Arity,
    code: Code,
}

#[derive(Clone, Copy, Debug)]
enum Code {
    #[cfg(target_arch = "x86_64")]
    Lanes(vector::Ifma),
    Neptune,
}

impl Poseidon {
    pub fn new(arity: Arity, cpu: Cpu) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(ifma) = vector::Ifma::of(cpu) {
            let code = Code::Lanes(ifma);
            return Self { arity, code };
        }
        let _ = cpu;
        let code = Code::Neptune;
        Self { arity, code }
    }

    /// Which code runs.
    pub fn name(&self) -> &'static str {
        match self.code {
            #[cfg(target_arch = "x86_64")]
            Code::Lanes(_) => "avx512-ifma 2x8",
            Code::Neptune => "neptune",
        }
    }

    /// `out.len() / 32` hashes. Element `i` of hash `h` is the 32 little-endian bytes at
    /// `rows[i][h * stride..]`; its hash goes to `out[h * 32..]`. A tree row has
    /// `rows[i] = &below[32 * i..]` and stride `32 * arity`; columns have one row per layer
    /// and stride 32.
    ///
    /// # Errors
    /// The first hash with an element that is none, and the first such element. What `out`
    /// holds then is not defined.
    ///
    /// # Panics
    /// When there are not `arity` rows or a row is too short.
    pub fn hash_rows(
        &self,
        rows: &[&[u8]],
        stride: usize,
        out: &mut [u8],
    ) -> Result<(), NotCanonical> {
        assert_eq!(rows.len(), self.arity.inputs(), "one row per input");
        match self.code {
            #[cfg(target_arch = "x86_64")]
            Code::Lanes(ifma) => ifma.hash_rows(self.arity, rows, stride, out),
            Code::Neptune => match self.arity {
                Arity::Two => portable::<U2>(&C2, rows, stride, out),
                Arity::Four => portable::<U4>(&C4, rows, stride, out),
                Arity::Eight => portable::<U8>(&C8, rows, stride, out),
                Arity::Eleven => portable::<U11>(&C11, rows, stride, out),
            },
        }
    }
}

static C2: LazyLock<PoseidonConstants<Scalar, U2>> = LazyLock::new(PoseidonConstants::new);
static C4: LazyLock<PoseidonConstants<Scalar, U4>> = LazyLock::new(PoseidonConstants::new);
static C8: LazyLock<PoseidonConstants<Scalar, U8>> = LazyLock::new(PoseidonConstants::new);
static C11: LazyLock<PoseidonConstants<Scalar, U11>> = LazyLock::new(PoseidonConstants::new);

fn portable<A: NeptuneArity<Scalar>>(
    constants: &PoseidonConstants<Scalar, A>,
    rows: &[&[u8]],
    stride: usize,
    out: &mut [u8],
) -> Result<(), NotCanonical> {
    let mut preimage = vec![Scalar::from(0); rows.len()];
    for (hash, out) in out.chunks_exact_mut(32).enumerate() {
        for (element, row) in rows.iter().enumerate() {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&row[hash * stride..][..32]);
            preimage[element] =
                Option::from(Scalar::from_repr(bytes)).ok_or(NotCanonical { hash, element })?;
        }
        let digest = Neptune::new_with_preimage(&preimage, constants).hash();
        out.copy_from_slice(&digest.to_repr());
    }
    Ok(())
}
