//! Sums of many points in affine coordinates on plain registers, with one inversion for some
//! hundred additions; in G1 and in G2 alike.
//!
//! As in lanes (`additions`): points are added in pairs, the sums again in pairs, until each run of
//! points has become one, by λ = (y2 − y1)/(x2 − x1), x3 = λ² − x1 − x2, y3 = λ·(x1 − x3) − y1. That
//! is six multiplications, where the usual formulas for a projective and an affine point take ten.
//! One by one it costs little to look for what these formulas do not hold for: a point at infinity,
//! two equal ones (λ = 3·x²/(2·y)), and a point and its negative.

use super::digits::NEGATIVE;
use crate::{fp::coordinate::Coordinate, kept::Plain};

/// Pairs that are added with one inversion: what is remembered of them stays in the second cache.
const PAIRS: usize = 512;
/// So many pairs ahead, points are asked for from memory.
const AHEAD: usize = 16;

/// A point in affine coordinates; infinity is (0, 0), which is on neither curve.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AffinePoint<F> {
    pub(crate) x: F,
    pub(crate) y: F,
}

#[expect(unsafe_code, reason = "points may lie in a file")]
// SAFETY: two elements one after the other, and these are `Plain`
unsafe impl<F: Plain> Plain for AffinePoint<F> {}

impl<F: Coordinate> AffinePoint<F> {
    pub(crate) const INFINITY: Self = Self {
        x: F::ZERO,
        y: F::ZERO,
    };

    #[inline]
    pub(crate) fn is_infinity(&self) -> bool {
        self.x.is_zero() && self.y.is_zero()
    }
}

/// What an addition leaves for after the inversion.
#[derive(Clone, Copy, Debug)]
struct Slope<F> {
    x1: F,
    x2: F,
    y1: F,
    /// λ is over × under⁻¹.
    over: F,
    under: F,
    /// The product of all others of its chain before this one.
    before: F,
    sum: u32,
}

/// Memory of one thread, for runs of up to so many points together.
#[derive(Debug)]
pub(crate) struct AffineAdder<F> {
    pairs: Vec<[u32; 3]>,
    pending: Vec<Slope<F>>,
    levels: [Vec<AffinePoint<F>>; 2],
}

impl<F: Coordinate> AffineAdder<F> {
    /// For runs of up to `most` points together.
    pub(crate) fn new(most: usize) -> Self {
        let level = || vec![AffinePoint::INFINITY; most];
        Self {
            pairs: Vec::with_capacity(PAIRS),
            pending: Vec::with_capacity(PAIRS),
            levels: [level(), level()],
        }
    }

    /// Sums runs of points: `indices` names the points of the first run, then those of the next;
    /// `lengths` says how many each has, at least one. Gives the runs' sums in their order.
    pub(crate) fn sums(
        &mut self,
        bases: &[AffinePoint<F>],
        indices: &[u32],
        lengths: &mut [u32],
    ) -> &[AffinePoint<F>] {
        let [mut to, mut other] = std::mem::take(&mut self.levels);
        self.level(bases, |at| indices[at as usize], lengths, &mut to);
        while lengths.iter().any(|length| *length > 1) {
            std::mem::swap(&mut to, &mut other);
            self.level(&other, |at| at, lengths, &mut to);
        }
        self.levels = [to, other];
        &self.levels[0][..lengths.len()]
    }

    /// Adds neighbours of each run.
    fn level(
        &mut self,
        points: &[AffinePoint<F>],
        name: impl Fn(u32) -> u32,
        lengths: &mut [u32],
        to: &mut [AffinePoint<F>],
    ) {
        let (mut from, mut next) = (0, 0);
        for length in lengths {
            for pair in 0..*length / 2 {
                let first = from + 2 * pair;
                self.pairs.push([name(first), name(first + 1), next + pair]);
                if self.pairs.len() == PAIRS {
                    self.add(points, to);
                }
            }
            from += *length;
            let (pairs, odd) = (*length / 2, *length % 2);
            if odd == 1 {
                to[(next + pairs) as usize] = named(points, name(from - 1));
            }
            *length = pairs + odd;
            next += *length;
        }
        self.add(points, to);
    }

    /// Adds the pairs that have come together.
    fn add(&mut self, points: &[AffinePoint<F>], to: &mut [AffinePoint<F>]) {
        self.pending.clear();
        // two chains of products, so that one goes on while the other one waits
        let mut products = [F::ONE; 2];
        for (i, [first, second, sum]) in self.pairs.iter().enumerate() {
            if let Some([first, second, _]) = self.pairs.get(i + AHEAD) {
                prefetch(&points[(first & !NEGATIVE) as usize]);
                prefetch(&points[(second & !NEGATIVE) as usize]);
            }
            let (p, q) = (named(points, *first), named(points, *second));
            if p.is_infinity() || q.is_infinity() {
                to[*sum as usize] = if p.is_infinity() { q } else { p };
                continue;
            }
            let (mut over, mut under) = (q.y.minus(&p.y), q.x.minus(&p.x));
            if under.is_zero() {
                if !over.is_zero() || p.y.is_zero() {
                    to[*sum as usize] = AffinePoint::INFINITY;
                    continue;
                }
                let square = p.x.square();
                over = square.plus(&square).plus(&square);
                under = p.y.plus(&p.y);
            }
            let product = &mut products[self.pending.len() % 2];
            self.pending.push(Slope {
                x1: p.x,
                x2: q.x,
                y1: p.y,
                over,
                under,
                before: *product,
                sum: *sum,
            });
            *product = product.times(&under);
        }
        self.pairs.clear();
        let inverse = products[0].times(&products[1]).inverse();
        let mut inverses = [inverse.times(&products[1]), inverse.times(&products[0])];
        for (i, pending) in self.pending.iter().enumerate().rev() {
            let inverse = &mut inverses[i % 2];
            let slope = inverse.times(&pending.before).times(&pending.over);
            *inverse = inverse.times(&pending.under);
            let x = slope.square().minus(&pending.x1).minus(&pending.x2);
            let y = slope.times(&pending.x1.minus(&x)).minus(&pending.y1);
            to[pending.sum as usize] = AffinePoint { x, y };
        }
    }
}

/// A point by its index, with the index's sign.
#[inline]
fn named<F: Coordinate>(points: &[AffinePoint<F>], index: u32) -> AffinePoint<F> {
    let mut point = points[(index & !NEGATIVE) as usize];
    if index & NEGATIVE != 0 {
        point.y = F::ZERO.minus(&point.y);
    }
    point
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the instruction belongs to SSE")]
fn prefetch<F>(point: &AffinePoint<F>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let begin = std::ptr::from_ref(point).cast::<i8>();
    for line in (0..size_of::<AffinePoint<F>>()).step_by(64) {
        // SAFETY: all x86-64 CPUs have SSE, and asking for memory reads none
        unsafe { _mm_prefetch::<_MM_HINT_T0>(begin.wrapping_add(line)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch<F>(_: &AffinePoint<F>) {}
