//! Poseidon's rounds with as few multiplications as we know.
//!
//! The permutation (Grassi et al., "Poseidon", 2021, §2.3) raises elements to the fifth power
//! (all of them in a full round, the first one in a partial round), mixes them with the matrix
//! M and adds constants. Three observations make it cheap:
//!
//! * **The matrix is small.** Its elements are 1/k with small integers k (a Cauchy matrix of
//!   consecutive numbers). Times L, the least common multiple of all k, they are integers of
//!   at most 44 bits, and the product of such a *weight* and an element costs a fifth of a
//!   product of two elements. No sparse factors are needed.
//! * **A common factor is free.** Who calculates with S = μ·s instead of s gets μ⁵·s⁵ from the
//!   S-box, L·M·s from the weights, and the divisions of the reductions on top: all known
//!   numbers. So the factors are never divided out; the constants are multiplied by what the
//!   factor has become. Only a partial round, whose S-box leaves the other elements at μ, needs
//!   a product to bring the first one back to it, and the result needs one at the end.
//! * **Constants can wait.** What a partial round adds to elements that no S-box touches is
//!   linear: it is added up beforehand and given to those that one does.

use blstrs::Scalar;
use ff::Field;
use neptune::{Arity as NeptuneArity, poseidon::PoseidonConstants};

use crate::field::limbs::value;

/// The rounds of a permutation of `T` elements, constants in the form `E`.
#[derive(Debug)]
pub(super) struct Rounds<E, const T: usize> {
    /// L·M, row by row.
    pub(super) weights: [[u64; T]; T],
    /// Added to the inputs; the first one is the domain tag.
    pub(super) enter: [E; T],
    /// Added after the mixing of each full round before the partial rounds.
    pub(super) opening: Vec<[E; T]>,
    pub(super) partial: Vec<Partial<E>>,
    /// Factor of the first element in the last partial round.
    pub(super) last_factor: E,
    /// Added after the mixing of the last partial round.
    pub(super) settle: [E; T],
    /// Added after the mixing of each full round after the partial rounds, but the last.
    pub(super) closing: Vec<[E; T]>,
    /// Factor of the result (the second element).
    pub(super) leave: E,
}

/// A partial round but the last one.
#[derive(Debug)]
pub(super) struct Partial<E> {
    /// Factor of the first element beside its fifth power.
    pub(super) factor: E,
    /// Added to the first element after the mixing.
    pub(super) add: E,
}

/// How a reduction divides: `product` after the product of two elements, `weighted` after a
/// sum with weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divisors {
    pub(super) product: Scalar,
    pub(super) weighted: Scalar,
}

impl Divisors {
    /// Powers of two.
    pub(super) fn of_bits(product: u64, weighted: u64) -> Self {
        let two = Scalar::from(2);
        Self {
            product: two.pow_vartime([product]),
            weighted: two.pow_vartime([weighted]),
        }
    }
}

impl<const T: usize> Rounds<Scalar, T> {
    /// # Panics
    /// When the constants are not of the kind described above, which the tests would show.
    pub(super) fn new<A: NeptuneArity<Scalar>>(
        neptune: &PoseidonConstants<Scalar, A>,
        divisors: Divisors,
    ) -> Self {
        let constants = neptune.round_constants.as_ref().expect("made with them");
        let constant = |round: usize, i: usize| constants[round * T + i];
        let matrix = &neptune.mds_matrices.m;
        let (weights, multiple) = integers::<T>(matrix);
        let (half, partial) = (neptune.half_full_rounds, neptune.partial_rounds);

        let unit = |x: Scalar| Option::<Scalar>::from(x.invert()).expect("not zero");
        let mixing = Scalar::from(multiple) * unit(divisors.weighted);
        let power =
            |factor: Scalar| factor.pow_vartime([5]) * unit(divisors.product.pow_vartime([4]));
        // the factor μ of all elements
        let mut factor = Scalar::ONE;

        let mut enter: [Scalar; T] = std::array::from_fn(|i| constant(0, i));
        enter[0] += neptune.domain_tag;
        let full = |factor: &mut Scalar, round: usize| -> [Scalar; T] {
            *factor = power(*factor) * mixing;
            std::array::from_fn(|i| constant(round + 1, i) * *factor)
        };
        let opening = (0..half).map(|round| full(&mut factor, round)).collect();

        // what the elements lack for as long as constants wait
        let mut waiting = [Scalar::ZERO; T];
        let mut settle = waiting;
        let mut rounds = Vec::new();
        for round in half..half + partial {
            let back = divisors.product.pow_vartime([5]) * unit(factor.pow_vartime([4]));
            factor *= mixing;
            waiting = std::array::from_fn(|j| {
                let mixed: Scalar = (0..T).map(|i| matrix[i][j] * waiting[i]).sum();
                mixed + constant(round + 1, j)
            });
            settle = waiting.map(|element| element * factor);
            rounds.push(Partial {
                factor: back,
                add: settle[0],
            });
            waiting[0] = Scalar::ZERO;
        }
        let last = rounds.pop().expect("there are partial rounds");

        let after = half + partial;
        let closing = (after..after + half - 1)
            .map(|round| full(&mut factor, round))
            .collect();
        Self {
            weights,
            enter,
            opening,
            partial: rounds,
            last_factor: last.factor,
            settle,
            closing,
            leave: divisors.product * unit(power(factor) * mixing),
        }
    }

    pub(super) fn map<E: std::fmt::Debug>(self, form: impl Fn(&Scalar) -> E) -> Rounds<E, T> {
        let array = |a: &[Scalar; T]| std::array::from_fn(|i| form(&a[i]));
        Rounds {
            weights: self.weights,
            enter: array(&self.enter),
            opening: self.opening.iter().map(array).collect(),
            partial: self
                .partial
                .iter()
                .map(|round| Partial {
                    factor: form(&round.factor),
                    add: form(&round.add),
                })
                .collect(),
            last_factor: form(&self.last_factor),
            settle: array(&self.settle),
            closing: self.closing.iter().map(array).collect(),
            leave: form(&self.leave),
        }
    }
}

/// The matrix times the least number that makes it integer, and this number. Row sums are
/// below 2^48: the bound that sums of weighted elements rely on.
fn integers<const T: usize>(matrix: &[Vec<Scalar>]) -> ([[u64; T]; T], u64) {
    let denominator = |i: usize, j: usize| {
        let inverse: Scalar = Option::from(matrix[i][j].invert()).expect("no zero in the matrix");
        let [k, 0, 0, 0] = value(&inverse) else {
            panic!("the matrix has an element other than 1/k")
        };
        k
    };
    let denominators: [[u64; T]; T] =
        std::array::from_fn(|i| std::array::from_fn(|j| denominator(i, j)));
    let multiple = denominators.iter().flatten().fold(1u64, |least, k| {
        (least / gcd(least, *k))
            .checked_mul(*k)
            .expect("the multiple fits")
    });
    // row j of the weights makes element j: the matrix is symmetric, as neptune asserts
    let weights = denominators.map(|row| row.map(|k| multiple / k));
    assert!(
        weights
            .iter()
            .all(|row| row.iter().map(|w| u128::from(*w)).sum::<u128>() < 1 << 48)
    );
    (weights, multiple)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
