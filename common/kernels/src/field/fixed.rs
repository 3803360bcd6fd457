//! Products of eight elements with constants that are known long before: with a quotient worked
//! out ahead the product needs a sixth fewer multiplications than Montgomery's, and no chain of
//! five steps (Shoup's trick; V. Shoup, NTL; D. Harvey, "Faster arithmetic for number-theoretic
//! transforms", 2014).
//!
//! For a constant w < p let w' = ⌊w 2^260 / p⌋. For x below 2^260, q = ⌊x w' / 2^260⌋ is x w / p
//! or little less, so that x w − q p is below (x/2^260 + 1) p. It is less than 2^260, thus known
//! from its lower 260 bits alone: only the upper half of x w' and the lower halves of x w and
//! q p are computed. (The columns of x w' below the fourth are left out, too. They hold less
//! than 8 × 2^52 units of the third: 2^-49 of q's unit, and as much of p in the result.)
//!
//! There is no factor R: elements keep the scale that they have.

use super::lanes::{Lanes, all};
use super::limbs::{LIMB, Limbs, MINUS_INVERSE, P, Words, split, value};
use blstrs::Scalar;
use ff::Field;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_setzero_si512, _mm512_srli_epi64,
};
use std::sync::LazyLock;

/// A constant w and its ⌊w 2^260 / p⌋.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed {
    value: Limbs,
    quotient: Limbs,
}

/// A constant for all lanes.
#[derive(Clone, Copy, Debug)]
pub struct FixedLanes {
    value: Lanes,
    quotient: Lanes,
}

/// 2^260 − p: what is added instead of subtracting p, modulo 2^260.
const MINUS_P: Limbs = {
    let mut limbs = [0; 5];
    let mut i = 0;
    while i < 5 {
        // p is odd: nothing is carried out of the lowest limb, 2^52 − p₀
        limbs[i] = LIMB - P[i] + (i == 0) as u64;
        i += 1;
    }
    limbs
};

/// 2^260 modulo p.
static RADIX: LazyLock<Scalar> = LazyLock::new(|| Scalar::from(2).pow_vartime([260]));

/// ⌊w 2^260 / p⌋ = (w 2^260 − r)/p for the rest r: modulo 2^260 that is −r/p, limb by limb what
/// Montgomery's reduction of r multiplies p with.
fn quotient(rest: Words) -> Limbs {
    let mut columns = split(rest).map(u128::from);
    let mut quotient = [0; 5];
    for i in 0..5 {
        let limb = (columns[i] as u64).wrapping_mul(MINUS_INVERSE) & LIMB;
        for j in i..5 {
            columns[j] += u128::from(limb) * u128::from(P[j - i]);
        }
        if i < 4 {
            columns[i + 1] += columns[i] >> 52;
        }
        quotient[i] = limb;
    }
    quotient
}

impl Fixed {
    pub fn new(constant: Scalar) -> Self {
        Self {
            value: split(value(&constant)),
            quotient: quotient(value(&(constant * *RADIX))),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn splat(&self) -> FixedLanes {
        FixedLanes {
            value: Lanes::splat(&self.value),
            quotient: Lanes::splat(&self.quotient),
        }
    }
}

/// `G` products of elements below 2^260 and constants side by side, normal: of A p it gives less
/// than (A/35.3 + 1) p.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn products<const G: usize>(a: &[Lanes; G], b: &[FixedLanes; G]) -> [Lanes; G] {
    let quotients = quotients(a, b);
    let mut columns = [[_mm512_setzero_si512(); G]; 5];
    for g in 0..G {
        let (value, minus_p) = (&b[g].value.0, limbs(&MINUS_P));
        for (a, b) in [(&a[g].0, value), (&quotients[g].0, &minus_p)] {
            low_row::<G, 0>(&mut columns, g, a, b);
            low_row::<G, 1>(&mut columns, g, a, b);
            low_row::<G, 2>(&mut columns, g, a, b);
            low_row::<G, 3>(&mut columns, g, a, b);
            low_row::<G, 4>(&mut columns, g, a, b);
        }
    }
    modulo(columns)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn limbs([a, b, c, d, e]: &Limbs) -> [__m512i; 5] {
    [all(*a), all(*b), all(*c), all(*d), all(*e)]
}

/// ⌊a b' / 2^260⌋; its limbs are the lower 52 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn quotients<const G: usize>(a: &[Lanes; G], b: &[FixedLanes; G]) -> [Lanes; G] {
    let zero = _mm512_setzero_si512();
    let mut quotients = [Lanes([zero; 5]); G];
    for g in 0..G {
        // from the fourth column on
        let mut columns = [zero; 6];
        high_row::<0>(&mut columns, &a[g].0, &b[g].quotient.0);
        high_row::<1>(&mut columns, &a[g].0, &b[g].quotient.0);
        high_row::<2>(&mut columns, &a[g].0, &b[g].quotient.0);
        high_row::<3>(&mut columns, &a[g].0, &b[g].quotient.0);
        high_row::<4>(&mut columns, &a[g].0, &b[g].quotient.0);
        let mut below = columns[0];
        for i in 0..5 {
            below = _mm512_add_epi64(columns[i + 1], _mm512_srli_epi64::<52>(below));
            quotients[g].0[i] = below;
        }
    }
    quotients
}

/// Adds what limb `I` of `a` contributes to the columns from the fourth on.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn high_row<const I: usize>(columns: &mut [__m512i; 6], a: &[__m512i; 5], b: &[__m512i; 5]) {
    for j in 0..5 {
        if I + j >= 4 {
            columns[I + j - 4] = _mm512_madd52lo_epu64(columns[I + j - 4], a[I], b[j]);
        }
        if I + j >= 3 {
            columns[I + j - 3] = _mm512_madd52hi_epu64(columns[I + j - 3], a[I], b[j]);
        }
    }
}

/// Adds what limb `I` of `a` contributes to the columns below the fifth.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn low_row<const G: usize, const I: usize>(
    columns: &mut [[__m512i; G]; 5],
    g: usize,
    a: &[__m512i; 5],
    b: &[__m512i; 5],
) {
    for j in 0..5 {
        if I + j < 5 {
            columns[I + j][g] = _mm512_madd52lo_epu64(columns[I + j][g], a[I], b[j]);
        }
        if I + j < 4 {
            columns[I + j + 1][g] = _mm512_madd52hi_epu64(columns[I + j + 1][g], a[I], b[j]);
        }
    }
}

/// Carried, modulo 2^260.
#[inline]
#[target_feature(enable = "avx512f")]
fn modulo<const G: usize>(mut columns: [[__m512i; G]; 5]) -> [Lanes; G] {
    let mut lanes = [Lanes([_mm512_setzero_si512(); 5]); G];
    for i in 0..5 {
        for g in 0..G {
            if i < 4 {
                let carry = _mm512_srli_epi64::<52>(columns[i][g]);
                columns[i + 1][g] = _mm512_add_epi64(columns[i + 1][g], carry);
            }
            lanes[g].0[i] = _mm512_and_si512(columns[i][g], all(LIMB));
        }
    }
    lanes
}
