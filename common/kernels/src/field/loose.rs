//! Sums and differences of eight elements whose limbs are not carried: a transform adds many
//! times before it multiplies, and only what is multiplied must be normal.
//!
//! # Numbers
//! A [`Loose`] is five signed limbs of 64 bits; its value, with all of them added up, is from
//! 0 to below 2^260 = 35.3 p.
//!
//! # Why nothing overflows
//! * The limbs of a product are below 2^57 (see [`super::lanes`]), those of multiples of p that
//!   are added here, below 2^52. So a sum of d products and normal numbers (a sum of sums
//!   counts them all) has limbs within ±d × 2^57: 30 of them stay below 2^62, and a carry from
//!   below, 2^10, changes nothing about that.
//! * A difference adds a multiple of p that is at least what is subtracted, so that the value
//!   never is negative. Who adds, sees to it that it stays below 2^260.
#![expect(
    clippy::needless_range_loop,
    reason = "an index names a limb or a group in several arrays at once"
)]

use super::lanes::{Lanes, Word8, add_products, all, memory, one, reduce_columns, register};
use super::limbs::{LIMB, Limbs, P};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_permutex2var_epi64, _mm512_setzero_si512,
    _mm512_shuffle_i64x2, _mm512_srli_epi64, _mm512_sub_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64,
};

/// Eight elements in memory: limb `i` of element `l` is `block[i][l]`. 320 bytes, fastest when
/// they begin at a multiple of 64.
pub type Block = [Word8; 5];

/// Eight elements, not carried.
#[derive(Clone, Copy, Debug)]
pub struct Loose([__m512i; 5]);

/// k × p.
pub const fn multiple(k: u64) -> Limbs {
    let mut limbs = [0; 5];
    let mut carry = 0;
    let mut i = 0;
    while i < 5 {
        let limb = P[i] as u128 * k as u128 + carry;
        limbs[i] = limb as u64 & LIMB;
        carry = limb >> 52;
        i += 1;
    }
    assert!(carry == 0, "below 2^260");
    limbs
}

/// Limb i of 0, p, … 15 p: what a permutation picks by the quotient.
const MULTIPLES: [[Word8; 2]; 5] = {
    let mut table = [[[0; 8]; 2]; 5];
    let mut k = 0;
    while k < 16 {
        let limbs = multiple(k as u64);
        let mut i = 0;
        while i < 5 {
            table[i][k / 8][k % 8] = limbs[i];
            i += 1;
        }
        k += 1;
    }
    table
};

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn loose(self) -> Loose {
        Loose(self.0)
    }
}

impl Loose {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn load(block: &Block) -> Self {
        let [a, b, c, d, e] = *block;
        Self([
            register(a),
            register(b),
            register(c),
            register(d),
            register(e),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn store(self) -> Block {
        let [a, b, c, d, e] = self.0;
        [memory(a), memory(b), memory(c), memory(d), memory(e)]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn plus(self, other: &Self) -> Self {
        let mut sum = self.0;
        for i in 0..5 {
            sum[i] = _mm512_add_epi64(sum[i], other.0[i]);
        }
        Self(sum)
    }

    /// Minus `other`, plus a multiple of p that is not less than it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn minus(self, other: &Self, multiple: &Limbs) -> Self {
        let mut difference = self.0;
        for i in 0..5 {
            let raised = _mm512_add_epi64(difference[i], all(multiple[i]));
            difference[i] = _mm512_sub_epi64(raised, other.0[i]);
        }
        Self(difference)
    }

    /// The same numbers, normal.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn carry(self) -> Lanes {
        one(self.0)
    }

    /// The same elements of the field, normal: x p becomes less than (0.095 x + 1) p, for x up
    /// to 17.6.
    ///
    /// The quotient q is estimated as ⌊x p / 2^255⌋, from the top limb alone: 2^255 is 1.104 p,
    /// so q p is not more than x p, and what remains is less than x p (1 − p/2^255) + p. The
    /// top limb of an uncarried number may be wrong by 2^11, also below 0: 2^13 is added first.
    /// Where that lifts q, x p is within 2^14 × 2^208 below q × 2^255, far above q p.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn reduce(self) -> Lanes {
        let top = _mm512_add_epi64(self.0[4], all(1 << 13));
        let quotient = _mm512_srli_epi64::<47>(top);
        let mut rest = self.0;
        for i in 0..5 {
            let [low, high] = [register(MULTIPLES[i][0]), register(MULTIPLES[i][1])];
            let multiple = _mm512_permutex2var_epi64(low, quotient, high);
            rest[i] = _mm512_sub_epi64(rest[i], multiple);
        }
        one(rest)
    }
}

/// `G` products a × b / R side by side, as [`super::lanes::products`] makes them, not carried.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn products<const G: usize>(a: &[Lanes; G], b: &[Lanes; G]) -> [Loose; G] {
    let mut columns = [[_mm512_setzero_si512(); G]; 10];
    add_products(&mut columns, a, b);
    let columns = reduce_columns(columns);
    let mut loose = [Loose([_mm512_setzero_si512(); 5]); G];
    for g in 0..G {
        for i in 0..5 {
            loose[g].0[i] = columns[i][g];
        }
    }
    loose
}

/// Element `l` of row `i` and element `i` of row `l` change places.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transpose(rows: &mut [Loose; 8]) {
    for limb in 0..5 {
        let mut square = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            square[i] = rows[i].0[limb];
        }
        let square = transposed_limbs(&square);
        for i in 0..8 {
            rows[i].0[limb] = square[i];
        }
    }
}

/// First pairs of rows, then pairs and fours of columns change places.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transposed_limbs(rows: &[__m512i; 8]) -> [__m512i; 8] {
    let zero = _mm512_setzero_si512();
    let (mut pairs, mut fours, mut eights) = ([zero; 8], [zero; 8], [zero; 8]);
    for i in 0..4 {
        // elements 0, 2, 4, 6 of two rows, and 1, 3, 5, 7
        pairs[2 * i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
    }
    for half in [0, 4] {
        for odd in 0..2 {
            let [first, second] = [pairs[half + odd], pairs[half + 2 + odd]];
            // elements 0 and 4 of four rows, and 2 and 6
            fours[half + odd] = _mm512_shuffle_i64x2::<0x88>(first, second);
            fours[half + 2 + odd] = _mm512_shuffle_i64x2::<0xdd>(first, second);
        }
    }
    for i in 0..4 {
        eights[i] = _mm512_shuffle_i64x2::<0x88>(fours[i], fours[4 + i]);
        eights[4 + i] = _mm512_shuffle_i64x2::<0xdd>(fours[i], fours[4 + i]);
    }
    eights
}
