//! Multiexponentiation in lanes.

use super::{
    buckets::Summing,
    curve::Curve,
    digits::Sorted,
    points::{Point, converted},
    rounds::{self, Sums},
};
use crate::{
    fp::coordinate::Parts,
    kept::{Kept, Mapped, bytes},
    large,
    run::Run,
};
use damocles_kernels::{crew::Cancelled, field::limbs::Words};
use std::marker::PhantomData;

/// What a bucket costs, beside a point: its complete additions are not done in lanes.
const BUCKET: usize = 14;

#[derive(Debug)]
pub(super) struct InLanes<C, const D: usize> {
    curve: PhantomData<C>,
    points: Kept<Point<D>>,
    /// Those at infinity, in order: they count as if their scalars were 0.
    infinite: Kept<u32>,
}

impl<C: Curve, const D: usize> InLanes<C, D>
where
    C::Field: Parts<D>,
{
    pub(super) fn new(points: &[C::Affine]) -> Self {
        let mut into = large::filled(points.len(), Point::ZERO);
        into_points::<C, D>(points, &mut into);
        let infinite = (0..).zip(points).filter(|(_, p)| C::point(p).is_infinity());
        Self {
            curve: PhantomData,
            points: Kept::Here(into),
            infinite: Kept::Here(infinite.map(|(i, _)| i).collect()),
        }
    }

    /// As `sections` gave them.
    pub(super) fn mapped(points: Mapped<Point<D>>, infinite: Mapped<u32>) -> Self {
        Self {
            curve: PhantomData,
            points: Kept::Mapped(points),
            infinite: Kept::Mapped(infinite),
        }
    }

    pub(super) fn sections(&self) -> [&[u8]; 2] {
        [bytes(&self.points), bytes(&self.infinite)]
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<C::Sum, Cancelled> {
        rounds::multiexp(scalars, &self.infinite, BUCKET, run, || Thread::<C, D> {
            points: &self.points,
            summing: new_summing(),
        })
    }
}

/// One that sums.
struct Thread<'a, C: Curve, const D: usize> {
    points: &'a [Point<D>],
    summing: Summing<C, D>,
}

impl<C: Curve, const D: usize> Sums for Thread<'_, C, D>
where
    C::Field: Parts<D>,
{
    type Sum = C::Sum;

    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn plain(&mut self, indices: &[u32]) -> C::Sum {
        // SAFETY: these bases exist only where the CPU has AVX-512 with IFMA
        unsafe { self.summing.plain(self.points, indices) }
    }

    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn window(&mut self, sort: impl FnOnce(&mut Sorted)) -> C::Sum {
        sort(&mut self.summing.sorted);
        // SAFETY: as above
        unsafe { self.summing.window(self.points) }
    }
}

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn into_points<C: Curve, const D: usize>(points: &[C::Affine], into: &mut [Point<D>])
where
    C::Field: Parts<D>,
{
    // SAFETY: `InLanes` are made only where the CPU has AVX-512 with IFMA
    unsafe { converted::<C, D>(points, into) }
}

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn new_summing<C: Curve, const D: usize>() -> Summing<C, D>
where
    C::Field: Parts<D>,
{
    // SAFETY: as above
    unsafe { Summing::new() }
}
