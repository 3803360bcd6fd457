//! The modulus p of BLS12-381's base field and its elements as words of 64 and limbs of 52 bits,
//! little end first.
//!
//! An element x has two forms here: blst's, x·2^384 in six words below p, and the one of lanes,
//! x·2^416 in eight limbs.

use blst::blst_fp;
use blstrs::Fp;
use damocles_kernels::field::limbs::{LIMB, minus_inverse};

/// 384 bits in words of 64.
pub(crate) type Words = [u64; 6];

/// 416 bits in limbs of 52: what `vpmadd52` multiplies.
pub(crate) type Limbs = [u64; 8];

/// p, just above 0.1015 × 2^384: 2^416 is 42,300,000,000 p.
pub(crate) const MODULUS: Words = [
    0xb9fe_ffff_ffff_aaab,
    0x1eab_fffe_b153_ffff,
    0x6730_d2a0_f6b0_f624,
    0x6477_4b84_f385_12bf,
    0x4b1b_a7b6_434b_acd7,
    0x1a01_11ea_397f_e69a,
];

/// p in limbs.
pub(crate) const P: Limbs = multiple(1);

/// −1/p modulo 2^52: times the lowest limb of a number, it gives the multiple of p that clears
/// this limb.
pub(crate) const MINUS_INVERSE: u64 = minus_inverse(MODULUS[0]) & LIMB;

/// Makes the form of lanes of blst's, as the second factor of a product of lanes.
pub(crate) const INTO_LANES: Limbs = split(power_of_two(448));
/// The other way round.
pub(crate) const INTO_WORDS: Limbs = split(power_of_two(384));
/// 1 in the form of lanes.
pub(crate) const ONE: Limbs = split(power_of_two(416));
/// With x·2^416 taken for blst's form of some y, 1/y times this is 1/x in the form of lanes.
pub(crate) const OF_INVERSE: Words = power_of_two(448);

/// k·p for k below 2^34.
pub(crate) const fn multiple(k: u64) -> Limbs {
    let mut words = [0; 7];
    let mut carry = 0u128;
    let mut i = 0;
    while i < 6 {
        carry += MODULUS[i] as u128 * k as u128;
        words[i] = carry as u64;
        carry >>= 64;
        i += 1;
    }
    words[6] = carry as u64;
    split_long(words)
}

pub(crate) const fn split(w: Words) -> Limbs {
    split_long([w[0], w[1], w[2], w[3], w[4], w[5], 0])
}

const fn split_long(words: [u64; 7]) -> Limbs {
    let mut limbs = [0; 8];
    let mut i = 0;
    while i < 8 {
        let (word, bit) = (52 * i / 64, 52 * i % 64);
        let mut limb = words[word] >> bit;
        if bit > 12 && word < 6 {
            limb |= words[word + 1] << (64 - bit);
        }
        limbs[i] = limb & LIMB;
        i += 1;
    }
    limbs
}

/// The words of a number below 2^384.
pub(crate) fn join(limbs: &Limbs) -> Words {
    std::array::from_fn(|i| {
        let (limb, bit) = (64 * i / 52, 64 * i % 52);
        let mut word = limbs[limb] >> bit | limbs[limb + 1] << (52 - bit);
        if bit > 40 {
            word |= limbs[limb + 2] << (104 - bit);
        }
        word
    })
}

/// Takes p away from a number below 2 p that is not below p.
pub(crate) const fn subtract_once(a: Words) -> Words {
    let mut less = [0; 6];
    let mut borrow = false;
    let mut i = 0;
    while i < 6 {
        let (difference, first) = a[i].overflowing_sub(MODULUS[i]);
        let (difference, second) = difference.overflowing_sub(borrow as u64);
        less[i] = difference;
        borrow = first | second;
        i += 1;
    }
    if borrow { a } else { less }
}

/// 2^k modulo p.
const fn power_of_two(k: usize) -> Words {
    let mut power = [1, 0, 0, 0, 0, 0];
    let mut step = 0;
    while step < k {
        let mut twice = [0; 6];
        let mut i = 0;
        while i < 6 {
            twice[i] = power[i] << 1;
            if i > 0 {
                twice[i] |= power[i - 1] >> 63;
            }
            i += 1;
        }
        power = subtract_once(twice);
        step += 1;
    }
    power
}

/// The element that has these words in blst's form.
pub(crate) fn element(words: Words) -> Fp {
    blst_fp { l: words }.into()
}

/// The words of an element in blst's form.
pub(crate) fn words(element: Fp) -> Words {
    blst_fp::from(element).l
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff::Field;

    #[test]
    fn the_modulus_is_the_one_of_the_points() {
        let largest = -Fp::ONE;
        let mut bytes = largest.to_bytes_le();
        bytes[0] += 1;
        for (word, bytes) in MODULUS.iter().zip(bytes.chunks(8)) {
            assert_eq!(word.to_le_bytes(), bytes);
        }
        assert_eq!(MINUS_INVERSE.wrapping_mul(P[0]) & LIMB, LIMB);
        assert_eq!(join(&P), MODULUS);
        assert_eq!(subtract_once(MODULUS), [0; 6]);
    }

    #[test]
    fn limbs_and_words_are_one_number() {
        let radix = Fp::from(1 << 52);
        for element in [Fp::ZERO, Fp::ONE, -Fp::ONE, Fp::from(7).invert().unwrap()] {
            let limbs = split(words(element));
            assert_eq!(join(&limbs), words(element));
            let sum = |sum: Fp, limb: &u64| sum * radix + Fp::from(*limb);
            let value = limbs.iter().rev().fold(Fp::ZERO, sum);
            // the limbs are those of 2^384 times the element
            let factor = Fp::from(2).pow_vartime([384]);
            assert_eq!(value, element * factor);
        }
        assert_eq!(multiple(3), {
            let mut limbs = P.map(|limb| 3 * limb);
            for i in 0..7 {
                limbs[i + 1] += limbs[i] >> 52;
                limbs[i] &= LIMB;
            }
            limbs
        });
    }
}
