//! Transforms on scalars as blstrs has them, for any CPU.

use super::factors::{Around, OfQuotient, Powers, inverse};
use super::tables::{powers, reversed, root};
use super::transform::Transform;
use super::walk::{End, Steps, Walk};
use crate::run::Run;
use blstrs::Scalar;
use damocles_kernels::{
    crew::Cancelled,
    field::limbs::{Words, value},
};
use ff::Field;

/// What a domain keeps: 32 bytes per element.
#[derive(Debug)]
pub(super) struct ScalarTables {
    power: u32,
    /// The nodes' constants.
    forward: Vec<Scalar>,
    inverse: Vec<Scalar>,
}

/// Multiplies values in natural order, the first of them at `place`.
fn scale(factors: &Powers, place: usize, values: &mut [Scalar]) {
    if factors.are_none() {
        return;
    }
    let mut factor = factors.at(place);
    for value in values {
        *value *= factor;
        factor *= factors.base;
    }
}

/// A direction's constants on the way down; those of the other one undo it.
struct Constants<'a> {
    down: &'a [Scalar],
    up: &'a [Scalar],
}

impl ScalarTables {
    pub(super) fn new(power: u32, run: Run<'_>) -> Result<Self, Cancelled> {
        let root = root(power);
        let nodes = |root| {
            powers(
                root,
                power.saturating_sub(1),
                Scalar::ONE,
                |power| power,
                run,
            )
        };
        Ok(Self {
            power,
            forward: nodes(root)?,
            inverse: nodes(inverse(root))?,
        })
    }

    fn constants(&self, inverse: bool) -> Constants<'_> {
        let [down, up] = match inverse {
            false => [&self.forward, &self.inverse],
            true => [&self.inverse, &self.forward],
        };
        Constants { down, up }
    }

    /// See [`super::Domain::transform`].
    pub(super) fn transform(
        &self,
        transform: Transform,
        values: Vec<Scalar>,
        run: Run<'_>,
    ) -> Result<Vec<Scalar>, Cancelled> {
        let mut values = self.padded(values);
        let factors = Around::of(transform, self.power);
        let walk = Walk {
            steps: &self.constants(transform.is_inverse()),
            first: |place: usize, values: &mut [Scalar]| scale(&factors.before, place, values),
            leaf: |_, _: &mut [Scalar]| {},
            end: End::Below,
        };
        walk.run(&mut values, run)?;
        let after = factors.after.reversed(self.power);
        let mut result = vec![Scalar::ZERO; values.len()];
        self.gather(&mut result, run, |i| after.scaled(i, values[i]))?;
        Ok(result)
    }

    /// See [`super::Domain::quotient`].
    pub(super) fn quotient(
        &self,
        [a, b, c]: [Vec<Scalar>; 3],
        run: Run<'_>,
    ) -> Result<Vec<Words>, Cancelled> {
        let factors = OfQuotient::new(self.power);
        let mut a = self.onto_coset(a, &factors.onto_coset, run)?;
        let b = self.onto_coset(b, &factors.onto_coset, run)?;
        let product = |place: usize, a: &mut [Scalar]| {
            for (a, b) in a.iter_mut().zip(&b[place..]) {
                *a *= b;
            }
        };
        self.coefficients(&mut a, product, &factors.from_coset, run)?;
        drop(b);
        let mut c = self.padded(c);
        self.coefficients(&mut c, |_, _: &mut [Scalar]| {}, &factors.others, run)?;
        let mut h = vec![[0; 4]; a.len()];
        self.gather(&mut h, run, |i| value(&(a[i] + c[i])))?;
        h.pop();
        Ok(h)
    }

    fn padded(&self, mut values: Vec<Scalar>) -> Vec<Scalar> {
        values.resize(1 << self.power, Scalar::ZERO);
        values
    }

    /// From the values on the domain to those on the coset.
    fn onto_coset(
        &self,
        values: Vec<Scalar>,
        factors: &Powers,
        run: Run<'_>,
    ) -> Result<Vec<Scalar>, Cancelled> {
        let mut values = self.padded(values);
        let reversed = factors.reversed(self.power);
        let walk = Walk {
            steps: &self.constants(true),
            first: |_, _: &mut [Scalar]| {},
            leaf: |i, leaf: &mut [Scalar]| leaf[0] = reversed.scaled(i, leaf[0]),
            end: End::Above,
        };
        walk.run(&mut values, run)?;
        Ok(values)
    }

    /// From values to coefficients times factors, in reversed order.
    fn coefficients(
        &self,
        values: &mut [Scalar],
        first: impl Fn(usize, &mut [Scalar]) + Sync,
        factors: &Powers,
        run: Run<'_>,
    ) -> Result<(), Cancelled> {
        let reversed = factors.reversed(self.power);
        let walk = Walk {
            steps: &self.constants(true),
            first,
            leaf: |i, leaf: &mut [Scalar]| leaf[0] = reversed.scaled(i, leaf[0]),
            end: End::Below,
        };
        walk.run(values, run)
    }

    /// Fills `out` with what `from` gives for the places in reversed order.
    fn gather<T: Send>(
        &self,
        out: &mut [T],
        run: Run<'_>,
        from: impl Fn(usize) -> T + Sync,
    ) -> Result<(), Cancelled> {
        const PIECE: usize = 1 << 12;
        let count = out.len().div_ceil(PIECE);
        run.each(count, out.chunks_mut(PIECE).enumerate(), |(piece, out)| {
            for (i, out) in out.iter_mut().enumerate() {
                *out = from(reversed(piece * PIECE + i, self.power));
            }
        })
    }
}

impl Steps for Constants<'_> {
    type Block = Scalar;
    const LEAF: usize = 1;
    const COLUMNS: usize = 1 << 10;

    fn down(&self, node: usize, [a, b, c, d]: [&mut [Scalar]; 4]) {
        let [outer, left, right] = [node, 2 * node, 2 * node + 1].map(|node| self.down[node]);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            if node > 0 {
                *c *= outer;
                *d *= outer;
            }
            let [sums, mut differences] = [[*a + *c, *b + *d], [*a - *c, *b - *d]];
            let mut second = sums[1];
            if node > 0 {
                second *= left;
            }
            differences[1] *= right;
            (*a, *b) = (sums[0] + second, sums[0] - second);
            (*c, *d) = (
                differences[0] + differences[1],
                differences[0] - differences[1],
            );
        }
    }

    fn down_half(&self, node: usize, [a, b]: [&mut [Scalar]; 2]) {
        let constant = self.down[node];
        for (a, b) in a.iter_mut().zip(b) {
            let second = *b * constant;
            (*a, *b) = (*a + second, *a - second);
        }
    }

    fn up(&self, node: usize, [a, b, c, d]: [&mut [Scalar]; 4]) {
        let [outer, left, right] = [node, 2 * node, 2 * node + 1].map(|node| self.up[node]);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let [sums, mut differences] = [[*a + *b, *c + *d], [*a - *b, *c - *d]];
            if node > 0 {
                differences[0] *= left;
            }
            differences[1] *= right;
            (*a, *c) = (sums[0] + sums[1], sums[0] - sums[1]);
            (*b, *d) = (
                differences[0] + differences[1],
                differences[0] - differences[1],
            );
            if node > 0 {
                *c *= outer;
                *d *= outer;
            }
        }
    }

    fn up_half(&self, node: usize, [a, b]: [&mut [Scalar]; 2]) {
        let constant = self.up[node];
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a + *b, (*a - *b) * constant);
        }
    }
}
