//! Many multiples of one and the same point, as the setup of a circuit needs them by the million.
//!
//! A table holds d·2^(cw)·B for every window w of c bits and every digit d from 1 to 2^(c−1); then
//! k·B is the sum of one entry per window of k, by its sign. All that is left are additions of
//! points in affine coordinates, with one inversion for some hundred of them (`additions`,
//! `affine`), and no doubling at all.
//!
//! # Why no sum on the way is infinity
//! A scalar is not 0 and below the group's order r, which is odd. Signed digits are a number's only
//! ones, so what some of its windows stand for is 0 only when all their digits are. Without the
//! lowest window it is a multiple of 2^c, so not ±r; without the highest it is below r. And two
//! halves of a sum are equal, or opposite, only where that is so by chance modulo r: the additions
//! see to it.
//!
//! `table` how they are put together · `words` on plain registers · `lanes` eight additions at a time.

#[cfg(target_arch = "x86_64")]
mod lanes;
mod table;
mod words;

use super::curve::{Curve, G1, G2};
use crate::{fp::coordinate::Parts, run::Run};
use blstrs::{G1Projective, G2Projective};
use damocles_kernels::{cpu::Cpu, crew::Cancelled, field::limbs::Words};
use std::ops::Range;
use table::Table;

/// Makes multiples of one point.
pub(crate) trait Multiples {
    /// Bytes of a point as bellperson writes it: uncompressed, big end first.
    const BYTES: usize;

    /// Makes `count` multiples. `scalars` gives those of a range, from 1 to below the order; `put`
    /// takes the bytes of the points from some number on. Both are called by several threads.
    fn each<E: From<Cancelled> + Send>(
        &self,
        count: usize,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), E> + Sync,
        put: impl Fn(usize, &[u8]) -> Result<(), E> + Sync,
        run: Run<'_>,
    ) -> Result<(), E>;
}

/// The table of a point of a curve over the base field (D = 1), or over its extension (D = 2).
enum Tables<C: Curve, const D: usize>
where
    C::Field: Parts<D>,
{
    #[cfg(target_arch = "x86_64")]
    Lanes(Table<lanes::InLanes<C, D>>),
    Words(Table<words::InWords<C>>),
}

impl<C: Curve, const D: usize> Tables<C, D>
where
    C::Field: Parts<D>,
{
    fn new(cpu: Cpu, base: C::Sum, count: usize, run: Run<'_>) -> Result<Self, Cancelled> {
        #[cfg(target_arch = "x86_64")]
        if cpu.here().ifma {
            return Ok(Self::Lanes(Table::new(base, count, run)?));
        }
        let _ = cpu;
        Ok(Self::Words(Table::new(base, count, run)?))
    }

    fn each<E: From<Cancelled> + Send>(
        &self,
        count: usize,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), E> + Sync,
        put: impl Fn(usize, &[u8]) -> Result<(), E> + Sync,
        run: Run<'_>,
    ) -> Result<(), E> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Lanes(table) => table.each(count, scalars, put, run),
            Self::Words(table) => table.each(count, scalars, put, run),
        }
    }
}

/// Multiples of a point of G1.
pub(crate) struct G1Multiples(Tables<G1, 1>);

impl G1Multiples {
    /// Of a point that is not at infinity, for `count` multiples.
    pub(crate) fn new(
        cpu: Cpu,
        base: G1Projective,
        count: usize,
        run: Run<'_>,
    ) -> Result<Self, Cancelled> {
        Ok(Self(Tables::new(cpu, base, count, run)?))
    }
}

impl Multiples for G1Multiples {
    const BYTES: usize = 96;

    fn each<E: From<Cancelled> + Send>(
        &self,
        count: usize,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), E> + Sync,
        put: impl Fn(usize, &[u8]) -> Result<(), E> + Sync,
        run: Run<'_>,
    ) -> Result<(), E> {
        self.0.each(count, scalars, put, run)
    }
}

/// Multiples of a point of G2.
pub(crate) struct G2Multiples(Tables<G2, 2>);

impl G2Multiples {
    /// Of a point that is not at infinity, for `count` multiples.
    pub(crate) fn new(
        cpu: Cpu,
        base: G2Projective,
        count: usize,
        run: Run<'_>,
    ) -> Result<Self, Cancelled> {
        Ok(Self(Tables::new(cpu, base, count, run)?))
    }
}

impl Multiples for G2Multiples {
    const BYTES: usize = 192;

    fn each<E: From<Cancelled> + Send>(
        &self,
        count: usize,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), E> + Sync,
        put: impl Fn(usize, &[u8]) -> Result<(), E> + Sync,
        run: Run<'_>,
    ) -> Result<(), E> {
        self.0.each(count, scalars, put, run)
    }
}

#[cfg(test)]
mod tests;
