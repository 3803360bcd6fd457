//! Multiexponentiation on plain registers, in G1 and in G2, for CPUs without lanes.

use super::{
    affine::{AffineAdder, AffinePoint},
    curve::Curve,
    digits::Sorted,
    rounds::{self, Sums},
};
use crate::{
    kept::{Kept, Mapped, bytes},
    large,
    run::Run,
};
use damocles_kernels::{crew::Cancelled, field::limbs::Words};
use group::Group;

/// Points that are added together before others are looked at: they and their sums stay in the
/// cache.
const GROUP: usize = 1 << 14;

/// What a bucket costs, beside a point: two complete additions.
const BUCKET: usize = 4;

#[derive(Debug)]
pub(super) struct InWords<C: Curve>(Kept<AffinePoint<C::Field>>);

impl<C: Curve> InWords<C> {
    pub(super) fn new(points: &[C::Affine]) -> Self {
        let mut into = large::vector(points.len());
        into.extend(points.iter().map(C::point));
        Self(Kept::Here(into))
    }

    /// As `section` gave them.
    pub(super) fn mapped(points: Mapped<AffinePoint<C::Field>>) -> Self {
        Self(Kept::Mapped(points))
    }

    pub(super) fn section(&self) -> &[u8] {
        bytes(&self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn multiexp(&self, scalars: &[Words], run: Run<'_>) -> Result<C::Sum, Cancelled> {
        rounds::multiexp(scalars, &[], BUCKET, run, || Thread::<C> {
            points: &self.0,
            sorted: Sorted::default(),
            adder: AffineAdder::new(GROUP),
            lengths: Vec::new(),
            digits: Vec::new(),
            sums: Vec::new(),
            more: Vec::new(),
        })
    }
}

/// One that sums. Of a digit's points, `sums` has what the first group has come to, `more` what
/// the others have.
struct Thread<'a, C: Curve> {
    points: &'a [AffinePoint<C::Field>],
    sorted: Sorted,
    adder: AffineAdder<C::Field>,
    /// The runs in work: how many points, and of which digit, from 0 on.
    lengths: Vec<u32>,
    digits: Vec<usize>,
    sums: Vec<AffinePoint<C::Field>>,
    more: Vec<(usize, AffinePoint<C::Field>)>,
}

impl<C: Curve> Sums for Thread<'_, C> {
    type Sum = C::Sum;

    fn plain(&mut self, indices: &[u32]) -> C::Sum {
        let mut sum = C::Sum::identity();
        for indices in indices.chunks(GROUP) {
            let lengths = &mut [indices.len() as u32];
            for part in self.adder.sums(self.points, indices, lengths) {
                sum += &C::affine(part);
            }
        }
        sum
    }

    fn window(&mut self, sort: impl FnOnce(&mut Sorted)) -> C::Sum {
        sort(&mut self.sorted);
        let Sorted {
            counts, indices, ..
        } = std::mem::take(&mut self.sorted);
        self.sums.clear();
        self.sums.resize(counts.len(), AffinePoint::INFINITY);
        let (mut begin, mut end) = (0, 0);
        for (digit, count) in counts.iter().enumerate() {
            let mut left = *count as usize;
            while left > 0 {
                let room = GROUP - (end - begin);
                // a run is cut only where it is longer than a group
                if room == 0 || left > room && left <= GROUP {
                    self.group(&indices[begin..end]);
                    begin = end;
                    continue;
                }
                let taken = left.min(room);
                self.lengths.push(taken as u32);
                self.digits.push(digit);
                end += taken;
                left -= taken;
            }
        }
        self.group(&indices[begin..end]);
        (self.sorted.counts, self.sorted.indices) = (counts, indices);
        self.weighted()
    }
}

impl<C: Curve> Thread<'_, C> {
    fn group(&mut self, indices: &[u32]) {
        if !indices.is_empty() {
            let sums = self.adder.sums(self.points, indices, &mut self.lengths);
            for (digit, sum) in self.digits.iter().zip(sums) {
                match &mut self.sums[*digit] {
                    first if first.is_infinity() => *first = *sum,
                    _ => self.more.push((*digit, *sum)),
                }
            }
        }
        self.lengths.clear();
        self.digits.clear();
    }

    /// Σ (digit + 1) × sum: from the highest on, the sum of all sums so far is added once more for
    /// each digit.
    fn weighted(&mut self) -> C::Sum {
        let (mut running, mut total) = (C::Sum::identity(), C::Sum::identity());
        for (digit, sum) in self.sums.iter().enumerate().rev() {
            // runs were looked at from the lowest digit to the highest
            while let Some((_, more)) = self.more.pop_if(|(of, _)| *of == digit) {
                running += &C::affine(&more);
            }
            running += &C::affine(sum);
            total += running;
        }
        total
    }
}
