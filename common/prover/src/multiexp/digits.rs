//! Scalars cut into windows of a few bits, as signed digits, and the points of a window sorted by
//! digit.
//!
//! Digits from −2^(c−1) to 2^(c−1) − 1 need half as many buckets as unsigned ones, for a point's
//! negative costs nothing. To have them without carries, 2^(c−1) is added to every window of the
//! scalar (below the group's order, 0.4529 × 2^256) once, and taken away from each digit again. (With windows of two bits the sum could exceed
//! 256 bits; with all others it is below 0.9863 × 2^256.)

use crate::large;
use damocles_kernels::field::limbs::Words;
use std::ops::Range;

/// The sign of an index: the point's negative is meant.
pub(crate) const NEGATIVE: u32 = 1 << 31;

/// How scalars are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    bits: usize,
}

impl Windows {
    /// What is cheapest for so many points: each costs an addition per window, and each bucket
    /// about two complete additions in the end, which together are `bucket` times as dear.
    pub(crate) fn for_points(count: usize, bucket: usize) -> Self {
        let cost = |bits: usize| 256usize.div_ceil(bits) * (count + (bucket << (bits - 1)));
        let bits = (3..=16).min_by_key(|bits| cost(*bits)).unwrap_or(16);
        Self { bits }
    }

    /// What is cheapest for so many multiples of one point: an addition per window for each, and
    /// one for each entry of the table.
    pub(crate) fn for_multiples(count: usize) -> Self {
        let cost = |bits: usize| 256usize.div_ceil(bits) * (count + (1 << (bits - 1)));
        let bits = (3..=16).min_by_key(|bits| cost(*bits)).unwrap_or(16);
        Self { bits }
    }

    pub(crate) fn bits(self) -> usize {
        self.bits
    }

    pub(crate) fn count(self) -> usize {
        256usize.div_ceil(self.bits)
    }

    /// Buckets of the digits 1 to 2^(bits − 1).
    pub(crate) fn buckets(self) -> usize {
        1 << (self.bits - 1)
    }

    /// The windows that are whole have a sign.
    fn is_signed(self, window: usize) -> bool {
        (window + 1) * self.bits <= 256
    }

    /// What is added to a scalar.
    fn offset(self) -> Words {
        let mut offset = [0; 4];
        for window in (0..self.count()).filter(|window| self.is_signed(*window)) {
            let bit = (window + 1) * self.bits - 1;
            offset[bit / 64] |= 1 << (bit % 64);
        }
        offset
    }

    /// The scalars as `digit` takes them.
    pub(crate) fn prepared(self, scalars: &mut [Words]) {
        let offset = self.offset();
        for scalar in scalars {
            let mut carry = 0;
            for (word, offset) in scalar.iter_mut().zip(offset) {
                carry += u128::from(*word) + u128::from(offset);
                *word = carry as u64;
                carry >>= 64;
            }
        }
    }

    /// The digit of a window, of a scalar that is prepared.
    pub(crate) fn digit(self, prepared: &Words, window: usize) -> i32 {
        let (word, bit) = (window * self.bits / 64, window * self.bits % 64);
        let mut digit = prepared[word] >> bit;
        if bit + self.bits > 64 && word < 3 {
            digit |= prepared[word + 1] << (64 - bit);
        }
        let digit = (digit & ((1 << self.bits) - 1)) as i32;
        if self.is_signed(window) {
            digit - (1 << (self.bits - 1))
        } else {
            digit
        }
    }
}

/// The points of a window by digit.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Indices of points, with [`NEGATIVE`] where the digit is negative.
    pub(crate) indices: Vec<u32>,
    /// How many have the digit 1, 2, …, or its negative.
    pub(crate) counts: Vec<u32>,
    places: Vec<u32>,
}

impl Sorted {
    /// Sorts the points of a range by their digits of that window. `names` are the points'
    /// indices.
    pub(crate) fn sort(
        &mut self,
        windows: Windows,
        window: usize,
        prepared: &[Words],
        names: &[u32],
        range: Range<usize>,
    ) {
        self.counts.clear();
        self.counts.resize(windows.buckets() + 1, 0);
        for scalar in &prepared[range.clone()] {
            self.counts[windows.digit(scalar, window).unsigned_abs() as usize] += 1;
        }
        // nothing is to be done for digit 0
        self.counts[0] = 0;
        let mut next = 0;
        self.places.clear();
        self.places.extend(self.counts.iter().map(|count| {
            let place = next;
            next += count;
            place
        }));
        let count = next as usize;
        // they are written in no order
        if self.indices.capacity() < count {
            self.indices = large::vector(count.max(range.len()));
        }
        self.indices.resize(count, 0);
        for i in range {
            let digit = windows.digit(&prepared[i], window);
            if digit == 0 {
                continue;
            }
            let place = &mut self.places[digit.unsigned_abs() as usize];
            let sign = if digit < 0 { NEGATIVE } else { 0 };
            self.indices[*place as usize] = names[i] | sign;
            *place += 1;
        }
        self.counts.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blstrs::Scalar;
    use damocles_kernels::field::limbs::value;
    use ff::Field;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn digits_make_the_scalar() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut scalars = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2)];
        scalars.extend((0..50).map(|_| Scalar::random(&mut random)));
        for bits in 3..=16 {
            let windows = Windows { bits };
            let mut prepared: Vec<Words> = scalars.iter().map(value).collect();
            windows.prepared(&mut prepared);
            for (scalar, prepared) in scalars.iter().zip(&prepared) {
                let mut sum = Scalar::ZERO;
                for window in (0..windows.count()).rev() {
                    let digit = windows.digit(prepared, window);
                    assert!(digit.unsigned_abs() as usize <= windows.buckets(), "{bits}");
                    let size = Scalar::from(u64::from(digit.unsigned_abs()));
                    sum = sum * Scalar::from(1 << bits) + if digit < 0 { -size } else { size };
                }
                assert_eq!(sum, *scalar, "{bits}");
            }
        }
    }

    #[test]
    fn points_are_sorted_by_digit() {
        let windows = Windows { bits: 4 };
        let mut scalars: Vec<Words> = [3, 0, 13, 3, 5, 16].map(|low| [low, 0, 0, 0]).to_vec();
        windows.prepared(&mut scalars);
        let mut sorted = Sorted::default();
        sorted.sort(windows, 0, &scalars, &[0, 1, 2, 3, 4, 5], 0..6);
        // 13 is −3 and 16 more
        assert_eq!(sorted.counts, [0, 0, 3, 0, 1, 0, 0, 0]);
        assert_eq!(sorted.indices, [0, 2 | NEGATIVE, 3, 4]);
        sorted.sort(windows, 1, &scalars, &[9, 8, 7, 6, 5, 4], 1..6);
        assert_eq!(sorted.counts, [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sorted.indices, [7, 4]);
    }

    #[test]
    fn windows_grow_with_the_number_of_points() {
        let bits = [1, 1 << 10, 1 << 22, 1 << 27].map(|n| Windows::for_points(n, 14).bits());
        assert!(bits.is_sorted() && bits[0] < 4 && bits[2] >= 14, "{bits:?}");
    }
}
