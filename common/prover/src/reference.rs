//! What bellperson does, for measurements beside it: its own functions, on what it keeps in memory.

use crate::setup::{Generators, Waste};
use bellperson::{
    Circuit, SynthesisError,
    domain::EvaluationDomain,
    groth16::{ParameterSource, Parameters, generate_parameters},
};
use blstrs::{Bls12, G1Affine, G1Projective, Scalar};
use ec_gpu_gen::{
    EcError,
    multiexp_cpu::{FullDensity, multiexp_cpu},
    threadpool::Worker,
};
use ff::PrimeField;
use std::sync::Arc;

/// The points of h, decoded.
///
/// # Errors
/// A damaged point.
pub fn points_of_h<P>(source: P) -> Result<Arc<Vec<G1Affine>>, SynthesisError>
where
    P: ParameterSource<Bls12, G1Builder = (Arc<Vec<G1Affine>>, usize)>,
{
    Ok(source.get_h(0)?.0)
}

/// Scalars in the form in which `multiexp` takes them.
pub type Exponents = Arc<Vec<<Scalar as PrimeField>::Repr>>;

/// Σ scalar × point, of as many points as there are scalars.
///
/// # Errors
/// A point at infinity.
pub fn multiexp(points: &Arc<Vec<G1Affine>>, scalars: &Exponents) -> Result<G1Projective, EcError> {
    let points = (Arc::clone(points), 0);
    let sum = multiexp_cpu(&Worker::new(), points, FullDensity, Arc::clone(scalars));
    sum.wait()
}

/// The transform from coefficients to values, on all cores.
///
/// # Errors
/// There are too many.
pub fn transform(coefficients: Vec<Scalar>) -> Result<Vec<Scalar>, SynthesisError> {
    let mut domain = EvaluationDomain::from_coeffs(coefficients)?;
    // on the CPU nothing else can fail
    domain
        .fft(&Worker::new(), &mut None)
        .map_err(|_| SynthesisError::PolynomialDegreeTooLarge)?;
    Ok(domain.into_coeffs())
}

/// Parameters of a circuit without values.
///
/// # Errors
/// Those of the circuit.
pub fn generate<C: Circuit<Scalar>>(
    circuit: C,
    Generators { g1, g2 }: Generators,
    waste: &Waste,
) -> Result<Parameters<Bls12>, SynthesisError> {
    let Waste {
        tau,
        alpha,
        beta,
        gamma,
        delta,
    } = *waste;
    generate_parameters(circuit, g1, g2, alpha, beta, gamma, delta, tau)
}
