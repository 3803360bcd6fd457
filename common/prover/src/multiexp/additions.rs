//! Sums of many points of G1 or G2 in affine coordinates, eight additions at a time in lanes, with one
//! inversion for a thousand of them.
//!
//! Points are added in pairs, the sums again in pairs, until each run of points has become one.
//! An addition of (x1, y1) and (x2, y2) is
//! λ = (y2 − y1)/(x2 − x1), x3 = λ² − x1 − x2, y3 = λ·(x1 − x3) − y1.
//! With equal x this does not hold (a point and itself, or its negative): then the product of all
//! differences is zero in that lane, and the whole batch is added by the curve's complete
//! formulas. Sums at infinity have no coordinates: the generator stands in their place, and the
//! caller is told to take it away again.
//!
//! # How large coordinates become
//! Nothing is reduced that need not be. In a level whose points have coordinates below k·p,
//! differences take 2k + 1 multiples of p, and results are below (2k + 3)·p: from 2 p on, after
//! 24 levels (more points than memory holds) 84 million p, far from 2^35 p.

use super::{
    affine::AffinePoint,
    curve::Curve,
    digits::NEGATIVE,
    points::{Point, converted, restored},
};
use crate::fp::{
    coordinate::Parts,
    element::Element,
    limbs::{Limbs, multiple},
};
use crate::large;
use group::{Curve as _, Group};
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::marker::PhantomData;

/// Pairs of one batch, in registers of eight.
const REGISTERS: usize = 128;
const PAIRS: usize = 8 * REGISTERS;
/// So many registers ahead, points are asked for from memory.
const AHEAD: usize = 8;
/// The bound of coordinates, in p, of points as [`converted`] makes them.
const FIRST: u64 = 2;

/// What an addition leaves for after the inversion.
#[derive(Clone, Copy, Debug)]
struct Pending<const D: usize> {
    x1: Element<D>,
    x2: Element<D>,
    y1: Element<D>,
    dx: Element<D>,
    dy: Element<D>,
    /// The product of all dx before this one.
    before: Element<D>,
}

/// Pairs that are to be added, and where their sums go.
#[derive(Debug, Default)]
struct Pairs {
    first: Vec<u32>,
    second: Vec<u32>,
    sum: Vec<u32>,
}

impl Pairs {
    fn clear(&mut self) {
        self.first.clear();
        self.second.clear();
        self.sum.clear();
    }

    fn push(&mut self, first: u32, second: u32, sum: u32) {
        self.first.push(first);
        self.second.push(second);
        self.sum.push(sum);
    }
}

/// Memory of one thread, for runs of up to so many points together: two points for each, and 0.4 MiB
/// (twice as much for G2).
#[derive(Debug)]
pub(crate) struct Adder<C, const D: usize> {
    curve: PhantomData<C>,
    pairs: Pairs,
    pending: Vec<Pending<D>>,
    /// The points of a level and of the next one; the last of each takes what nobody wants.
    levels: [Vec<Point<D>>; 2],
    /// Sums that are the generator too much.
    at_infinity: Vec<u32>,
}

/// One level: what is added, and the multiples of p that keep things above zero.
struct Level<'a, const D: usize> {
    points: &'a [Point<D>],
    /// At least as large as a coordinate, as two of them, as one of a sum.
    one: Limbs,
    two: Limbs,
    sum: Limbs,
}

impl<C: Curve, const D: usize> Adder<C, D>
where
    C::Field: Parts<D>,
{
    /// For runs of up to `most` points together.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new(most: usize) -> Self {
        let zero = Element::splat(&[[0; 8]; D]);
        let nothing = Pending {
            x1: zero,
            x2: zero,
            y1: zero,
            dx: zero,
            dy: zero,
            before: zero,
        };
        // a run of one point takes a place of the first level, too
        let level = || large::filled(most + 1, Point::ZERO);
        Self {
            curve: PhantomData,
            pairs: Pairs::default(),
            pending: vec![nothing; REGISTERS],
            levels: [level(), level()],
            at_infinity: Vec::new(),
        }
    }

    /// Sums runs of points: `indices` names the points of the first run, then those of the next;
    /// `lengths` says how many each has, at least one. Gives the runs' sums in their order, and
    /// the numbers of those (with repetitions) from which the generator is to be taken away once.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    pub(crate) fn sums(
        &mut self,
        bases: &[Point<D>],
        indices: &[u32],
        lengths: &mut [u32],
        surplus: &mut Vec<usize>,
    ) -> &[Point<D>] {
        let [mut to, mut other] = std::mem::take(&mut self.levels);
        self.level(bases, indices, lengths, FIRST, &mut to, surplus);
        let mut bound = 2 * FIRST + 3;
        while lengths.iter().any(|length| *length > 1) {
            std::mem::swap(&mut to, &mut other);
            self.level(&other, &[], lengths, bound, &mut to, surplus);
            bound = 2 * bound + 3;
        }
        self.levels = [to, other];
        &self.levels[0][..lengths.len()]
    }

    /// Adds neighbours of each run. Without indices the points lie in their order.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    fn level(
        &mut self,
        points: &[Point<D>],
        indices: &[u32],
        lengths: &mut [u32],
        bound: u64,
        to: &mut [Point<D>],
        surplus: &mut Vec<usize>,
    ) {
        let level = Level::new(points, bound);
        let name = |at: u32| indices.get(at as usize).copied().unwrap_or(at);
        let (mut from, mut next) = (0, 0);
        // where sums at infinity went, to tell of which run they are
        self.at_infinity.clear();
        let mut ends = Vec::new();
        for length in &mut *lengths {
            for pair in 0..*length / 2 {
                let first = from + 2 * pair;
                self.pairs.push(name(first), name(first + 1), next + pair);
                if self.pairs.sum.len() == PAIRS {
                    self.add(&level, to);
                }
            }
            from += *length;
            let (pairs, odd) = (*length / 2, *length % 2);
            if odd == 1 {
                to[(next + pairs) as usize] = level.single(name(from - 1));
            }
            *length = pairs + odd;
            next += *length;
            ends.push(next);
        }
        if !self.pairs.sum.is_empty() {
            self.add(&level, to);
        }
        for at in &self.at_infinity {
            surplus.push(ends.partition_point(|end| end <= at));
        }
    }

    /// Adds the pairs that have come together.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    fn add(&mut self, level: &Level<'_, D>, to: &mut [Point<D>]) {
        let unwanted = (to.len() - 1) as u32;
        while !self.pairs.sum.len().is_multiple_of(8) {
            let (first, second) = (self.pairs.first[0], self.pairs.second[0]);
            self.pairs.push(first, second, unwanted);
        }
        if !self.add_in_lanes(level, to) {
            self.add_completely(level, to, unwanted);
        }
        self.pairs.clear();
    }

    /// False, and nothing is done: two points of a pair have the same x.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    fn add_in_lanes(&mut self, level: &Level<'_, D>, to: &mut [Point<D>]) -> bool {
        let Pairs { first, second, sum } = &self.pairs;
        let registers = sum.len() / 8;
        // two chains of products, so that one goes on while the other one waits
        let mut products = [Element::one(); 2];
        for (i, pending) in self.pending[..registers].iter_mut().enumerate() {
            let eight = 8 * i..8 * i + 8;
            if let Some(later) = first.get(8 * (i + AHEAD)..8 * (i + AHEAD) + 8) {
                let others = &second[8 * (i + AHEAD)..8 * (i + AHEAD) + 8];
                for index in later.iter().chain(others) {
                    prefetch(&level.points[(index & !NEGATIVE) as usize]);
                }
            }
            let (x1, y1) = level.gather(&first[eight.clone()]);
            let (x2, y2) = level.gather(&second[eight]);
            let dx = x2.minus(&x1, &level.two);
            *pending = Pending {
                x1,
                x2,
                y1,
                dx,
                dy: y2.minus(&y1, &level.two),
                before: products[i % 2],
            };
            products[i % 2] = products[i % 2].times(&dx);
        }
        let Some(inverse) = products[0].times(&products[1]).inverse() else {
            return false;
        };
        let mut inverses = [inverse.times(&products[1]), inverse.times(&products[0])];
        for i in (0..registers).rev() {
            let pending = &self.pending[i];
            let slope = inverses[i % 2].times(&pending.before).times(&pending.dy);
            inverses[i % 2] = inverses[i % 2].times(&pending.dx);
            let x3 = slope
                .square()
                .minus_both([&pending.x1, &pending.x2], &level.two);
            let down = pending.x1.minus(&x3, &level.sum);
            let y3 = slope.times(&down).minus(&pending.y1, &level.two);
            let both = x3.limbs().into_iter().zip(y3.limbs());
            for (at, (x, y)) in sum[8 * i..8 * i + 8].iter().zip(both) {
                to[*at as usize] = Point { x, y };
            }
        }
        true
    }

    /// The same by formulas that hold for all points.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    fn add_completely(&mut self, level: &Level<'_, D>, to: &mut [Point<D>], unwanted: u32) {
        let Pairs { first, second, sum } = &self.pairs;
        for i in 0..sum.len() / 8 {
            let eight = 8 * i..8 * i + 8;
            let first = level.restored::<C>(&first[eight.clone()]);
            let second = level.restored::<C>(&second[eight.clone()]);
            let mut sums = [C::Sum::identity(); 8];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += &first[i];
                *sum += &second[i];
            }
            let at = &sum[eight];
            for (sum, at) in sums.iter_mut().zip(at) {
                if bool::from(sum.is_identity()) {
                    *sum = C::Sum::generator();
                    if *at != unwanted {
                        self.at_infinity.push(*at);
                    }
                }
            }
            let mut affine = sums.map(|_| C::affine(&AffinePoint::INFINITY));
            C::Sum::batch_normalize(&sums, &mut affine);
            let mut points = [Point::ZERO; 8];
            converted::<C, D>(&affine, &mut points);
            for (at, point) in at.iter().zip(points) {
                to[*at as usize] = point;
            }
        }
    }
}

impl<'a, const D: usize> Level<'a, D> {
    /// Coordinates are below `bound` times p.
    fn new(points: &'a [Point<D>], bound: u64) -> Self {
        Self {
            points,
            one: multiple(bound),
            two: multiple(2 * bound + 1),
            sum: multiple(2 * bound + 3),
        }
    }

    /// A point by its index, with the index's sign.
    #[target_feature(enable = "avx512f")]
    fn single(&self, index: u32) -> Point<D> {
        let point = self.points[(index & !NEGATIVE) as usize];
        if index & NEGATIVE == 0 {
            return point;
        }
        let y = Element::splat(&point.y).negated_where(!0, &self.one);
        let [y, ..] = y.limbs();
        Point { x: point.x, y }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn gather(&self, indices: &[u32]) -> (Element<D>, Element<D>) {
        let mut points = [&self.points[0]; 8];
        let mut negative = 0u8;
        for (i, index) in indices.iter().enumerate() {
            points[i] = &self.points[(index & !NEGATIVE) as usize];
            negative |= ((index >> 31) as u8) << i;
        }
        let x = Element::gather(points.map(|point| &point.x));
        let y = Element::gather(points.map(|point| &point.y));
        let y = if negative == 0 {
            y
        } else {
            y.negated_where(negative, &self.one)
        };
        (x, y)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn restored<C: Curve>(&self, indices: &[u32]) -> [C::Affine; 8]
    where
        C::Field: Parts<D>,
    {
        let mut points = [Point::ZERO; 8];
        for (point, index) in points.iter_mut().zip(indices) {
            *point = self.single(*index);
        }
        restored::<C, D>(&points)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<const D: usize>(point: &Point<D>) {
    // an element's limbs fill a line
    for part in point.x.iter().chain(&point.y) {
        _mm_prefetch::<_MM_HINT_T0>(part.as_ptr().cast());
    }
}
