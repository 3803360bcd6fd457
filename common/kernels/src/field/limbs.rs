//! The modulus p of BLS12-381's scalar field and its elements as words of 64 and limbs of 52
//! bits, little end first.

use blstrs::Scalar;
use ff::PrimeField;

/// 256 bits in words of 64.
pub type Words = [u64; 4];

/// 260 bits in limbs of 52: what `vpmadd52` multiplies.
pub type Limbs = [u64; 5];

/// All bits of a limb.
pub const LIMB: u64 = (1 << 52) - 1;

/// p, just below 0.453 × 2^256.
pub const MODULUS: Words = parse(<Scalar as PrimeField>::MODULUS);

/// p in limbs.
pub const P: Limbs = split(MODULUS);

/// −1/p modulo 2^64: times the lowest word of a number, it gives the multiple of p that
/// clears this word. Its lower 52 bits do the same for limbs.
pub const MINUS_INVERSE: u64 = minus_inverse(MODULUS[0]);

/// −1/n modulo 2^64 of an odd n, of which the lowest word is enough.
pub const fn minus_inverse(lowest: u64) -> u64 {
    // Newton's iteration doubles the valid bits, beginning with one (n is odd)
    let mut inverse = 1u64;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(lowest.wrapping_mul(inverse)));
        step += 1;
    }
    inverse.wrapping_neg()
}

const fn parse(hex: &str) -> Words {
    let digits = hex.as_bytes();
    assert!(digits.len() == 66 && digits[0] == b'0' && digits[1] == b'x');
    let mut words = [0; 4];
    let mut at = 2;
    while at < 66 {
        let digit = match digits[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit => digit - b'a' + 10,
        };
        let bit = 4 * (65 - at);
        words[bit / 64] |= (digit as u64) << (bit % 64);
        at += 1;
    }
    words
}

pub const fn split(w: Words) -> Limbs {
    [
        w[0] & LIMB,
        (w[0] >> 52 | w[1] << 12) & LIMB,
        (w[1] >> 40 | w[2] << 24) & LIMB,
        (w[2] >> 28 | w[3] << 36) & LIMB,
        w[3] >> 16,
    ]
}

/// The words of 32 little-endian bytes.
///
/// # Panics
/// When there are fewer bytes.
pub fn words(bytes: &[u8]) -> Words {
    std::array::from_fn(|i| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[8 * i..8 * i + 8]);
        u64::from_le_bytes(word)
    })
}

/// Writes a number as 32 little-endian bytes to the front of `out`.
#[inline]
pub fn put(out: &mut [u8], words: Words) {
    for (word, out) in words.into_iter().zip(out.chunks_exact_mut(8)) {
        out.copy_from_slice(&word.to_le_bytes());
    }
}

/// The value of an element, from 0 to p − 1.
pub fn value(element: &Scalar) -> Words {
    words(&element.to_repr())
}

/// Is it below p?
#[inline]
pub fn is_canonical(w: &Words) -> bool {
    // one comparison settles all elements but one in 2^63
    w[3] < MODULUS[3] || w.iter().rev().lt(MODULUS.iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff::Field;

    #[test]
    fn the_modulus_is_the_one_of_the_scalars() {
        let largest = value(&-Scalar::ONE);
        assert_eq!(
            largest,
            [MODULUS[0] - 1, MODULUS[1], MODULUS[2], MODULUS[3]]
        );
        assert!(is_canonical(&largest) && is_canonical(&[0; 4]));
        assert!(!is_canonical(&MODULUS) && !is_canonical(&[u64::MAX; 4]));
        // the highest word alone does not settle these
        assert!(is_canonical(&[u64::MAX, u64::MAX, 0, MODULUS[3]]));
        assert!(!is_canonical(&[0, 0, u64::MAX, MODULUS[3]]));
        assert_eq!(MINUS_INVERSE.wrapping_mul(MODULUS[0]), u64::MAX);
    }

    #[test]
    fn limbs_are_the_same_number() {
        let radix = Scalar::from(1 << 52);
        let element = Scalar::from(7).invert().unwrap();
        let limbs = split(value(&element));
        let sum = limbs
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, limb| sum * radix + Scalar::from(*limb));
        assert_eq!(sum, element);
    }
}
