//! The permutation on eight lanes, `G` groups of eight at a time: while one group waits for a
//! reduction, another one multiplies.
//!
//! # Bounds (multiples of p, see the field's lanes)
//! A mixed element is below 2^48/2^52 × (largest element) + p + constant < 1.2 p + p. So every
//! element S that enters an S-box is below 2.2 p (the inputs: 1 p + 1 p); S² < 1.14 p,
//! S⁴ < 1.04 p, S⁵ and a factor times S below 1.07 p. Elements that no S-box touches are mixed
//! without a constant: they stay below 1.2 p, through any number of rounds.

use super::rounds::Rounds;
use crate::field::lanes::{Lanes, Weighted, Word8, products, squares};
use crate::field::limbs::Limbs;

/// Words of eight elements.
pub(super) type Words8 = [Word8; 4];

type State<const T: usize, const G: usize> = [[Lanes; G]; T];

/// `G` × 8 hashes. `input[i][g]` is element `i` of group `g`, canonical, `i` from 1 (the
/// domain tag is element 0).
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn hash<const T: usize, const G: usize>(
    rounds: &Rounds<Limbs, T>,
    input: &[[Words8; G]; T],
) -> [Words8; G] {
    let mut state: State<T, G> = [[Lanes::splat(&rounds.enter[0]); G]; T];
    for ((state, input), add) in state.iter_mut().zip(input).zip(&rounds.enter).skip(1) {
        for (lanes, words) in state.iter_mut().zip(input) {
            *lanes = Lanes::from_words(words).plus(add);
        }
    }
    for add in &rounds.opening {
        full(&mut state);
        mix(rounds, &mut state, add);
    }
    for round in &rounds.partial {
        partial(&mut state, &round.factor);
        mix(rounds, &mut state, std::slice::from_ref(&round.add));
    }
    partial(&mut state, &rounds.last_factor);
    mix(rounds, &mut state, &rounds.settle);
    for add in &rounds.closing {
        full(&mut state);
        mix(rounds, &mut state, add);
    }
    full(&mut state);
    let mut result = [Lanes::splat(&rounds.leave); G];
    for (g, leave) in result.iter_mut().enumerate() {
        let [sum] = weighted(&state, g, [&rounds.weights[1]]);
        let [canonical] = products(&[sum.reduce()], &[*leave]);
        *leave = canonical;
    }
    result.map(|lanes| lanes.to_words())
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn full<const T: usize, const G: usize>(state: &mut State<T, G>) {
    for element in state {
        *element = products(element, &squares(&squares(element)));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn partial<const T: usize, const G: usize>(state: &mut State<T, G>, factor: &Limbs) {
    let second = squares(&state[0]);
    // not on the way to the fourth power: fills the waits of it
    let once = products(&state[0], &[Lanes::splat(factor); G]);
    state[0] = products(&once, &squares(&second));
}

/// The matrix, then `add` to the first elements (one of them, or all).
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn mix<const T: usize, const G: usize>(
    rounds: &Rounds<Limbs, T>,
    state: &mut State<T, G>,
    add: &[Limbs],
) {
    let old = *state;
    let mut j = 0;
    // three rows at a time: an element that is in registers serves all of them
    while j + 3 <= T {
        mix_rows::<T, G, 3>(rounds, &old, state, j, add);
        j += 3;
    }
    if j + 2 <= T {
        mix_rows::<T, G, 2>(rounds, &old, state, j, add);
        j += 2;
    }
    debug_assert_eq!(j, T, "no arity leaves one row");
}

/// `W` rows of the matrix from row `first`.
#[expect(
    clippy::needless_range_loop,
    reason = "a group is a column of the state"
)]
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn mix_rows<const T: usize, const G: usize, const W: usize>(
    rounds: &Rounds<Limbs, T>,
    old: &State<T, G>,
    new: &mut State<T, G>,
    first: usize,
    add: &[Limbs],
) {
    let rows = std::array::from_fn::<_, W, _>(|r| &rounds.weights[first + r]);
    for g in 0..G {
        for (j, sum) in (first..).zip(weighted(old, g, rows)) {
            new[j][g] = match add.get(j) {
                Some(add) => sum.reduce_plus(add),
                None => sum.reduce(),
            };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn weighted<const T: usize, const G: usize, const W: usize>(
    state: &State<T, G>,
    g: usize,
    rows: [&[u64; T]; W],
) -> [Weighted; W] {
    let mut sums = [Weighted::zero(); W];
    // the first element last: a partial round has just begun to raise it
    for i in (1..T).chain([0]) {
        for (sum, row) in sums.iter_mut().zip(rows) {
            sum.add(&state[i][g], row[i]);
        }
    }
    sums
}
