//! The two curves of BLS12-381, as those that add points see them.

use super::affine::AffinePoint;
use crate::fp::coordinate::Coordinate;
use blstrs::{Fp, Fp2, G1Affine, G1Projective, G2Affine, G2Projective};
use group::{UncompressedEncoding, prime::PrimeCurveAffine};
use std::ops::AddAssign;

/// A curve.
pub(super) trait Curve: Sync {
    type Field: Coordinate;
    type Affine: UncompressedEncoding;
    type Sum: group::Curve<AffineRepr = Self::Affine> + for<'a> AddAssign<&'a Self::Affine> + Send;
    fn point(affine: &Self::Affine) -> AffinePoint<Self::Field>;
    fn affine(point: &AffinePoint<Self::Field>) -> Self::Affine;
}

#[derive(Debug)]
pub(super) struct G1;

impl Curve for G1 {
    type Field = Fp;
    type Affine = G1Affine;
    type Sum = G1Projective;

    fn point(affine: &G1Affine) -> AffinePoint<Fp> {
        match bool::from(affine.is_identity()) {
            true => AffinePoint::INFINITY,
            false => AffinePoint {
                x: affine.x(),
                y: affine.y(),
            },
        }
    }

    fn affine(point: &AffinePoint<Fp>) -> G1Affine {
        G1Affine::from_raw_unchecked(point.x, point.y, point.is_infinity())
    }
}

#[derive(Debug)]
pub(super) struct G2;

impl Curve for G2 {
    type Field = Fp2;
    type Affine = G2Affine;
    type Sum = G2Projective;

    fn point(affine: &G2Affine) -> AffinePoint<Fp2> {
        match bool::from(affine.is_identity()) {
            true => AffinePoint::INFINITY,
            false => AffinePoint {
                x: affine.x(),
                y: affine.y(),
            },
        }
    }

    fn affine(point: &AffinePoint<Fp2>) -> G2Affine {
        G2Affine::from_raw_unchecked(point.x, point.y, point.is_infinity())
    }
}
