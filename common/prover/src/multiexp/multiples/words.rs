//! Multiples of a point on plain registers, in G1 and in G2 alike.

use super::table::Code;
use crate::multiexp::{
    affine::{AffineAdder, AffinePoint},
    curve::Curve,
};
use group::UncompressedEncoding;
use std::marker::PhantomData;

pub(super) struct InWords<C>(PhantomData<C>);

impl<C: Curve> Code for InWords<C> {
    type Group = C::Sum;
    type Point = AffinePoint<C::Field>;
    type Adder = AffineAdder<C::Field>;
    const BYTES: usize = size_of::<<C::Affine as UncompressedEncoding>::Uncompressed>();

    fn adder(most: usize) -> Self::Adder {
        AffineAdder::new(most)
    }

    fn entries(points: &[C::Affine]) -> Vec<Self::Point> {
        points.iter().map(C::point).collect()
    }

    fn sums<'a>(
        adder: &'a mut Self::Adder,
        entries: &[Self::Point],
        indices: &[u32],
        lengths: &mut [u32],
    ) -> &'a [Self::Point] {
        adder.sums(entries, indices, lengths)
    }

    fn reduce(sums: &[Self::Point], entries: &mut [Self::Point]) {
        // they are reduced
        entries.copy_from_slice(sums);
    }

    fn write(sums: &[Self::Point], bytes: &mut [u8]) {
        for (sum, bytes) in sums.iter().zip(bytes.chunks_exact_mut(Self::BYTES)) {
            bytes.copy_from_slice(C::affine(sum).to_uncompressed().as_ref());
        }
    }
}
