//! Multiexponentiation by blst's own: in G1 on CPUs without lanes, in G2 always (few of a proof's
//! points lie there).

use blst::{MultiPoint, blst_p1_affine, blst_p2_affine};
use blstrs::{G1Affine, G1Projective, G2Affine, G2Projective};
use damocles_kernels::field::limbs::Words;
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
        let [ones, others] = sums(&self.0, scalars);
        projective(ones) + projective(others)
    }
}

/// Points of G2, 192 bytes each.
#[derive(Debug)]
pub struct G2Bases(Vec<blst_p2_affine>);

impl G2Bases {
    pub fn new(points: &[G2Affine]) -> Self {
        Self(points.iter().map(|point| *point.as_ref()).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Σ scalar × point, on all cores of the process: blst's threads are its own.
    ///
    /// # Panics
    /// When there are more scalars than points.
    pub fn multiexp(&self, scalars: &[Words]) -> G2Projective {
        assert!(scalars.len() <= self.len(), "more scalars than points");
        let [ones, others] = sums(&self.0, scalars).map(|sum| {
            let mut projective = G2Projective::identity();
            if let Some(sum) = sum {
                *projective.as_mut() = sum;
            }
            projective
        });
        ones + others
    }
}

/// The sum of the points whose scalar is 1, and that of the others times their scalars; none where
/// there are no points.
fn sums<P: Copy>(points: &[P], scalars: &[Words]) -> [Option<<[P] as MultiPoint>::Output>; 2]
where
    [P]: MultiPoint,
{
    let (mut ones, mut others, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for (point, scalar) in points.iter().zip(scalars) {
        match scalar {
            [0, 0, 0, 0] => {}
            [1, 0, 0, 0] => ones.push(*point),
            _ => {
                others.push(*point);
                bytes.extend(scalar.iter().flat_map(|word| word.to_le_bytes()));
            }
        }
    }
    [
        (!ones.is_empty()).then(|| ones.add()),
        (!others.is_empty()).then(|| others.mult(&bytes, BITS)),
    ]
}

fn projective(sum: Option<blst::blst_p1>) -> G1Projective {
    let mut projective = G1Projective::identity();
    if let Some(sum) = sum {
        *projective.as_mut() = sum;
    }
    projective
}
