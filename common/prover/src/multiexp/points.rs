//! Points of G1 as limbs, as the additions in lanes take them: 128 bytes each.

use crate::fp::{
    lanes::Lanes,
    limbs::{INTO_LANES, INTO_WORDS, Limbs, element, join, split, subtract_once, words},
};
use crate::kept::Plain;
use blstrs::G1Affine;
use group::prime::PrimeCurveAffine;

/// A point that is not at infinity, in affine coordinates in the form of lanes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) x: Limbs,
    pub(crate) y: Limbs,
}

#[expect(unsafe_code, reason = "points may lie in a file")]
// SAFETY: twice eight numbers of 64 bits, which fill two lines
unsafe impl Plain for Point {}

impl Point {
    pub(crate) const ZERO: Self = Self {
        x: [0; 8],
        y: [0; 8],
    };
}

/// The points in the form of lanes, coordinates below 1.01 p. Points at infinity become
/// [`Point::ZERO`].
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn converted(points: &[G1Affine], into: &mut [Point]) {
    let factor = Lanes::splat(&INTO_LANES);
    for (points, into) in points.chunks(8).zip(into.chunks_mut(8)) {
        let mut limbs = [Point::ZERO; 8];
        for (limbs, point) in limbs.iter_mut().zip(points) {
            if !bool::from(point.is_identity()) {
                limbs.x = split(words(point.x()));
                limbs.y = split(words(point.y()));
            }
        }
        let x = Lanes::gather(limbs.each_ref().map(|p| &p.x)).times(&factor);
        let y = Lanes::gather(limbs.each_ref().map(|p| &p.y)).times(&factor);
        let both = x.limbs().into_iter().zip(y.limbs());
        for (into, (x, y)) in into.iter_mut().zip(both) {
            *into = Point { x, y };
        }
    }
}

/// The points in blst's form; coordinates below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn restored(points: &[Point; 8]) -> [G1Affine; 8] {
    let factor = Lanes::splat(&INTO_WORDS);
    let x = Lanes::gather(points.each_ref().map(|p| &p.x)).times(&factor);
    let y = Lanes::gather(points.each_ref().map(|p| &p.y)).times(&factor);
    let (x, y) = (x.limbs(), y.limbs());
    std::array::from_fn(|i| {
        let [x, y] = [&x[i], &y[i]].map(|limbs| element(subtract_once(join(limbs))));
        G1Affine::from_raw_unchecked(x, y, false)
    })
}
