//! A circuit's witness: the values of its variables and of both sides of its constraints, and which
//! variables the parameters have points for.
//!
//! The circuits are those of the proofs library, which speak to bellperson's
//! `ConstraintSystem`; this one keeps of a constraint only what its three sides come to.

pub use bellperson::Circuit;
use bellperson::{ConstraintSystem, Index, LinearCombination, SynthesisError, Variable};
use blstrs::Scalar;
use ff::Field;

/// What is to be proven about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The values of the left, the right and the product of each constraint.
    pub(crate) sides: [Vec<Scalar>; 3],
    pub(crate) inputs: Vec<Scalar>,
    pub(crate) aux: Vec<Scalar>,
    /// Whether a variable occurs on the left, or the right. (Inputs occur on the left always.)
    pub(crate) aux_left: Vec<bool>,
    pub(crate) inputs_right: Vec<bool>,
    pub(crate) aux_right: Vec<bool>,
}

impl Witness {
    /// Synthesises a circuit.
    ///
    /// # Errors
    /// Those of the circuit.
    pub fn of(circuit: impl Circuit<Scalar>) -> Result<Self, SynthesisError> {
        let mut witness = Self::default();
        witness.alloc_input(|| "", || Ok(Scalar::ONE))?;
        circuit.synthesize(&mut witness)?;
        // each input has a constraint of its own, so that it occurs on the left
        for i in 0..witness.inputs.len() {
            let input = Variable::new_unchecked(Index::Input(i));
            witness.enforce(|| "", |sum| sum + input, |sum| sum, |sum| sum);
        }
        Ok(witness)
    }

    /// How many constraints there are.
    pub fn constraints(&self) -> usize {
        self.sides[0].len()
    }
}

/// What a sum comes to; notes whose values it takes. Of a coefficient that is 0 nobody takes notice,
/// nor does the setup.
fn value(
    sum: &LinearCombination<Scalar>,
    [inputs, aux]: [&[Scalar]; 2],
    mut note: impl FnMut(Index),
) -> Scalar {
    let mut value = Scalar::ZERO;
    let mut add = |index: Index, of: &Scalar, coefficient: &Scalar| {
        if bool::from(coefficient.is_zero()) {
            return;
        }
        note(index);
        if *coefficient == Scalar::ONE {
            value += of;
        } else {
            value += *of * coefficient;
        }
    };
    for (i, coefficient) in sum.iter_inputs() {
        add(Index::Input(*i), &inputs[*i], coefficient);
    }
    for (i, coefficient) in sum.iter_aux() {
        add(Index::Aux(*i), &aux[*i], coefficient);
    }
    value
}

impl ConstraintSystem<Scalar> for Witness {
    type Root = Self;

    fn new() -> Self {
        Self::default()
    }

    fn alloc<F, A, AR>(&mut self, _: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.aux.push(value()?);
        self.aux_left.push(false);
        self.aux_right.push(false);
        Ok(Variable::new_unchecked(Index::Aux(self.aux.len() - 1)))
    }

    fn alloc_input<F, A, AR>(&mut self, _: A, value: F) -> Result<Variable, SynthesisError>
    where
        F: FnOnce() -> Result<Scalar, SynthesisError>,
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        self.inputs.push(value()?);
        self.inputs_right.push(false);
        Ok(Variable::new_unchecked(Index::Input(self.inputs.len() - 1)))
    }

    fn enforce<A, AR, LA, LB, LC>(&mut self, _: A, left: LA, right: LB, product: LC)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
        LA: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LB: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
        LC: FnOnce(LinearCombination<Scalar>) -> LinearCombination<Scalar>,
    {
        let variables = [self.inputs.as_slice(), &self.aux];
        let (aux_left, aux_right) = (&mut self.aux_left, &mut self.aux_right);
        let inputs_right = &mut self.inputs_right;
        let left = value(&left(LinearCombination::zero()), variables, |index| {
            if let Index::Aux(i) = index {
                aux_left[i] = true;
            }
        });
        let right = value(
            &right(LinearCombination::zero()),
            variables,
            |index| match index {
                Index::Input(i) => inputs_right[i] = true,
                Index::Aux(i) => aux_right[i] = true,
            },
        );
        let product = value(&product(LinearCombination::zero()), variables, |_| {});
        for (side, value) in self.sides.iter_mut().zip([left, right, product]) {
            side.push(value);
        }
    }

    fn push_namespace<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn pop_namespace(&mut self) {}

    fn get_root(&mut self) -> &mut Self::Root {
        self
    }

    fn is_extensible() -> bool {
        true
    }

    /// Parts of a circuit that were synthesised side by side: each has its own first input, which
    /// is one and the same.
    fn extend(&mut self, other: &Self) {
        for (side, more) in self.sides.iter_mut().zip(&other.sides) {
            side.extend(more);
        }
        let skipped = usize::from(!self.inputs.is_empty());
        if let (Some(first), Some(more)) =
            (self.inputs_right.first_mut(), other.inputs_right.first())
        {
            *first |= more;
        }
        self.inputs.extend(other.inputs.iter().skip(skipped));
        self.inputs_right
            .extend(other.inputs_right.iter().skip(skipped));
        self.aux.extend(&other.aux);
        self.aux_left.extend(&other.aux_left);
        self.aux_right.extend(&other.aux_right);
    }
}
