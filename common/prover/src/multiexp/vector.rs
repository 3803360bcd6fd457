//! Multiexponentiation in lanes.

use super::{
    buckets::Summing,
    digits::Sorted,
    points::{Point, converted},
    rounds::{self, Sums},
};
use crate::{
    kept::{Kept, Mapped, bytes},
    run::Run,
};
use blstrs::{G1Affine, G1Projective};
use damocles_kernels::{crew::Cancelled, field::limbs::Words};
use group::prime::PrimeCurveAffine;

/// What a bucket costs, beside a point: its complete additions are not done in lanes.
const BUCKET: usize = 14;

#[derive(Debug)]
pub(super) struct InLanes {
    points: Kept<Point>,
    /// Those at infinity, in order: they count as if their scalars were 0.
    infinite: Kept<u32>,
}

impl InLanes {
    pub(super) fn new(points: &[G1Affine]) -> Self {
        let mut into = vec![Point::ZERO; points.len()];
        into_points(points, &mut into);
        let infinite = (0..)
            .zip(points)
            .filter(|(_, p)| bool::from(p.is_identity()));
        Self {
            points: Kept::Here(into),
            infinite: Kept::Here(infinite.map(|(i, _)| i).collect()),
        }
    }

    /// As `sections` gave them.
    pub(super) fn mapped(points: Mapped<Point>, infinite: Mapped<u32>) -> Self {
        Self {
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

    pub(super) fn multiexp(
        &self,
        scalars: &[Words],
        run: Run<'_>,
    ) -> Result<G1Projective, Cancelled> {
        rounds::multiexp(scalars, &self.infinite, BUCKET, run, || Thread {
            points: &self.points,
            summing: new_summing(),
        })
    }
}

/// One that sums.
struct Thread<'a> {
    points: &'a [Point],
    summing: Summing,
}

impl Sums for Thread<'_> {
    type Sum = G1Projective;

    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn plain(&mut self, indices: &[u32]) -> G1Projective {
        // SAFETY: these bases exist only where the CPU has AVX-512 with IFMA
        unsafe { self.summing.plain(self.points, indices) }
    }

    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn window(&mut self, sort: impl FnOnce(&mut Sorted)) -> G1Projective {
        sort(&mut self.summing.sorted);
        // SAFETY: as above
        unsafe { self.summing.window(self.points) }
    }
}

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn into_points(points: &[G1Affine], into: &mut [Point]) {
    // SAFETY: `InLanes` are made only where the CPU has AVX-512 with IFMA
    unsafe { converted(points, into) }
}

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn new_summing() -> Summing {
    // SAFETY: as above
    unsafe { Summing::new() }
}
