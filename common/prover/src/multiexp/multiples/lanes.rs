//! Multiples of a point of G1 or G2, eight additions at a time.

use super::table::Code;
use crate::{
    fp::coordinate::Parts,
    multiexp::{
        additions::Adder,
        curve::Curve,
        points::{Point, converted, reduced, written},
    },
};
use group::UncompressedEncoding;
use std::marker::PhantomData;

pub(super) struct InLanes<C, const D: usize>(PhantomData<C>);

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
impl<C: Curve, const D: usize> Code for InLanes<C, D>
where
    C::Field: Parts<D>,
{
    type Group = C::Sum;
    type Point = Point<D>;
    type Adder = Adder<C, D>;
    const BYTES: usize = size_of::<<C::Affine as UncompressedEncoding>::Uncompressed>();

    fn adder(most: usize) -> Adder<C, D> {
        // SAFETY: tables in lanes are made only where the CPU has AVX-512 with IFMA
        unsafe { Adder::new(most) }
    }

    fn entries(points: &[C::Affine]) -> Vec<Point<D>> {
        let mut entries = vec![Point::ZERO; points.len()];
        // SAFETY: as above
        unsafe { converted::<C, D>(points, &mut entries) };
        entries
    }

    fn sums<'a>(
        adder: &'a mut Adder<C, D>,
        entries: &[Point<D>],
        indices: &[u32],
        lengths: &mut [u32],
    ) -> &'a [Point<D>] {
        let mut surplus = Vec::new();
        // SAFETY: as above
        let sums = unsafe { adder.sums(entries, indices, lengths, &mut surplus) };
        assert!(surplus.is_empty(), "a sum of digits is at infinity");
        sums
    }

    fn reduce(sums: &[Point<D>], entries: &mut [Point<D>]) {
        // SAFETY: as above
        unsafe { reduced(sums, entries) }
    }

    fn write(sums: &[Point<D>], bytes: &mut [u8]) {
        // SAFETY: as above
        unsafe { written(sums, bytes) }
    }
}
