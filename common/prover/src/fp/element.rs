//! Eight elements side by side of the base field (D = 1), or of its extension by i (D = 2), over
//! which the points of G2 lie.
//!
//! # How large they become
//! As in [`super::lanes`]; a bound holds for both parts of an element of the extension. A product of
//! two such is a sum of two products for each part, reduced together: where the factors are below A·p
//! and B·p, below (2·A·B / 2^35 + 1)·p. One of its four products is taken away, as p's multiple less a
//! part of the *first* factor: that one must be below 2 p, as all products are.

use super::{
    lanes::Lanes,
    limbs::{Limbs, ONE, multiple},
};
use std::arch::x86_64::__mmask8;

/// What is above all products.
const TWO: Limbs = multiple(2);

/// Eight elements, each part normal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<const D: usize>([Lanes; D]);

impl<const D: usize> Element<D> {
    /// The same element in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn splat(element: &[Limbs; D]) -> Self {
        let mut parts = [Lanes::splat(&[0; 8]); D];
        for (part, limbs) in parts.iter_mut().zip(element) {
            *part = Lanes::splat(limbs);
        }
        Self(parts)
    }

    /// 1 in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn one() -> Self {
        let mut one = [[0; 8]; D];
        one[0] = ONE;
        Self::splat(&one)
    }

    /// The limbs of eight elements.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn gather(elements: [&[Limbs; D]; 8]) -> Self {
        let mut parts = [Lanes::splat(&[0; 8]); D];
        for (i, part) in parts.iter_mut().enumerate() {
            *part = Lanes::gather(elements.map(|element| &element[i]));
        }
        Self(parts)
    }

    /// The other way round.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn limbs(self) -> [[Limbs; D]; 8] {
        let mut elements = [[[0; 8]; D]; 8];
        for (i, part) in self.0.into_iter().enumerate() {
            for (element, limbs) in elements.iter_mut().zip(part.limbs()) {
                element[i] = limbs;
            }
        }
        elements
    }

    /// Both parts times the same, / 2^416.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn scaled(&self, factor: &Lanes) -> Self {
        let mut parts = self.0;
        for part in &mut parts {
            *part = part.times(factor);
        }
        Self(parts)
    }

    /// The product / 2^416. This is a product, or reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut product = self.0;
        match (&self.0[..], &other.0[..], &mut product[..]) {
            ([a, b], [c, d], [real, imaginary]) => {
                let minus_b = b.negated_where(!0, &TWO);
                *real = Lanes::sum_of_products([a, c], [&minus_b, d]);
                *imaginary = Lanes::sum_of_products([a, d], [b, c]);
            }
            _ => product[0] = self.0[0].times(&other.0[0]),
        }
        Self(product)
    }

    /// The square / 2^416. This is a product.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn square(&self) -> Self {
        let mut square = self.0;
        match (&self.0[..], &mut square[..]) {
            ([a, b], [real, imaginary]) => {
                *real = a.plus(b).times(&a.minus(b, &TWO));
                *imaginary = a.times(&b.plus(b));
            }
            _ => square[0] = self.0[0].square(),
        }
        Self(square)
    }

    /// The difference and a multiple of p that is at least as large as what is taken away.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn minus(&self, other: &Self, multiple: &Limbs) -> Self {
        let mut parts = self.0;
        for (part, other) in parts.iter_mut().zip(&other.0) {
            *part = part.minus(other, multiple);
        }
        Self(parts)
    }

    /// This − a − b and a multiple of p that is at least as large as what is taken away.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn minus_both(&self, [a, b]: [&Self; 2], multiple: &Limbs) -> Self {
        let mut parts = self.0;
        for (i, part) in parts.iter_mut().enumerate() {
            *part = part.minus_both([&a.0[i], &b.0[i]], multiple);
        }
        Self(parts)
    }

    /// In the lanes of the mask the negative, for elements of at most the multiple of p.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn negated_where(self, mask: __mmask8, multiple: &Limbs) -> Self {
        let mut parts = self.0;
        for part in &mut parts {
            *part = part.negated_where(mask, multiple);
        }
        Self(parts)
    }

    /// 1 / x of products. None: one of them is 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn inverse(self) -> Option<Self> {
        let mut inverse = self.0;
        match (&self.0[..], &mut inverse[..]) {
            ([a, b], [real, imaginary]) => {
                // (a − b·i)/(a² + b²); −1 is no square, so that below is 0 for 0 only
                let below = Lanes::sum_of_products([a, a], [b, b]).inverse()?;
                *real = a.times(&below);
                *imaginary = b.negated_where(!0, &TWO).times(&below);
            }
            _ => inverse[0] = self.0[0].inverse()?,
        }
        Some(Self(inverse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fp::{
        coordinate::{Coordinate, Parts},
        limbs::{INTO_LANES, INTO_WORDS, join, split, subtract_once},
    };
    use blstrs::{Fp, Fp2};
    use damocles_kernels::cpu::Cpu;
    use ff::Field;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// What operations give, one element at a time and in lanes.
    struct Checked<F> {
        elements: Vec<F>,
    }

    impl<F> Checked<F> {
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn into_lanes<const D: usize>(elements: &[F; 8]) -> Element<D>
        where
            F: Parts<D>,
        {
            let limbs = elements.map(|element| element.parts().map(split));
            Element::gather(limbs.each_ref()).scaled(&Lanes::splat(&INTO_LANES))
        }

        #[target_feature(enable = "avx512f,avx512ifma")]
        fn out_of<const D: usize>(lanes: Element<D>) -> [F; 8]
        where
            F: Parts<D>,
        {
            let limbs = lanes.scaled(&Lanes::splat(&INTO_WORDS)).limbs();
            limbs.map(|parts| F::of(parts.map(|limbs| subtract_once(join(&limbs)))))
        }

        #[target_feature(enable = "avx512f,avx512ifma")]
        fn check<const D: usize>(&self)
        where
            F: Parts<D>,
        {
            let multiple = multiple(1 << 14);
            for (i, a) in self.elements.iter().enumerate() {
                // each with itself, and with those behind it
                let b: [F; 8] =
                    std::array::from_fn(|j| self.elements[(i + j) % self.elements.len()]);
                let (first, second) = (Self::into_lanes(&[*a; 8]), Self::into_lanes(&b));
                let product = Self::out_of(first.times(&second));
                assert_eq!(product, b.map(|b| a.times(&b)));
                // the second factor may be large
                let large = second.minus(&first, &multiple);
                assert_eq!(Self::out_of(large), b.map(|b| b.minus(a)));
                let product = Self::out_of(first.times(&large));
                assert_eq!(product, b.map(|b| a.times(&b.minus(a))));
                let both = large.minus_both([&second, &first], &multiple);
                assert_eq!(Self::out_of(both), b.map(|_| F::ZERO.minus(a).minus(a)));
                assert_eq!(Self::out_of(second.square()), b.map(|b| b.square()));
                let negated = second.negated_where(0b1010_0101, &TWO);
                let wanted = [0, 1, 2, 3, 4, 5, 6, 7].map(|j| match 0b1010_0101 >> j & 1 {
                    1 => F::ZERO.minus(&b[j]),
                    _ => b[j],
                });
                assert_eq!(Self::out_of(negated), wanted);
                match second.inverse() {
                    Some(inverse) => assert_eq!(Self::out_of(inverse), b.map(|b| b.inverse())),
                    None => assert!(b.iter().any(Coordinate::is_zero)),
                }
            }
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn lanes_calculate_as_single_elements() {
        if !Cpu::detect().ifma {
            return;
        }
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut edges = vec![<Fp as Field>::ZERO, <Fp as Field>::ONE, -<Fp as Field>::ONE];
        edges.extend((0..20).map(|_| Fp::random(&mut random)));
        let pairs = edges.iter().flat_map(|a| {
            let some = edges.iter().take(5);
            some.map(|b| Fp2::new(*a, *b))
        });
        let pairs = pairs.collect();
        // SAFETY: the CPU has AVX-512 with IFMA
        unsafe {
            Checked {
                elements: edges.clone(),
            }
            .check::<1>();
            Checked::<Fp2> { elements: pairs }.check::<2>();
        }
    }
}
