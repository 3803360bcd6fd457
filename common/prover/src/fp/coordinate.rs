//! What points' coordinates are made of, on plain registers: elements of the base field (G1) and
//! of its extension by i (G2). Products are blst's; the short functions are written out, since
//! calling them would cost as much as they do.

use super::limbs::{MODULUS, Words, element, words};
use crate::kept::Plain;
use blstrs::{Fp, Fp2};
use ff::Field;

/// Elements, all reduced.
pub(crate) trait Coordinate: Plain + Send + Sync + PartialEq + std::fmt::Debug {
    const ZERO: Self;
    const ONE: Self;
    fn is_zero(&self) -> bool;
    fn plus(&self, other: &Self) -> Self;
    fn minus(&self, other: &Self) -> Self;
    fn times(&self, other: &Self) -> Self;
    fn square(&self) -> Self;
    /// 1/x; of zero anything.
    fn inverse(&self) -> Self;
}

#[expect(unsafe_code, reason = "points may lie in a file")]
// SAFETY: transparently blst's six numbers of 64 bits; blst calculates with numbers that are not
// reduced as well, only not right
unsafe impl Plain for Fp {}

#[expect(unsafe_code, reason = "points may lie in a file")]
// SAFETY: transparently blst's two of these
unsafe impl Plain for Fp2 {}

impl Coordinate for Fp {
    const ZERO: Self = <Self as Field>::ZERO;
    const ONE: Self = <Self as Field>::ONE;

    #[inline]
    fn is_zero(&self) -> bool {
        words(*self).iter().fold(0, |all, word| all | word) == 0
    }

    #[inline]
    fn plus(&self, other: &Self) -> Self {
        self + other
    }

    #[inline]
    fn minus(&self, other: &Self) -> Self {
        element(difference(words(*self), words(*other)))
    }

    #[inline]
    fn times(&self, other: &Self) -> Self {
        self * other
    }

    #[inline]
    fn square(&self) -> Self {
        Field::square(self)
    }

    fn inverse(&self) -> Self {
        self.invert().unwrap_or(<Self as Field>::ZERO)
    }
}

impl Coordinate for Fp2 {
    const ZERO: Self = Self::new(<Fp as Field>::ZERO, <Fp as Field>::ZERO);
    const ONE: Self = Self::new(<Fp as Field>::ONE, <Fp as Field>::ZERO);

    #[inline]
    fn is_zero(&self) -> bool {
        [self.c0(), self.c1()].iter().all(Coordinate::is_zero)
    }

    #[inline]
    fn plus(&self, other: &Self) -> Self {
        self + other
    }

    #[inline]
    fn minus(&self, other: &Self) -> Self {
        Self::new(self.c0().minus(&other.c0()), self.c1().minus(&other.c1()))
    }

    #[inline]
    fn times(&self, other: &Self) -> Self {
        self * other
    }

    #[inline]
    fn square(&self) -> Self {
        Field::square(self)
    }

    fn inverse(&self) -> Self {
        self.invert().unwrap_or(<Self as Field>::ZERO)
    }
}

/// What an element consists of: one element of the base field, or two.
pub(crate) trait Parts<const D: usize>: Coordinate {
    /// In blst's form.
    fn parts(&self) -> [Words; D];
    /// The other way round; they are reduced.
    fn of(parts: [Words; D]) -> Self;
}

impl Parts<1> for Fp {
    #[inline]
    fn parts(&self) -> [Words; 1] {
        [words(*self)]
    }

    #[inline]
    fn of([part]: [Words; 1]) -> Self {
        element(part)
    }
}

impl Parts<2> for Fp2 {
    #[inline]
    fn parts(&self) -> [Words; 2] {
        [words(self.c0()), words(self.c1())]
    }

    #[inline]
    fn of(parts: [Words; 2]) -> Self {
        let [real, imaginary] = parts.map(element);
        Self::new(real, imaginary)
    }
}

/// a − b modulo p.
#[inline]
fn difference(a: Words, b: Words) -> Words {
    let mut difference = [0; 6];
    let mut borrow = false;
    for i in 0..6 {
        let (part, first) = a[i].overflowing_sub(b[i]);
        let (part, second) = part.overflowing_sub(u64::from(borrow));
        difference[i] = part;
        borrow = first | second;
    }
    // p is added where the difference was below zero, without a jump that nobody can foresee
    let mask = u64::from(borrow).wrapping_neg();
    let mut carry = false;
    for i in 0..6 {
        let (part, first) = difference[i].overflowing_add(MODULUS[i] & mask);
        let (part, second) = part.overflowing_add(u64::from(carry));
        difference[i] = part;
        carry = first | second;
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn differences_are_the_fields_own() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut elements = vec![
            <Fp as Field>::ZERO,
            <Fp as Field>::ONE,
            -<Fp as Field>::ONE,
            Fp::from(2),
        ];
        elements.extend((0..50).map(|_| Fp::random(&mut random)));
        for a in &elements {
            for b in &elements {
                assert_eq!(a.minus(b), a - b);
                let [a2, b2] = [Fp2::new(*a, *b), Fp2::new(*b, -a)];
                assert_eq!(a2.minus(&b2), a2 - b2);
                assert_eq!(Coordinate::is_zero(&a.minus(b)), a == b);
            }
        }
    }
}
