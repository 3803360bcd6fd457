//! Poseidon over the scalar field of BLS12-381, many hashes at a time: the function that
//! columns and trees of sealing are made with (neptune's, standard strength, Merkle-tree
//! domain tag).
//!
//! `rounds` constants and their order · `lanes` sixteen hashes at a time (AVX-512 IFMA) ·
//! `words` one hash at a time (any CPU) · `batch` from rows to hashes with either.

mod rounds;
mod words;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod batch;

use crate::cpu::Cpu;
use batch::Code;

/// What hashes on such a CPU, for people.
pub fn code(cpu: Cpu) -> &'static str {
    if cpu.ifma { LANES } else { WORDS }
}

const LANES: &str = "avx512-ifma 2x8";
const WORDS: &str = "portable";

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

impl Poseidon {
    pub fn new(arity: Arity, cpu: Cpu) -> Self {
        let code = Code::best(cpu);
        Self { arity, code }
    }

    /// neptune's own code, which filecoin-proofs hashes with: what the others are compared with.
    pub fn neptune(arity: Arity) -> Self {
        let code = Code::Neptune;
        Self { arity, code }
    }

    /// Which code runs.
    pub fn name(&self) -> &'static str {
        self.code.name()
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
        self.code.hash_rows(self.arity, rows, stride, out)
    }
}
