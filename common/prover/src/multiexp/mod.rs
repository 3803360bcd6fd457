//! Multiexponentiation, Σ scalar × point: most of the work of a proof.
//!
//! `points` points as the lanes take them · `additions` sums of runs of points · `digits` scalars
//! in windows · `buckets` one window. Here: which scalars need no multiplication, how the work is
//! shared out among threads, and the same on CPUs without lanes, by blst.

#[cfg(target_arch = "x86_64")]
mod additions;
#[cfg(target_arch = "x86_64")]
mod buckets;
#[cfg(target_arch = "x86_64")]
mod digits;
mod portable;
#[cfg(target_arch = "x86_64")]
mod points;
#[cfg(target_arch = "x86_64")]
mod vector;

pub use portable::G2Bases;

use crate::run::Run;
use blstrs::{G1Affine, G1Projective};
use damocles_kernels::{cpu::Cpu, crew::Cancelled, field::limbs::Words};

/// Points of G1 in the form that this CPU calculates with: 128 bytes each with lanes, 96 without.
#[derive(Debug)]
pub struct Bases(Form);

#[derive(Debug)]
enum Form {
    #[cfg(target_arch = "x86_64")]
    Vector(vector::InLanes),
    Portable(portable::InWords),
}

impl Bases {
    /// Converts points. They may be at infinity, and repeat.
    pub fn new(cpu: Cpu, points: &[G1Affine]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            return Self(Form::Vector(vector::InLanes::new(points)));
        }
        let _ = cpu;
        Self(Form::Portable(portable::InWords::new(points)))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Form::Vector(bases) => bases.len(),
            Form::Portable(bases) => bases.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Σ scalar × point, of as many points as there are scalars.
    ///
    /// Memory besides: 36 bytes for each scalar that is not 0 or 1, and for each thread 16 MiB and
    /// 4 bytes for each such scalar (at most 4 million at a time).
    ///
    /// # Errors
    /// The run was cancelled.
    ///
    /// # Panics
    /// When there are more scalars than points.
    pub fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<G1Projective, Cancelled> {
        assert!(scalars.len() <= self.len(), "more scalars than points");
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Form::Vector(bases) => bases.multiexp(scalars, run),
            Form::Portable(bases) => Ok(bases.multiexp(scalars)),
        }
    }
}

#[cfg(test)]
mod tests;
