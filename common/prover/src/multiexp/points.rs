//! Points of G1 or G2 as limbs, as the additions in lanes take them: 128 or 256 bytes each.

use super::{affine::AffinePoint, curve::Curve};
use crate::{
    fp::{
        coordinate::Parts,
        element::Element,
        lanes::Lanes,
        limbs::{INTO_LANES, INTO_WORDS, Limbs, ONE, join, split, subtract_once},
    },
    kept::Plain,
};

/// A point that is not at infinity, in affine coordinates in the form of lanes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point<const D: usize> {
    pub(crate) x: [Limbs; D],
    pub(crate) y: [Limbs; D],
}

#[expect(unsafe_code, reason = "points may lie in a file")]
// SAFETY: twice D times eight numbers of 64 bits, which fill lines
unsafe impl<const D: usize> Plain for Point<D> {}

impl<const D: usize> Point<D> {
    pub(crate) const ZERO: Self = Self {
        x: [[0; 8]; D],
        y: [[0; 8]; D],
    };
}

/// The points in the form of lanes, coordinates below 1.01 p. Points at infinity become
/// [`Point::ZERO`].
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn converted<C: Curve, const D: usize>(points: &[C::Affine], into: &mut [Point<D>])
where
    C::Field: Parts<D>,
{
    let factor = Lanes::splat(&INTO_LANES);
    for (points, into) in points.chunks(8).zip(into.chunks_mut(8)) {
        for (into, point) in into.iter_mut().zip(points) {
            // infinity is (0, 0) there
            let AffinePoint { x, y } = C::point(point);
            *into = Point {
                x: x.parts().map(split),
                y: y.parts().map(split),
            };
        }
        scale(into, &factor);
    }
}

/// The points in blst's form; coordinates below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn restored<C: Curve, const D: usize>(points: &[Point<D>; 8]) -> [C::Affine; 8]
where
    C::Field: Parts<D>,
{
    let mut points = *points;
    scale(&mut points, &Lanes::splat(&INTO_WORDS));
    points.map(|point| {
        let [x, y] = [point.x, point.y]
            .map(|parts| C::Field::of(parts.map(|limbs| subtract_once(join(&limbs)))));
        C::affine(&AffinePoint { x, y })
    })
}

/// The same points, coordinates below 1.01 p; before, below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn reduced<const D: usize>(points: &[Point<D>], into: &mut [Point<D>]) {
    // 1 in the form of lanes changes nothing but the size
    let one = Lanes::splat(&ONE);
    into.copy_from_slice(points);
    for into in into.chunks_mut(8) {
        scale(into, &one);
    }
}

/// The points as bellperson writes them: both coordinates, big end first, of each the imaginary part
/// before the real one. Those below 2^28 p will do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn written<const D: usize>(points: &[Point<D>], bytes: &mut [u8]) {
    const PART: usize = 48;
    // x·2^416 times 1, / 2^416
    let plain = Lanes::splat(&[1, 0, 0, 0, 0, 0, 0, 0]);
    for (points, bytes) in points.chunks(8).zip(bytes.chunks_mut(16 * D * PART)) {
        let mut eight = [Point::ZERO; 8];
        eight[..points.len()].copy_from_slice(points);
        scale(&mut eight, &plain);
        let parts = eight
            .iter()
            .flat_map(|point| point.x.iter().rev().chain(point.y.iter().rev()));
        for (bytes, limbs) in bytes.chunks_exact_mut(PART).zip(parts) {
            let words = subtract_once(join(limbs));
            for (bytes, word) in bytes.chunks_exact_mut(8).zip(words.iter().rev()) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

/// Multiplies the coordinates of up to eight points.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn scale<const D: usize>(points: &mut [Point<D>], factor: &Lanes) {
    let mut all = [&points[0]; 8];
    for (place, point) in all.iter_mut().zip(points.iter()) {
        *place = point;
    }
    let x = Element::gather(all.map(|point| &point.x)).scaled(factor);
    let y = Element::gather(all.map(|point| &point.y)).scaled(factor);
    let both = x.limbs().into_iter().zip(y.limbs());
    for (point, (x, y)) in points.iter_mut().zip(both) {
        *point = Point { x, y };
    }
}
