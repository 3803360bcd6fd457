//! Points of G1 as limbs, as the additions in lanes take them: 128 bytes each.

use crate::fp::{
    lanes::Lanes,
    limbs::{INTO_LANES, INTO_WORDS, Limbs, ONE, element, join, split, subtract_once, words},
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

/// The same points, coordinates below 1.01 p; before, below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn reduced(points: &[Point], into: &mut [Point]) {
    // 1 in the form of lanes changes nothing but the size
    let one = Lanes::splat(&ONE);
    for (points, into) in points.chunks(8).zip(into.chunks_mut(8)) {
        let [x, y] = eight(points).map(|side| side.times(&one));
        let both = x.limbs().into_iter().zip(y.limbs());
        for (into, (x, y)) in into.iter_mut().zip(both) {
            *into = Point { x, y };
        }
    }
}

/// The points as 96 bytes each: both coordinates, big end first. Those below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn written(points: &[Point], bytes: &mut [u8]) {
    const COORDINATE: usize = 48;
    // x·2^416 times 1, / 2^416
    let plain = Lanes::splat(&[1, 0, 0, 0, 0, 0, 0, 0]);
    for (points, bytes) in points.chunks(8).zip(bytes.chunks_mut(16 * COORDINATE)) {
        let [x, y] = eight(points).map(|side| side.times(&plain).limbs());
        let both = x.iter().zip(&y).flat_map(|(x, y)| [x, y]);
        for (bytes, limbs) in bytes.chunks_exact_mut(COORDINATE).zip(both) {
            let words = subtract_once(join(limbs));
            for (bytes, word) in bytes.chunks_exact_mut(8).zip(words.iter().rev()) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

/// The coordinates of up to eight points, in lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn eight(points: &[Point]) -> [Lanes; 2] {
    let mut all = [&points[0]; 8];
    for (place, point) in all.iter_mut().zip(points) {
        *place = point;
    }
    [all.map(|point| &point.x), all.map(|point| &point.y)].map(|side| Lanes::gather(side))
}
