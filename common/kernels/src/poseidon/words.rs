//! The permutation on plain 64-bit words, one hash at a time: for CPUs without AVX-512 IFMA.
//!
//! # Bounds (multiples of p)
//! A mixed element is below 2^48/2^64 × (largest element) + p, a constant adds at most p, and
//! p is subtracted once: below 1.001 p, as the products want it.

use super::rounds::Rounds;
use crate::field::limbs::Words;
use crate::field::words::{Weighted, plus, subtract_once, times};

/// The hash of `input[1..]` (canonical; element 0 is the domain tag's place).
pub(super) fn hash<const T: usize>(rounds: &Rounds<Words, T>, input: &[Words; T]) -> Words {
    let mut state: [Words; T] =
        std::array::from_fn(|i| subtract_once(plus(input[i], &rounds.enter[i])));
    for add in &rounds.opening {
        full(&mut state);
        state = mix(rounds, &state, add);
    }
    for round in &rounds.partial {
        partial(&mut state[0], &round.factor);
        state = mix(rounds, &state, std::slice::from_ref(&round.add));
    }
    partial(&mut state[0], &rounds.last_factor);
    state = mix(rounds, &state, &rounds.settle);
    for add in &rounds.closing {
        full(&mut state);
        state = mix(rounds, &state, add);
    }
    full(&mut state);
    times(&row(&state, &rounds.weights[1]), &rounds.leave)
}

fn full<const T: usize>(state: &mut [Words; T]) {
    for element in state {
        let square = times(element, element);
        *element = times(element, &times(&square, &square));
    }
}

fn partial(element: &mut Words, factor: &Words) {
    let square = times(element, element);
    *element = times(&times(element, factor), &times(&square, &square));
}

/// The matrix, then `add` to the first elements (one of them, or all).
fn mix<const T: usize>(rounds: &Rounds<Words, T>, state: &[Words; T], add: &[Words]) -> [Words; T] {
    std::array::from_fn(|j| {
        let sum = row(state, &rounds.weights[j]);
        match add.get(j) {
            Some(add) => subtract_once(plus(sum, add)),
            None => sum,
        }
    })
}

#[inline]
fn row<const T: usize>(state: &[Words; T], weights: &[u64; T]) -> Words {
    let mut sum = Weighted::default();
    for (element, weight) in state.iter().zip(weights) {
        sum.add(element, *weight);
    }
    sum.reduce()
}
