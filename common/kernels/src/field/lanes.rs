//! Eight field elements at a time with AVX-512 IFMA: five registers hold one limb each of
//! eight elements.
//!
//! # Numbers
//! A [`Lanes`] is *normal*: every limb is below 2^52, hence every element below 2^260. It need
//! not be below p: 2^260 is 35.3 p, and this room is what saves the subtractions. `vpmadd52`
//! multiplies the lower 52 bits of each lane, so only normal numbers may be multiplied.
//!
//! # Reduction (Montgomery's, one limb at a time)
//! To the sum c of products with lowest limb c₀ one adds q·p, q = −c₀/p mod 2^52: now the
//! lowest limb is zero and is dropped, which divides by 2^52. After five steps a product of
//! two elements is divided by R = 2^260; after one step a product with a small integer weight
//! is divided by 2^52. With T the sum before k steps, the result is below T/2^(52k) + p.
//!
//! # Why nothing overflows
//! * A column (the halves of one weight of all limbs' products) of a product sums up to 5 lower
//!   and 4 upper halves, each below 2^52; the reduction adds up to 5 and 5 and a carry: below
//!   21 × 2^52 < 2^57 of 2^64. Two products are far from it, too.
//! * A column of a [`Weighted`] sum takes two halves per term: up to 2^10 terms stay below 2^63.
//! * Results: products of elements a, b below A·p and B·p give less than
//!   (A·B·p/2^260 + 1)·p = (A·B/35.3 + 1)·p; any A·B ≤ 1200 gives a normal result. Who adds
//!   weights, sees to it that the sum of weights × largest element / 2^52 + p + addend is below
//!   2^260.
//!
//! # No closures
//! `array::map` and its like are compiled without the CPU's features, so that neither they nor
//! what they call is inlined here; hence the loops.
//!
//! # Carry out of the cleared limb
//! c₀ + low(q·p₀) is a multiple of 2^52, and low(q·p₀) is below 2^52: so the carry is
//! ⌈c₀/2^52⌉ = (c₀ + 2^52 − 1) >> 52. It needs neither the product nor q.
#![expect(unsafe_code, reason = "registers are read and written as plain memory")]
#![expect(
    clippy::needless_range_loop,
    reason = "an index names a limb or a group in several arrays at once"
)]

use super::limbs::{LIMB, Limbs, MINUS_INVERSE, P};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_blend_epi64, _mm512_movepi64_mask, _mm512_or_si512, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srai_epi64, _mm512_srli_epi64,
    _mm512_sub_epi64,
};

/// One word (or limb) of eight elements.
pub type Word8 = [u64; 8];

/// Eight elements, normal.
#[derive(Clone, Copy, Debug)]
pub struct Lanes(pub(super) [__m512i; 5]);

#[inline]
#[target_feature(enable = "avx512f")]
pub fn all(limb: u64) -> __m512i {
    _mm512_set1_epi64(limb.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
pub fn register(words: Word8) -> __m512i {
    // SAFETY: both are 64 bytes of which any pattern is valid
    unsafe { std::mem::transmute(words) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub fn memory(register: __m512i) -> Word8 {
    // SAFETY: both are 64 bytes of which any pattern is valid
    unsafe { std::mem::transmute(register) }
}

impl Lanes {
    /// Word `i` of element `l` is `words[i][l]`; any 256 bits will do.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn from_words(words: &[Word8; 4]) -> Self {
        let [a, b, c, d] = words.map(|words| register(words));
        let limb = all(LIMB);
        let join = |low, high| _mm512_and_si512(_mm512_or_si512(low, high), limb);
        Self([
            _mm512_and_si512(a, limb),
            join(_mm512_srli_epi64::<52>(a), _mm512_slli_epi64::<12>(b)),
            join(_mm512_srli_epi64::<40>(b), _mm512_slli_epi64::<24>(c)),
            join(_mm512_srli_epi64::<28>(c), _mm512_slli_epi64::<36>(d)),
            _mm512_srli_epi64::<16>(d),
        ])
    }

    /// The canonical words of elements below 2p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    pub fn to_words(self) -> [Word8; 4] {
        let mut less = self.0;
        let mut borrow = _mm512_setzero_si512();
        for (less, p) in less.iter_mut().zip(P) {
            // a limb minus a limb and a borrow: the sign tells whether to borrow
            let limb = _mm512_sub_epi64(_mm512_sub_epi64(*less, all(p)), borrow);
            borrow = _mm512_srli_epi64::<63>(limb);
            *less = _mm512_and_si512(limb, all(LIMB));
        }
        let below = _mm512_movepi64_mask(_mm512_slli_epi64::<63>(borrow));
        let mut r = self.0;
        for (r, less) in r.iter_mut().zip(less) {
            *r = _mm512_mask_blend_epi64(below, less, *r);
        }
        let join = |low, high| memory(_mm512_or_si512(low, high));
        [
            join(r[0], _mm512_slli_epi64::<52>(r[1])),
            join(_mm512_srli_epi64::<12>(r[1]), _mm512_slli_epi64::<40>(r[2])),
            join(_mm512_srli_epi64::<24>(r[2]), _mm512_slli_epi64::<28>(r[3])),
            join(_mm512_srli_epi64::<36>(r[3]), _mm512_slli_epi64::<16>(r[4])),
        ]
    }

    /// The limbs of each element, for tests.
    #[cfg(test)]
    #[target_feature(enable = "avx512f")]
    pub fn limbs(self) -> [Limbs; 8] {
        let limbs = self.0.map(|limb| memory(limb));
        std::array::from_fn(|lane| limbs.map(|limb| limb[lane]))
    }

    #[cfg(test)]
    #[target_feature(enable = "avx512f")]
    pub fn from_limbs(elements: &[Limbs; 8]) -> Self {
        let limbs: [Word8; 5] = std::array::from_fn(|i| elements.map(|limbs| limbs[i]));
        Self(limbs.map(|limb| register(limb)))
    }

    /// The same element in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn splat(element: &Limbs) -> Self {
        Self(element.map(|limb| all(limb)))
    }

    /// Plus the same element in all lanes; the sum must be below 2^260.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn plus(self, addend: &Limbs) -> Self {
        let mut sum = self.0;
        for (sum, addend) in sum.iter_mut().zip(addend) {
            *sum = _mm512_add_epi64(*sum, all(*addend));
        }
        one(sum)
    }

    /// The sum of two products / R, reduced once: the sum of both A·B of the bounds above at
    /// most 1200.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn sum_of_products(first: [&Self; 2], second: [&Self; 2]) -> Self {
        let mut columns = [[_mm512_setzero_si512()]; 10];
        for [a, b] in [first, second] {
            add_products(&mut columns, &[*a], &[*b]);
        }
        let [sum] = reduce_all(columns);
        sum
    }
}

/// `G` products a × b / R side by side: while one waits for a sum, another one multiplies.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn products<const G: usize>(a: &[Lanes; G], b: &[Lanes; G]) -> [Lanes; G] {
    let mut columns = [[_mm512_setzero_si512(); G]; 10];
    add_products(&mut columns, a, b);
    reduce_all(columns)
}

/// `G` squares / R side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn squares<const G: usize>(a: &[Lanes; G]) -> [Lanes; G] {
    let mut columns = [[_mm512_setzero_si512(); G]; 10];
    for i in 0..5 {
        for j in i + 1..5 {
            add_limbs(&mut columns, [(a, i), (a, j)]);
        }
    }
    // every product of two different limbs occurs twice
    for column in columns[1..9].as_flattened_mut() {
        *column = _mm512_add_epi64(*column, *column);
    }
    for i in 0..5 {
        add_limbs(&mut columns, [(a, i), (a, i)]);
    }
    reduce_all(columns)
}

/// Columns of `G` sums of products, the lowest first.
pub(super) type Columns<const G: usize> = [[__m512i; G]; 10];

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn add_products<const G: usize>(
    columns: &mut Columns<G>,
    a: &[Lanes; G],
    b: &[Lanes; G],
) {
    for i in 0..5 {
        for j in 0..5 {
            add_limbs(columns, [(a, i), (b, j)]);
        }
    }
}

/// Adds the products of limb `i` of `a` and limb `j` of `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn add_limbs<const G: usize>(
    columns: &mut Columns<G>,
    [(a, i), (b, j)]: [(&[Lanes; G], usize); 2],
) {
    for g in 0..G {
        let (a, b) = (a[g].0[i], b[g].0[j]);
        columns[i + j][g] = _mm512_madd52lo_epu64(columns[i + j][g], a, b);
        columns[i + j + 1][g] = _mm512_madd52hi_epu64(columns[i + j + 1][g], a, b);
    }
}

/// A sum of elements with small integer weights, not yet reduced.
#[derive(Clone, Copy, Debug)]
pub struct Weighted([__m512i; 6]);

impl Weighted {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn zero() -> Self {
        Self([_mm512_setzero_si512(); 6])
    }

    /// Adds the elements times a weight below 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn add(&mut self, elements: &Lanes, weight: u64) {
        let weight = all(weight);
        for (i, limb) in elements.0.into_iter().enumerate() {
            self.0[i] = _mm512_madd52lo_epu64(self.0[i], limb, weight);
            self.0[i + 1] = _mm512_madd52hi_epu64(self.0[i + 1], limb, weight);
        }
    }

    /// The sum / 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn reduce(self) -> Lanes {
        one(self.step())
    }

    /// The sum / 2^52 + the same element in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn reduce_plus(self, addend: &Limbs) -> Lanes {
        let mut sum = self.step();
        for (sum, addend) in sum.iter_mut().zip(addend) {
            *sum = _mm512_add_epi64(*sum, all(*addend));
        }
        one(sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn step(self) -> [__m512i; 5] {
        let [c0, c1, c2, c3, c4, c5] = self.0;
        let [[c1], [c2], [c3], [c4], [c5]] = step([c0], [[c1], [c2], [c3], [c4], [c5]]);
        [c1, c2, c3, c4, c5]
    }
}

/// One step of the reduction: the columns above the lowest one, after q·p was added.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn step<const G: usize>(lowest: [__m512i; G], mut above: [[__m512i; G]; 5]) -> [[__m512i; G]; 5] {
    let zero = _mm512_setzero_si512();
    let (mut q, mut high) = ([zero; G], [zero; G]);
    for g in 0..G {
        q[g] = _mm512_madd52lo_epu64(zero, lowest[g], all(MINUS_INVERSE & LIMB));
    }
    // what the next step waits for comes first, on two short chains
    for g in 0..G {
        high[g] = _mm512_madd52hi_epu64(zero, q[g], all(P[0]));
        let carry = _mm512_srli_epi64::<52>(_mm512_add_epi64(lowest[g], all(LIMB)));
        let next = _mm512_add_epi64(above[0][g], carry);
        above[0][g] = _mm512_madd52lo_epu64(next, q[g], all(P[1]));
    }
    for g in 0..G {
        above[0][g] = _mm512_add_epi64(above[0][g], high[g]);
    }
    for i in 1..4 {
        for g in 0..G {
            above[i][g] = _mm512_madd52lo_epu64(above[i][g], q[g], all(P[i + 1]));
            above[i][g] = _mm512_madd52hi_epu64(above[i][g], q[g], all(P[i]));
        }
    }
    for g in 0..G {
        above[4][g] = _mm512_madd52hi_epu64(above[4][g], q[g], all(P[4]));
    }
    above
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce_all<const G: usize>(columns: Columns<G>) -> [Lanes; G] {
    normal(reduce_columns(columns))
}

/// The five steps; the columns are not yet carried.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn reduce_columns<const G: usize>(c: Columns<G>) -> [[__m512i; G]; 5] {
    let [a, b, d, e, f] = step(c[0], [c[1], c[2], c[3], c[4], c[5]]);
    let [b, d, e, f, g] = step(a, [b, d, e, f, c[6]]);
    let [d, e, f, g, h] = step(b, [d, e, f, g, c[7]]);
    let [e, f, g, h, i] = step(d, [e, f, g, h, c[8]]);
    step(e, [f, g, h, i, c[9]])
}

/// Carries what exceeds a limb upwards. The number must be below 2^260.
#[inline]
#[target_feature(enable = "avx512f")]
fn normal<const G: usize>(mut columns: [[__m512i; G]; 5]) -> [Lanes; G] {
    for i in 0..4 {
        for g in 0..G {
            let carry = _mm512_srai_epi64::<52>(columns[i][g]);
            columns[i][g] = _mm512_and_si512(columns[i][g], all(LIMB));
            columns[i + 1][g] = _mm512_add_epi64(columns[i + 1][g], carry);
        }
    }
    let mut lanes = [Lanes([_mm512_setzero_si512(); 5]); G];
    for g in 0..G {
        for i in 0..5 {
            lanes[g].0[i] = columns[i][g];
        }
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn one([a, b, c, d, e]: [__m512i; 5]) -> Lanes {
    let [lanes] = normal([[a], [b], [c], [d], [e]]);
    lanes
}
