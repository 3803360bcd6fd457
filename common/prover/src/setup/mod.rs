//! Parameters of a circuit from nothing, for networks whose provers trust whoever makes them: what
//! bellperson's `generate_parameters` makes, point for point where the secrets are the same, and
//! written as it writes them.
//!
//! With L_i the Lagrange polynomials of the domain on which constraints are numbered, a variable
//! that occurs in constraints i with coefficients c_i has the value Σ c_i·L_i(τ) on each of the
//! three sides: u, v, w. The points are g1 and g2 times
//! * h: τ^i·(τ^n − 1)/δ for all i below n − 1,
//! * a: u, b: v where these are not 0,
//! * l and ic: (β·u + α·v + w)/δ of an auxiliary variable, /γ of an input.
//!
//! So the circuit is asked twice: how many constraints it has, which says the domain, and then for
//! its coefficients, which are multiplied and forgotten. Memory: 96 bytes for each variable, 32 for
//! each constraint, tables of up to 64 MiB for G1 and 96 for G2, and 20 MiB for each thread.
//!
//! `waste` the secrets · `shape` what the circuit is asked · `lagrange` L_i(τ) · `file` where things
//! stand in the file.

mod file;
mod lagrange;
mod shape;
mod waste;

pub use waste::Waste;

use crate::{
    fft::Domain,
    multiexp::multiples::{G1Multiples, G2Multiples, Multiples},
    run::Run,
};
use bellperson::{Circuit, SynthesisError, groth16::VerifyingKey};
use blstrs::{Bls12, G1Projective, G2Projective, Scalar};
use damocles_kernels::{
    cpu::Cpu,
    crew::Cancelled,
    field::limbs::{Words, value},
};
use ff::Field;
use file::{Layout, Section};
use group::{Curve, Group};
use shape::{Count, Values};
use std::{
    io,
    ops::Range,
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Why there are no parameters.
#[derive(Debug)]
pub enum NoParameters {
    Cancelled,
    Circuit(SynthesisError),
    /// Where they are written.
    Disk(io::Error),
    /// One of the secrets is 0, or a root of unity: take others.
    Degenerate,
}

impl From<Cancelled> for NoParameters {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<SynthesisError> for NoParameters {
    fn from(error: SynthesisError) -> Self {
        Self::Circuit(error)
    }
}

impl From<io::Error> for NoParameters {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl std::fmt::Display for NoParameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => f.write_str("making parameters was cancelled"),
            Self::Circuit(error) => write!(f, "the circuit has no parameters: {error}"),
            Self::Disk(error) => error.fmt(f),
            Self::Degenerate => f.write_str("the secrets are of no use"),
        }
    }
}

impl std::error::Error for NoParameters {}

/// The points that all others are multiples of. They are no secret.
#[derive(Clone, Copy, Debug)]
pub struct Generators {
    pub g1: G1Projective,
    pub g2: G2Projective,
}

/// Makes the parameters of a circuit without values, which `circuit` gives every time the same.
/// `put` writes bytes to a place of the file, from several threads and in no order; `told` hears
/// how many points are made, of how many.
///
/// # Errors
/// [`NoParameters`].
pub fn generate<C: Circuit<Scalar>>(
    cpu: Cpu,
    circuit: impl Fn() -> C + Sync,
    generators: Generators,
    waste: &Waste,
    put: impl Fn(u64, &[u8]) -> io::Result<()> + Sync,
    told: impl Fn(u64, u64) + Sync,
    run: Run<'_>,
) -> Result<(), NoParameters> {
    let count = Count::of(circuit())?;
    let values = |lagrange: &[Scalar]| Values::of(circuit(), count, lagrange);
    let out = Out {
        put: &put,
        told: &told,
        made: AtomicU64::new(0),
        all: AtomicU64::new(0),
        run,
    };
    write(cpu, count, &values, generators, waste, &out)
}

/// The same of a circuit that is counted. (Nothing here depends on what kind of circuit it is, so
/// that it is compiled with this crate, and not with its callers, as theirs may be compiled
/// otherwise.)
fn write(
    cpu: Cpu,
    count: Count,
    values: &(dyn Fn(&[Scalar]) -> Result<Values, SynthesisError> + Sync),
    generators: Generators,
    waste: &Waste,
    out: &Out<'_>,
) -> Result<(), NoParameters> {
    let infinite = generators.g1.is_identity() | generators.g2.is_identity();
    if bool::from(infinite) || waste.is_degenerate() {
        return Err(NoParameters::Degenerate);
    }
    let inverse = |secret: Scalar| Option::from(secret.invert()).ok_or(NoParameters::Degenerate);
    let (by_gamma, by_delta): (Scalar, Scalar) = (inverse(waste.gamma)?, inverse(waste.delta)?);
    let power = Domain::power_for(count.constraints);
    let vanishing = waste.tau.pow_vartime([1_u64 << power]) - Scalar::ONE;
    inverse(vanishing)?;

    let run = out.run;
    let h_count = (1 << power) - 1;
    let at_most = h_count + 3 * count.variables();
    // as long as nobody knows which variables occur where
    let all = at_most + count.variables();
    out.all.store(all as u64, Ordering::Relaxed);
    let g1 = G1Multiples::new(cpu, generators.g1, at_most, run)?;
    let mut layout = Layout::new(count.inputs);
    let lagrange = lagrange::at(waste.tau, power, count.constraints, run)?;
    // asking the circuit is one thread's work, for which the others need not wait
    let values = thread::scope(|scope| {
        let values = scope.spawn(|| values(&lagrange));
        let first = vanishing * by_delta;
        let h = out.points(&g1, &layout.section(h_count, &g1), |range, words| {
            let mut scalar = waste.tau.pow_vartime([range.start as u64]) * first;
            words.extend(range.map(|_| {
                let this = value(&scalar);
                scalar *= waste.tau;
                this
            }));
            Ok(())
        });
        let values = values.join().unwrap_or_else(|p| panic::resume_unwind(p));
        h.and(values.map_err(NoParameters::from))
    })?;
    drop(lagrange);

    let Values {
        left,
        right,
        product,
    } = &values;
    let (on_left, on_right) = (present(left), present(right));
    let made = h_count + count.aux + on_left.len() + 2 * on_right.len();
    out.all.store(made as u64, Ordering::Relaxed);
    let outer = |i: usize| waste.beta * left[i] + waste.alpha * right[i] + product[i];
    out.points(&g1, &layout.section(count.aux, &g1), |range, words| {
        for i in range {
            let scalar = outer(count.inputs + i) * by_delta;
            if bool::from(scalar.is_zero()) {
                return Err(SynthesisError::UnconstrainedVariable.into());
            }
            words.push(value(&scalar));
        }
        Ok(())
    })?;
    let of = |values: &[Scalar], places: &[u32], range: Range<usize>, words: &mut Vec<Words>| {
        words.extend(places[range].iter().map(|i| value(&values[*i as usize])));
        Ok(())
    };
    let section = layout.section(on_left.len(), &g1);
    out.points(&g1, &section, |range, words| {
        of(left, &on_left, range, words)
    })?;
    let section = layout.section(on_right.len(), &g1);
    out.points(&g1, &section, |range, words| {
        of(right, &on_right, range, words)
    })?;
    drop(g1);
    let g2 = G2Multiples::new(cpu, generators.g2, on_right.len(), run)?;
    let section = layout.section(on_right.len(), &g2);
    out.points(&g2, &section, |range, words| {
        of(right, &on_right, range, words)
    })?;

    let ic = (0..count.inputs).map(|i| generators.g1 * (outer(i) * by_gamma));
    let key = key(generators, waste, ic);
    let mut bytes = Vec::new();
    key.write(&mut bytes)?;
    Ok((out.put)(0, &bytes)?)
}

/// Which values are not 0.
fn present(values: &[Scalar]) -> Vec<u32> {
    let all = (0..).zip(values);
    let present = all.filter(|(_, value)| !bool::from(value.is_zero()));
    present.map(|(i, _)| i).collect()
}

fn key(
    Generators { g1, g2 }: Generators,
    waste: &Waste,
    ic: impl Iterator<Item = G1Projective>,
) -> VerifyingKey<Bls12> {
    VerifyingKey {
        alpha_g1: (g1 * waste.alpha).to_affine(),
        beta_g1: (g1 * waste.beta).to_affine(),
        beta_g2: (g2 * waste.beta).to_affine(),
        gamma_g2: (g2 * waste.gamma).to_affine(),
        delta_g1: (g1 * waste.delta).to_affine(),
        delta_g2: (g2 * waste.delta).to_affine(),
        ic: ic.map(|point| point.to_affine()).collect(),
    }
}

/// Where points go, and who hears of them.
struct Out<'a> {
    put: &'a (dyn Fn(u64, &[u8]) -> io::Result<()> + Sync),
    told: &'a (dyn Fn(u64, u64) + Sync),
    made: AtomicU64,
    all: AtomicU64,
    run: Run<'a>,
}

impl Out<'_> {
    /// Makes the points of a section by their scalars, and writes them with their number.
    fn points<M: Multiples>(
        &self,
        multiples: &M,
        section: &Section,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), NoParameters> + Sync,
    ) -> Result<(), NoParameters> {
        (self.put)(section.begin, &section.head())?;
        let put = |begin: usize, bytes: &[u8]| {
            (self.put)(section.place(begin), bytes)?;
            let points = (bytes.len() / M::BYTES) as u64;
            let made = points + self.made.fetch_add(points, Ordering::Relaxed);
            (self.told)(made, self.all.load(Ordering::Relaxed));
            Ok(())
        };
        multiples.each(section.count, scalars, put, self.run)
    }
}

#[cfg(test)]
mod tests;
