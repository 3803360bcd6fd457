//! Eight elements of the base field at a time with AVX-512 IFMA: eight registers hold one limb
//! each of eight elements.
//!
//! # Numbers
//! A [`Lanes`] is *normal*: every limb is below 2^52. It need not be below p: there is room for
//! 2^35 p, which is what saves the subtractions. Where an element is below A·p and another one
//! below B·p,
//! * their product / 2^416 is below (A·B / 2^35 + 1)·p, so below 1.01 p for any A·B up to 2^28;
//! * `minus` adds a multiple of p of at least B, so that nothing is below zero.
//!
//! # Why nothing overflows
//! A column of a product sums up to 8 lower and 8 upper halves, each below 2^52, one of two products
//! twice as many; the reduction adds as many as one and a carry: below 49 × 2^52 < 2^58 of 2^64.
#![expect(
    clippy::needless_range_loop,
    reason = "an index names a limb in several arrays at once"
)]

use super::limbs::{
    Limbs, MINUS_INVERSE, OF_INVERSE, P, element, join, split, subtract_once, words,
};
use damocles_kernels::field::{
    lanes::{all, memory, register},
    limbs::LIMB,
    loose::transposed_limbs,
};
use ff::Field;
use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_setzero_si512, _mm512_srai_epi64,
    _mm512_srli_epi64, _mm512_sub_epi64,
};

/// Eight elements, normal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes([__m512i; 8]);

impl Lanes {
    /// The same element in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn splat(element: &Limbs) -> Self {
        let mut lanes = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            lanes[i] = all(element[i]);
        }
        Self(lanes)
    }

    /// The limbs of eight elements.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn gather(elements: [&Limbs; 8]) -> Self {
        let mut rows = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            rows[i] = register(*elements[i]);
        }
        Self(transposed_limbs(&rows))
    }

    /// The other way round.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn limbs(self) -> [Limbs; 8] {
        let rows = transposed_limbs(&self.0);
        let mut limbs = [[0; 8]; 8];
        for i in 0..8 {
            limbs[i] = memory(rows[i]);
        }
        limbs
    }

    /// The product / 2^416.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn times(&self, other: &Self) -> Self {
        reduced(self.added_product([_mm512_setzero_si512(); 16], other))
    }

    /// a·b + c·d, / 2^416.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn sum_of_products([a, b]: [&Self; 2], [c, d]: [&Self; 2]) -> Self {
        let columns = a.added_product([_mm512_setzero_si512(); 16], b);
        reduced(c.added_product(columns, d))
    }

    /// Adds the columns of a product.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn added_product(&self, mut columns: [__m512i; 16], other: &Self) -> [__m512i; 16] {
        for i in 0..8 {
            for j in 0..8 {
                columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], self.0[j], other.0[i]);
            }
            for j in 0..8 {
                let column = &mut columns[i + j + 1];
                *column = _mm512_madd52hi_epu64(*column, self.0[j], other.0[i]);
            }
        }
        columns
    }

    /// The square / 2^416.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn square(&self) -> Self {
        let a = &self.0;
        let mut columns = [_mm512_setzero_si512(); 16];
        for i in 0..8 {
            for j in i + 1..8 {
                columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], a[i], a[j]);
            }
            for j in i + 1..8 {
                columns[i + j + 1] = _mm512_madd52hi_epu64(columns[i + j + 1], a[i], a[j]);
            }
        }
        // every product of two different limbs occurs twice
        for column in &mut columns[1..15] {
            *column = _mm512_add_epi64(*column, *column);
        }
        for i in 0..8 {
            columns[2 * i] = _mm512_madd52lo_epu64(columns[2 * i], a[i], a[i]);
            columns[2 * i + 1] = _mm512_madd52hi_epu64(columns[2 * i + 1], a[i], a[i]);
        }
        reduced(columns)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.0;
        for i in 0..8 {
            sum[i] = _mm512_add_epi64(sum[i], other.0[i]);
        }
        normal(sum)
    }

    /// The difference and a multiple of p that is at least as large as what is taken away.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn minus(&self, other: &Self, multiple: &Limbs) -> Self {
        let mut difference = self.0;
        for i in 0..8 {
            let more = _mm512_add_epi64(difference[i], all(multiple[i]));
            difference[i] = _mm512_sub_epi64(more, other.0[i]);
        }
        normal(difference)
    }

    /// This − a − b and a multiple of p that is at least as large as what is taken away.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn minus_both(&self, [a, b]: [&Self; 2], multiple: &Limbs) -> Self {
        let mut difference = self.0;
        for i in 0..8 {
            let more = _mm512_add_epi64(difference[i], all(multiple[i]));
            let less = _mm512_add_epi64(a.0[i], b.0[i]);
            difference[i] = _mm512_sub_epi64(more, less);
        }
        normal(difference)
    }

    /// In the lanes of the mask the negative, for elements of at most the multiple of p.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn negated_where(self, mask: __mmask8, multiple: &Limbs) -> Self {
        let zero = Self([_mm512_setzero_si512(); 8]);
        let negative = zero.minus(&self, multiple);
        let mut chosen = self.0;
        for i in 0..8 {
            chosen[i] = _mm512_mask_blend_epi64(mask, chosen[i], negative.0[i]);
        }
        Self(chosen)
    }

    /// 1 / x of elements below 2 p. None: one of them is 0.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn inverse(self) -> Option<Self> {
        // one inversion for all eight: products of those before each, and back
        let elements = self
            .limbs()
            .map(|limbs| element(subtract_once(join(&limbs))));
        let mut before = [blstrs::Fp::ONE; 8];
        let mut product = blstrs::Fp::ONE;
        for (before, element) in before.iter_mut().zip(&elements) {
            *before = product;
            product *= element;
        }
        let mut inverse: blstrs::Fp = Option::from(product.invert())?;
        // what `INTO_LANES` is for lanes
        let back = element(OF_INVERSE);
        let mut inverses = [[0; 8]; 8];
        for i in (0..8).rev() {
            inverses[i] = split(words(inverse * before[i] * back));
            inverse *= elements[i];
        }
        let [a, b, c, d, e, f, g, h] = &inverses;
        Some(Self::gather([a, b, c, d, e, f, g, h]))
    }
}

/// Adds the multiples of p that clear the lower eight columns, from the lowest on; the rest is the
/// sum / 2^416.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduced(mut columns: [__m512i; 16]) -> Lanes {
    let zero = _mm512_setzero_si512();
    for i in 0..8 {
        let q = _mm512_madd52lo_epu64(zero, columns[i], all(MINUS_INVERSE));
        for j in 0..8 {
            columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], q, all(P[j]));
        }
        // the lowest limb is zero by now
        let carry = _mm512_srli_epi64::<52>(columns[i]);
        columns[i + 1] = _mm512_add_epi64(columns[i + 1], carry);
        for j in 0..8 {
            columns[i + j + 1] = _mm512_madd52hi_epu64(columns[i + j + 1], q, all(P[j]));
        }
    }
    let [.., a, b, c, d, e, f, g, h] = columns;
    normal([a, b, c, d, e, f, g, h])
}

/// Carries what exceeds a limb, or is below zero, upwards.
#[inline]
#[target_feature(enable = "avx512f")]
fn normal(mut limbs: [__m512i; 8]) -> Lanes {
    for i in 0..7 {
        let carry = _mm512_srai_epi64::<52>(limbs[i]);
        limbs[i] = _mm512_and_si512(limbs[i], all(LIMB));
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], carry);
    }
    Lanes(limbs)
}
