//! Multiples of a point of G1, eight additions at a time.

use super::table::Code;
use crate::multiexp::{
    additions::Adder,
    points::{Point, converted, reduced, written},
};
use blstrs::{G1Affine, G1Projective};

pub(super) struct InLanes;

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
impl Code for InLanes {
    type Group = G1Projective;
    type Point = Point;
    type Adder = Adder;
    const BYTES: usize = 96;

    fn adder(most: usize) -> Adder {
        // SAFETY: tables in lanes are made only where the CPU has AVX-512 with IFMA
        unsafe { Adder::new(most) }
    }

    fn entries(points: &[G1Affine]) -> Vec<Point> {
        let mut entries = vec![Point::ZERO; points.len()];
        // SAFETY: as above
        unsafe { converted(points, &mut entries) };
        entries
    }

    fn sums<'a>(
        adder: &'a mut Adder,
        entries: &[Point],
        indices: &[u32],
        lengths: &mut [u32],
    ) -> &'a [Point] {
        let mut surplus = Vec::new();
        // SAFETY: as above
        let sums = unsafe { adder.sums(entries, indices, lengths, &mut surplus) };
        assert!(surplus.is_empty(), "a sum of digits is at infinity");
        sums
    }

    fn reduce(sums: &[Point], entries: &mut [Point]) {
        // SAFETY: as above
        unsafe { reduced(sums, entries) }
    }

    fn write(sums: &[Point], bytes: &mut [u8]) {
        // SAFETY: as above
        unsafe { written(sums, bytes) }
    }
}
