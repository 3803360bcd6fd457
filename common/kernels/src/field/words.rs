//! Field elements as four words of 64 bits, for CPUs without lanes: products reduced by
//! Montgomery's method with R = 2^256, and sums with small integer weights that are reduced
//! once.
//!
//! An element is below 2^256 = 2.2 p. A product of elements below A·p and B·p is below
//! (A·B/2.2 + 1)·p before p is subtracted once, so factors up to 1.1 p give a product below p.

use super::limbs::{MINUS_INVERSE, MODULUS, Words};

/// low(a + b·c + carry) and the new carry: at most 2^128 − 1, so nothing is lost.
#[inline]
fn multiply_add(a: u64, b: u64, c: u64, carry: &mut u64) -> u64 {
    let sum = u128::from(a) + u128::from(b) * u128::from(c) + u128::from(*carry);
    *carry = (sum >> 64) as u64;
    sum as u64
}

/// Subtracts p from an element that is not below it, once.
#[inline]
pub fn subtract_once(a: Words) -> Words {
    let mut less = [0; 4];
    let mut borrow = false;
    for i in 0..4 {
        let (difference, first) = a[i].overflowing_sub(MODULUS[i]);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        less[i] = difference;
        borrow = first | second;
    }
    if borrow { a } else { less }
}

/// The sum, which must be below 2^256.
#[inline]
pub fn plus(a: Words, b: &Words) -> Words {
    let mut carry = 0;
    std::array::from_fn(|i| multiply_add(a[i], b[i], 1, &mut carry))
}

/// One step of the reduction: adds the multiple of p that clears the lowest word, and drops
/// this word. The result must be below 2^256.
#[inline]
fn step([lowest, a, b, c, top]: [u64; 5]) -> Words {
    let q = lowest.wrapping_mul(MINUS_INVERSE);
    let mut carry = 0;
    multiply_add(lowest, q, MODULUS[0], &mut carry);
    [
        multiply_add(a, q, MODULUS[1], &mut carry),
        multiply_add(b, q, MODULUS[2], &mut carry),
        multiply_add(c, q, MODULUS[3], &mut carry),
        top + carry,
    ]
}

/// a × b / 2^256, below p; a and b at most 1.1 p.
///
/// Row by row: after each row the sum is below (a + p) < 2^256, so a row's product and the sum
/// need one word more than an element.
#[inline]
pub fn times(a: &Words, b: &Words) -> Words {
    let mut sum = [0; 4];
    for b in b {
        let mut carry = 0;
        let row: Words = std::array::from_fn(|i| multiply_add(sum[i], a[i], *b, &mut carry));
        sum = step([row[0], row[1], row[2], row[3], carry]);
    }
    subtract_once(sum)
}

/// A sum of elements with small integer weights. A column is a sum of 128-bit products; the
/// weights of all terms together must be below 2^52 or so, far from 2^64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted([u128; 4]);

impl Weighted {
    #[inline]
    pub fn add(&mut self, element: &Words, weight: u64) {
        for (column, word) in self.0.iter_mut().zip(element) {
            *column += u128::from(*word) * u128::from(weight);
        }
    }

    /// The sum / 2^64, less than (weights × largest element / 2^64) + p.
    #[inline]
    pub fn reduce(self) -> Words {
        let mut carry = 0;
        let words: Words = self.0.map(|column| {
            let sum = column + carry;
            carry = sum >> 64;
            sum as u64
        });
        step([words[0], words[1], words[2], words[3], carry as u64])
    }
}
