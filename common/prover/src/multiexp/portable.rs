//! The same by blst's own multiexponentiation.

use super::digits::Words;
use blst::{MultiPoint, blst_p1, blst_p1_affine};
use blstrs::{G1Affine, G1Projective};
use group::Group;

/// Bits of a scalar.
const BITS: usize = 255;

#[derive(Debug)]
pub(super) struct InWords(Vec<blst_p1_affine>);

impl InWords {
    pub(super) fn new(points: &[G1Affine]) -> Self {
        Self(points.iter().map(|point| *point.as_ref()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// On all cores of the process: blst's threads are its own.
    pub(super) fn multiexp(&self, scalars: &[Words]) -> G1Projective {
        let mut points = Vec::new();
        let mut bytes = Vec::new();
        let mut ones = Vec::new();
        for (point, scalar) in self.0.iter().zip(scalars) {
            match scalar {
                [0, 0, 0, 0] => {}
                [1, 0, 0, 0] => ones.push(*point),
                _ => {
                    points.push(*point);
                    bytes.extend(scalar.iter().flat_map(|word| word.to_le_bytes()));
                }
            }
        }
        let mut sum = G1Projective::identity();
        if !points.is_empty() {
            sum += projective(points.mult(&bytes, BITS));
        }
        if !ones.is_empty() {
            sum += projective(ones.add());
        }
        sum
    }
}

fn projective(point: blst_p1) -> G1Projective {
    let mut sum = G1Projective::identity();
    *sum.as_mut() = point;
    sum
}
