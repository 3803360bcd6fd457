//! What a setup asks a circuit: how much there is of it, and which coefficients its variables
//! have.

use crate::wiped::Wiped;
use bellperson::{Circuit, ConstraintSystem, Index, LinearCombination, SynthesisError, Variable};
use blstrs::Scalar;
use ff::Field;

/// How much there is of a circuit, with the constraint that each input has of its own (so that it
/// occurs on the left).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) constraints: usize,
    pub(super) inputs: usize,
    pub(super) aux: usize,
}

/// The values of all variables, inputs first, on the left, the right and in the product, at τ.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) left: Wiped<Scalar>,
    pub(super) right: Wiped<Scalar>,
    pub(super) product: Wiped<Scalar>,
}

/// Collects them.
#[derive(Debug)]
struct Collecting<'a> {
    values: Values,
    /// L_i(τ) of each constraint.
    lagrange: &'a [Scalar],
    count: Count,
    /// What the circuit has named so far.
    named: Count,
}

impl Count {
    pub(super) fn of(circuit: impl Circuit<Scalar>) -> Result<Self, SynthesisError> {
        // the first input is 1
        let mut count = Self {
            inputs: 1,
            ..Self::default()
        };
        circuit.synthesize(&mut count)?;
        count.constraints += count.inputs;
        Ok(count)
    }

    pub(super) fn variables(self) -> usize {
        self.inputs + self.aux
    }
}

/// The circuit was another one when it was counted.
fn changed() -> SynthesisError {
    SynthesisError::IncompatibleLengthVector("the circuit is not always the same".to_owned())
}

impl Values {
    /// `lagrange` has L_i(τ) of each constraint.
    pub(super) fn of(
        circuit: impl Circuit<Scalar>,
        count: Count,
        lagrange: &[Scalar],
    ) -> Result<Self, SynthesisError> {
        let [left, right, product] = [(); 3].map(|()| Wiped::zeros(count.variables()));
        let mut collecting = Collecting {
            values: Self {
                left,
                right,
                product,
            },
            lagrange,
            count,
            named: Count {
                inputs: 1,
                ..Count::default()
            },
        };
        circuit.synthesize(&mut collecting)?;
        for i in 0..count.inputs {
            let input = Variable::new_unchecked(Index::Input(i));
            collecting.enforce(|| "", |sum| sum + input, |sum| sum, |sum| sum);
        }
        match collecting.named == count {
            true => Ok(collecting.values),
            false => Err(changed()),
        }
    }
}

/// Adds a constraint's part to the values of the variables of one of its sides.
fn add(sum: &LinearCombination<Scalar>, at: &Scalar, values: &mut [Scalar], inputs: usize) {
    let all = (sum.iter_inputs().map(|(i, by)| (*i, by)))
        .chain(sum.iter_aux().map(|(i, by)| (inputs + i, by)));
    for (i, coefficient) in all {
        if *coefficient == Scalar::ONE {
            values[i] += at;
        } else {
            values[i] += *at * coefficient;
        }
    }
}

impl ConstraintSystem<Scalar> for Count {
    type Root = Self;

    fn alloc<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.aux += 1;
        Ok(Variable::new_unchecked(Index::Aux(self.aux - 1)))
    }

    fn alloc_input<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.inputs += 1;
        Ok(Variable::new_unchecked(Index::Input(self.inputs - 1)))
    }

    fn enforce<A, AR, LA, LB, LC>(&mut self, _: A, _: LA, _: LB, _: LC)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
        LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
    {
        self.constraints += 1;
    }

    fn push_namespace<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn pop_namespace(&mut self) {}

    fn get_root(&mut self) -> &mut Self {
        self
    }
}

impl ConstraintSystem<Scalar> for Collecting<'_> {
    type Root = Self;

    fn alloc<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        let number = self.named.aux;
        self.named.aux += 1;
        match number < self.count.aux {
            true => Ok(Variable::new_unchecked(Index::Aux(number))),
            false => Err(changed()),
        }
    }

    fn alloc_input<F, A, AR>(&mut self, _: A, _: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        let number = self.named.inputs;
        self.named.inputs += 1;
        match number < self.count.inputs {
            true => Ok(Variable::new_unchecked(Index::Input(number))),
            false => Err(changed()),
        }
    }

    fn enforce<A, AR, LA, LB, LC>(&mut self, _: A, left: LA, right: LB, product: LC)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
        LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
    {
        // one that was not counted is told of in the end
        if let Some(at) = self.lagrange.get(self.named.constraints) {
            let (values, inputs) = (&mut self.values, self.count.inputs);
            let zero = LinearCombination::zero;
            add(&left(zero()), at, &mut values.left, inputs);
            add(&right(zero()), at, &mut values.right, inputs);
            add(&product(zero()), at, &mut values.product, inputs);
        }
        self.named.constraints += 1;
    }

    fn push_namespace<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn pop_namespace(&mut self) {}

    fn get_root(&mut self) -> &mut Self {
        self
    }
}
