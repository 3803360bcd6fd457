//! Multiexponentiation, Σ scalar × point: most of the work of a proof.
//!
//! `digits` scalars in windows · `rounds` which scalars need no multiplication, and how the work is
//! shared out among threads · `affine` sums of runs of points, `portable` one window, on plain
//! registers · `points`, `additions`, `buckets` and `vector` the same in lanes · `multiples` many of
//! one point.

#[cfg(target_arch = "x86_64")]
mod additions;
mod affine;
#[cfg(target_arch = "x86_64")]
mod buckets;
mod digits;
pub(crate) mod multiples;
mod portable;
mod rounds;
#[cfg(target_arch = "x86_64")]
mod points;
#[cfg(target_arch = "x86_64")]
mod vector;

use crate::{kept::Section, run::Run};
use blstrs::{G1Affine, G1Projective, G2Affine, G2Projective};
use damocles_kernels::{cpu::Cpu, crew::Cancelled, field::limbs::Words};

/// Points of G1 in the form that this CPU calculates with: 128 bytes each with lanes, 96 without.
#[derive(Debug)]
pub struct Bases(Form);

#[derive(Debug)]
enum Form {
    #[cfg(target_arch = "x86_64")]
    Vector(vector::InLanes),
    Portable(portable::InWords<portable::G1>),
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

    pub(crate) fn are_in_lanes(&self) -> bool {
        !matches!(self.0, Form::Portable(_))
    }

    /// What a file keeps of them: the points, and the numbers of those at infinity where they
    /// stand apart.
    pub(crate) fn sections(&self) -> [&[u8]; 2] {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Form::Vector(bases) => bases.sections(),
            Form::Portable(bases) => [bases.section(), &[]],
        }
    }

    /// Out of a file that was written where the CPU had lanes as this one has, or had none.
    pub(crate) fn mapped(cpu: Cpu, points: &Section<'_>, infinite: &Section<'_>) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            let bases = vector::InLanes::mapped(points.numbers()?, infinite.numbers()?);
            return Some(Self(Form::Vector(bases)));
        }
        let _ = (cpu, infinite);
        let bases = portable::InWords::mapped(points.numbers()?);
        Some(Self(Form::Portable(bases)))
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
    /// Memory besides: 36 bytes for each scalar that is not 0 or 1, and for each thread 16 MiB
    /// (8 without lanes) and 4 bytes for each such scalar (at most 4 million at a time).
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
            Form::Portable(bases) => bases.multiexp(scalars, run),
        }
    }
}

/// Points of G2, 192 bytes each.
#[derive(Debug)]
pub struct G2Bases(portable::InWords<portable::G2>);

impl G2Bases {
    /// Converts points. They may be at infinity, and repeat.
    pub fn new(points: &[G2Affine]) -> Self {
        Self(portable::InWords::new(points))
    }

    /// What a file keeps of them.
    pub(crate) fn section(&self) -> &[u8] {
        self.0.section()
    }

    pub(crate) fn mapped(points: &Section<'_>) -> Option<Self> {
        Some(Self(portable::InWords::mapped(points.numbers()?)))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Σ scalar × point, of as many points as there are scalars.
    ///
    /// # Errors
    /// The run was cancelled.
    ///
    /// # Panics
    /// When there are more scalars than points.
    pub fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<G2Projective, Cancelled> {
        assert!(scalars.len() <= self.len(), "more scalars than points");
        self.0.multiexp(scalars, run)
    }
}

#[cfg(test)]
mod tests;
