//! Multiexponentiation, Σ scalar × point: most of the work of a proof.
//!
//! `digits` scalars in windows · `rounds` which scalars need no multiplication, and how the work is
//! shared out among threads · `curve` G1 and G2 · `affine` sums of runs of points, `portable` one window, on plain
//! registers · `points`, `additions`, `buckets` and `vector` the same in lanes · `multiples` many of
//! one point.

#[cfg(target_arch = "x86_64")]
mod additions;
mod affine;
mod curve;
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

use crate::{fp::coordinate::Parts, kept::Section, run::Run};
use blstrs::{G1Affine, G1Projective, G2Affine, G2Projective};
use curve::{Curve, G1, G2};
use damocles_kernels::{cpu::Cpu, crew::Cancelled, field::limbs::Words};

/// Points of a curve over the base field (D = 1), or over its extension (D = 2), in the form that
/// this CPU calculates with.
#[derive(Debug)]
enum Form<C: Curve, const D: usize>
where
    C::Field: Parts<D>,
{
    #[cfg(target_arch = "x86_64")]
    Vector(vector::InLanes<C, D>),
    Portable(portable::InWords<C>),
}

impl<C: Curve, const D: usize> Form<C, D>
where
    C::Field: Parts<D>,
{
    fn new(cpu: Cpu, points: &[C::Affine]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            return Self::Vector(vector::InLanes::new(points));
        }
        let _ = cpu;
        Self::Portable(portable::InWords::new(points))
    }

    /// What a file keeps of them: the points, and the numbers of those at infinity where they
    /// stand apart.
    fn sections(&self) -> [&[u8]; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vector(bases) => bases.sections(),
            Self::Portable(bases) => [bases.section(), &[]],
        }
    }

    /// Out of a file that was written where the CPU had lanes as this one has, or had none.
    fn mapped(cpu: Cpu, points: &Section<'_>, infinite: &Section<'_>) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            let bases = vector::InLanes::mapped(points.numbers()?, infinite.numbers()?);
            return Some(Self::Vector(bases));
        }
        let _ = (cpu, infinite);
        Some(Self::Portable(portable::InWords::mapped(points.numbers()?)))
    }

    fn len(&self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vector(bases) => bases.len(),
            Self::Portable(bases) => bases.len(),
        }
    }

    fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<C::Sum, Cancelled> {
        assert!(scalars.len() <= self.len(), "more scalars than points");
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vector(bases) => bases.multiexp(scalars, run),
            Self::Portable(bases) => bases.multiexp(scalars, run),
        }
    }
}

/// Points of G1 in the form that this CPU calculates with: 128 bytes each with lanes, 96 without.
#[derive(Debug)]
pub struct Bases(Form<G1, 1>);

impl Bases {
    /// Converts points. They may be at infinity, and repeat.
    pub fn new(cpu: Cpu, points: &[G1Affine]) -> Self {
        Self(Form::new(cpu, points))
    }

    pub(crate) fn are_in_lanes(&self) -> bool {
        !matches!(self.0, Form::Portable(_))
    }

    /// What a file keeps of them: the points, and the numbers of those at infinity where they
    /// stand apart.
    pub(crate) fn sections(&self) -> [&[u8]; 2] {
        self.0.sections()
    }

    /// Out of a file that was written where the CPU had lanes as this one has, or had none.
    pub(crate) fn mapped(cpu: Cpu, points: &Section<'_>, infinite: &Section<'_>) -> Option<Self> {
        Form::mapped(cpu, points, infinite).map(Self)
    }

    pub fn len(&self) -> usize {
        self.0.len()
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
        self.0.multiexp(scalars, run)
    }
}

/// Points of G2: 256 bytes each with lanes, 192 without.
#[derive(Debug)]
pub struct G2Bases(Form<G2, 2>);

impl G2Bases {
    /// Converts points. They may be at infinity, and repeat.
    pub fn new(cpu: Cpu, points: &[G2Affine]) -> Self {
        Self(Form::new(cpu, points))
    }

    /// As of points of G1.
    pub(crate) fn sections(&self) -> [&[u8]; 2] {
        self.0.sections()
    }

    /// As of points of G1.
    pub(crate) fn mapped(cpu: Cpu, points: &Section<'_>, infinite: &Section<'_>) -> Option<Self> {
        Form::mapped(cpu, points, infinite).map(Self)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Σ scalar × point, of as many points as there are scalars. For each thread it takes twice the
    /// memory of points of G1.
    ///
    /// # Errors
    /// The run was cancelled.
    ///
    /// # Panics
    /// When there are more scalars than points.
    pub fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<G2Projective, Cancelled> {
        self.0.multiexp(scalars, run)
    }
}

#[cfg(test)]
mod tests;
