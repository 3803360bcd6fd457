//! One window of a multiexponentiation: the points of each digit summed, and the sums times their
//! digits.

use super::{
    additions::Adder,
    curve::Curve,
    digits::Sorted,
    points::{Point, restored},
};
use crate::fp::coordinate::Parts;
use group::Group;

/// Points that are added together before others are looked at: they and their sums stay in the
/// cache.
const GROUP: usize = 1 << 15;

/// Memory of one thread: 16 MiB (32 for G2), and 4 bytes for each point of a window.
#[derive(Debug)]
pub(crate) struct Summing<C: Curve, const D: usize> {
    adder: Adder<C, D>,
    pub(crate) sorted: Sorted,
    lengths: Vec<u32>,
    /// The digits of the runs in work, from 0 on.
    digits: Vec<usize>,
    sums: Sums<C, D>,
}

/// What each digit has come to: the first sum in limbs, what else there is by the curve's formulas.
#[derive(Debug)]
struct Sums<C: Curve, const D: usize> {
    first: Vec<Point<D>>,
    there: Vec<bool>,
    more: Vec<(usize, C::Sum)>,
}

impl<C: Curve, const D: usize> Summing<C, D>
where
    C::Field: Parts<D>,
{
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new() -> Self {
        Self {
            adder: Adder::new(GROUP),
            sorted: Sorted::default(),
            lengths: Vec::new(),
            digits: Vec::new(),
            sums: Sums {
                first: Vec::new(),
                there: Vec::new(),
                more: Vec::new(),
            },
        }
    }

    /// Σ digit × (sum of the points that have it), of the points that are sorted.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    pub(crate) fn window(&mut self, bases: &[Point<D>]) -> C::Sum {
        let counts = std::mem::take(&mut self.sorted.counts);
        let indices = std::mem::take(&mut self.sorted.indices);
        self.sums.begin(counts.len());
        let (mut begin, mut end) = (0, 0);
        for (digit, count) in counts.iter().enumerate() {
            let mut left = *count as usize;
            while left > 0 {
                let room = GROUP - (end - begin);
                // a run is cut only where it is longer than a group
                if room == 0 || left > room && left <= GROUP {
                    self.group(bases, &indices[begin..end]);
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
        self.group(bases, &indices[begin..end]);
        (self.sorted.counts, self.sorted.indices) = (counts, indices);
        self.sums.weighted()
    }

    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    fn group(&mut self, bases: &[Point<D>], indices: &[u32]) {
        if indices.is_empty() {
            return;
        }
        let mut surplus = Vec::new();
        let sums = self
            .adder
            .sums(bases, indices, &mut self.lengths, &mut surplus);
        for (digit, sum) in self.digits.iter().zip(sums) {
            self.sums.add(*digit, sum);
        }
        for run in surplus {
            let less = -C::Sum::generator();
            self.sums.more.push((self.digits[run], less));
        }
        self.lengths.clear();
        self.digits.clear();
    }

    /// The sum of points by their indices.
    #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw")]
    pub(crate) fn plain(&mut self, bases: &[Point<D>], indices: &[u32]) -> C::Sum {
        self.sums.begin(1);
        for indices in indices.chunks(GROUP) {
            self.lengths.push(indices.len() as u32);
            self.digits.push(0);
            self.group(bases, indices);
        }
        self.sums.weighted()
    }
}

impl<C: Curve, const D: usize> Sums<C, D>
where
    C::Field: Parts<D>,
{
    fn begin(&mut self, digits: usize) {
        self.first.resize(digits, Point::ZERO);
        self.there.clear();
        self.there.resize(digits, false);
        self.more.clear();
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, digit: usize, sum: &Point<D>) {
        if !self.there[digit] {
            self.there[digit] = true;
            self.first[digit] = *sum;
            return;
        }
        let [point, ..] = restored::<C, D>(&[*sum; 8]);
        let mut sum = C::Sum::identity();
        sum += &point;
        self.more.push((digit, sum));
    }

    /// Σ (digit + 1) × sum: from the highest on, the sum of all sums so far is added once more for
    /// each digit.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn weighted(&mut self) -> C::Sum {
        self.more.sort_by_key(|(digit, _)| *digit);
        let mut running = C::Sum::identity();
        let mut total = C::Sum::identity();
        for eight in (0..self.there.len().div_ceil(8)).rev() {
            let begin = 8 * eight;
            let mut points = [Point::ZERO; 8];
            for (point, first) in points.iter_mut().zip(&self.first[begin..]) {
                *point = *first;
            }
            let points = restored::<C, D>(&points);
            for i in (0..8).rev() {
                let digit = begin + i;
                if self.there.get(digit) == Some(&true) {
                    running += &points[i];
                }
                while let Some((_, more)) = self.more.pop_if(|(of, _)| *of == digit) {
                    running += more;
                }
                if digit < self.there.len() {
                    total += running;
                }
            }
        }
        total
    }
}
