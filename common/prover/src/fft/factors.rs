//! What elements are multiplied with besides the transforms themselves: powers of the coset's
//! generator, one by the size, one by Z.

use super::tables::few_powers;
use super::transform::Transform;
use blstrs::Scalar;
use ff::{Field, PrimeField};

/// Factors of elements: a constant times a power of a base, the element's place its exponent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Powers {
    pub(super) base: Scalar,
    pub(super) constant: Scalar,
}

/// The factors of a transform's values before it and after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) before: Powers,
    pub(super) after: Powers,
}

/// The factors of the coefficients in the quotient h = (A·B − C)/Z, n the size.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfQuotient {
    /// A and B on their way to values on the coset: gⁱ/n.
    pub(super) onto_coset: Powers,
    /// A·B on its way to the sum: 1/(gⁱ n z), z = gⁿ − 1 the value of Z all over the coset.
    pub(super) from_coset: Powers,
    /// C on its way to the sum: −1/(n z).
    pub(super) others: Powers,
}

/// 1/x; x is not zero anywhere here.
pub(super) fn inverse(x: Scalar) -> Scalar {
    x.invert().unwrap_or(x)
}

impl Powers {
    pub(super) const NONE: Self = Self::constant(Scalar::ONE);

    pub(super) const fn constant(constant: Scalar) -> Self {
        let base = Scalar::ONE;
        Self { base, constant }
    }

    pub(super) fn are_none(&self) -> bool {
        self.base == Scalar::ONE && self.constant == Scalar::ONE
    }

    pub(super) fn at(&self, place: usize) -> Scalar {
        self.constant * self.base.pow_vartime([place as u64])
    }

    /// The factors of 2^`bits` elements whose places have their bits reversed.
    pub(super) fn reversed(&self, bits: u32) -> Reversed {
        let low = bits / 2;
        let step = self.base.pow_vartime([1 << (bits - low)]);
        Reversed {
            none: self.are_none(),
            low,
            coarse: few_powers(step, low, Scalar::ONE),
            fine: few_powers(self.base, bits - low, self.constant),
        }
    }
}

impl Around {
    pub(super) fn of(transform: Transform, power: u32) -> Self {
        let generator = Scalar::MULTIPLICATIVE_GENERATOR;
        let (none, divided) = (Powers::NONE, Powers::constant(one_by_size(power)));
        let with = |base, powers| Powers { base, ..powers };
        let (before, after) = match transform {
            Transform::Forward => (none, none),
            Transform::Inverse => (none, divided),
            Transform::CosetForward => (with(generator, none), none),
            Transform::CosetInverse => (none, with(inverse(generator), divided)),
        };
        Self { before, after }
    }
}

impl OfQuotient {
    pub(super) fn new(power: u32) -> Self {
        let generator = Scalar::MULTIPLICATIVE_GENERATOR;
        let z = generator.pow_vartime([1 << power]) - Scalar::ONE;
        let by_size = one_by_size(power);
        let by_both = by_size * inverse(z);
        Self {
            onto_coset: Powers {
                base: generator,
                constant: by_size,
            },
            from_coset: Powers {
                base: inverse(generator),
                constant: by_both,
            },
            others: Powers::constant(-by_both),
        }
    }
}

fn one_by_size(power: u32) -> Scalar {
    Scalar::TWO_INV.pow_vartime([u64::from(power)])
}

/// A factor is the product of one for the place's higher and one for its lower bits.
#[derive(Debug)]
pub(super) struct Reversed {
    none: bool,
    low: u32,
    coarse: Vec<Scalar>,
    fine: Vec<Scalar>,
}

impl Reversed {
    #[inline]
    pub(super) fn scaled(&self, place: usize, value: Scalar) -> Scalar {
        if self.none {
            return value;
        }
        let coarse = self.coarse[place & ((1 << self.low) - 1)];
        value * (self.fine[place >> self.low] * coarse)
    }
}
