//! Powers in the order in which a walk meets them: the exponents' bits reversed.

use crate::run::Run;
use blstrs::Scalar;
use damocles_kernels::crew::Cancelled;
use ff::{Field, PrimeField};

/// The root of unity of order 2^`power`, the one that bellperson's domains have.
pub(super) fn root(power: u32) -> Scalar {
    let squarings = Scalar::S - power;
    (0..squarings).fold(Scalar::ROOT_OF_UNITY, |root, _| root.square())
}

/// The lowest `bits` bits of `i` in reversed order.
pub(super) fn reversed(i: usize, bits: u32) -> usize {
    match bits {
        0 => 0,
        bits => i.reverse_bits() >> (usize::BITS - bits),
    }
}

/// `base^reversed(i)` for `i` below 2^`bits`, each times `factor`.
pub(super) fn few_powers(base: Scalar, bits: u32, factor: Scalar) -> Vec<Scalar> {
    let mut powers = vec![factor];
    let squares: Vec<Scalar> = std::iter::successors(Some(base), |square| Some(square.square()))
        .take(bits as usize)
        .collect();
    // the lowest bit of a place is the highest of its exponent
    for square in squares.into_iter().rev() {
        powers.extend_from_within(..);
        let half = powers.len() / 2;
        for power in &mut powers[half..] {
            *power *= square;
        }
    }
    powers
}

/// As [`few_powers`], in parallel, each as `make` makes it.
pub(super) fn powers<T: Clone + Send>(
    base: Scalar,
    bits: u32,
    factor: Scalar,
    make: impl Fn(Scalar) -> T + Sync,
    run: Run<'_>,
) -> Result<Vec<T>, Cancelled> {
    // a place is a chunk and a place in the chunk; its exponent has the chunk's bits lowest
    let low = bits.min(12);
    let chunks = few_powers(base, bits - low, factor);
    let inside = few_powers(base.pow_vartime([1 << (bits - low)]), low, Scalar::ONE);
    let mut table = vec![make(Scalar::ZERO); 1 << bits];
    let pieces = table.chunks_exact_mut(1 << low).zip(&chunks);
    run.each(chunks.len(), pieces, |(piece, chunk)| {
        for (entry, power) in piece.iter_mut().zip(&inside) {
            *entry = make(*power * chunk);
        }
    })?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_kernels::crew::NEVER;
    use std::num::NonZeroUsize;

    #[test]
    fn exponents_are_reversed() {
        let (base, factor) = (Scalar::from(7), Scalar::from(5));
        let threads = NonZeroUsize::new(3).unwrap();
        let run = Run {
            threads,
            cancel: &NEVER,
        };
        for bits in [0, 1, 2, 5, 12, 14] {
            let table = powers(base, bits, factor, |power| power, run).unwrap();
            assert_eq!(table.len(), 1 << bits);
            for (i, power) in table.iter().enumerate() {
                let exponent = reversed(i, bits) as u64;
                assert_eq!(
                    *power,
                    base.pow_vartime([exponent]) * factor,
                    "{i} of 2^{bits}"
                );
            }
        }
    }

    #[test]
    fn roots_have_their_order() {
        assert_eq!(root(0), Scalar::ONE);
        for power in 1..=Scalar::S {
            let half = root(power).pow_vartime([1 << (power - 1)]);
            assert_eq!(half, -Scalar::ONE, "2^{power}");
        }
    }
}
