//! A proof from a witness and parameters.

use crate::{fft::Domain, parameters::Parameters, run::Run, synthesis::Witness};
use bellperson::groth16::Proof;
use blstrs::{Bls12, G1Projective, G2Projective, Scalar};
use damocles_kernels::{
    cpu::Cpu,
    crew::Cancelled,
    field::limbs::{Words, value},
};
use group::{Curve, prime::PrimeCurveAffine};

/// What makes a proof tell nothing but that it holds. Whoever knows these of a proof, learns
/// something of its witness.
#[derive(Clone, Copy)]
pub struct Blinding {
    pub r: Scalar,
    pub s: Scalar,
}

impl std::fmt::Debug for Blinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blinding(…)")
    }
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProof {
    Cancelled,
    /// They are for another circuit.
    OtherParameters,
    /// Their delta is at infinity: whoever made them could forge proofs.
    Subverted,
}

impl From<Cancelled> for NoProof {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl std::fmt::Display for NoProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the proof was cancelled",
            Self::OtherParameters => "the parameters are for another circuit",
            Self::Subverted => "the parameters' delta is at infinity: proofs could be forged",
        })
    }
}

impl std::error::Error for NoProof {}

/// Proves (Groth16, section 3.2, as bellperson does it). The witness is used up side by side with
/// the work: what no later part needs is freed, and its three sides become h. How much memory that
/// takes, `batch` says.
///
/// # Errors
/// [`NoProof`].
pub fn prove(
    cpu: Cpu,
    witness: Witness,
    parameters: &Parameters,
    blinding: Blinding,
    run: Run<'_>,
) -> Result<Proof<Bls12>, NoProof> {
    let key = &parameters.key;
    if bool::from(key.delta_g1.is_identity() | key.delta_g2.is_identity()) {
        return Err(NoProof::Subverted);
    }
    if !fits(&witness, parameters) {
        return Err(NoProof::OtherParameters);
    }
    let power = Domain::power_for(witness.constraints());
    let Witness {
        sides,
        inputs,
        aux,
        aux_left,
        inputs_right,
        aux_right,
    } = witness;
    let (inputs, aux) = (words(inputs), words(aux));
    let left: Vec<Words> = (inputs.iter().copied())
        .chain(present(&aux, &aux_left))
        .collect();
    drop(aux_left);
    let a = parameters.a.multiexp(&left, run)?;
    drop(left);
    let right: Vec<Words> = present(&inputs, &inputs_right)
        .chain(present(&aux, &aux_right))
        .collect();
    drop(aux_right);
    let b_g1 = parameters.b_g1.multiexp(&right, run)?;
    let b_g2 = parameters.b_g2.multiexp(&right, run)?;
    drop(right);
    let l = parameters.l.multiexp(&aux, run)?;
    drop(aux);
    let h = {
        let domain = Domain::new(power, cpu, run)?;
        domain.quotient(sides, run)?
    };
    let h = parameters.h.multiexp(&h, run)?;
    let Blinding { r, s } = blinding;
    let delta = G1Projective::from(key.delta_g1);
    let alpha = G1Projective::from(key.alpha_g1);
    let beta = G1Projective::from(key.beta_g1);
    let c = a * s + b_g1 * r + delta * (r * s) + alpha * s + beta * r + h + l;
    let b = G2Projective::from(key.delta_g2) * s + key.beta_g2 + b_g2;
    Ok(Proof {
        a: (delta * r + alpha + a).to_affine(),
        b: b.to_affine(),
        c: c.to_affine(),
    })
}

/// Whether the parameters are for a circuit like the one that was synthesised.
fn fits(witness: &Witness, parameters: &Parameters) -> bool {
    let count = |there: &[bool]| there.iter().filter(|there| **there).count();
    let (inputs, aux) = (witness.inputs.len(), witness.aux.len());
    let right = count(&witness.inputs_right) + count(&witness.aux_right);
    let domain = 1 << Domain::power_for(witness.constraints());
    parameters.h.len() + 1 == domain
        && parameters.l.len() == aux
        && parameters.a.len() == inputs + count(&witness.aux_left)
        && parameters.b_g1.len() == right
        && parameters.b_g2.len() == right
}

/// The values as canonical words, in the memory where they were.
fn words(scalars: Vec<Scalar>) -> Vec<Words> {
    scalars.into_iter().map(|scalar| value(&scalar)).collect()
}

/// The scalars of the variables that occur.
fn present(scalars: &[Words], there: &[bool]) -> impl Iterator<Item = Words> {
    let both = scalars.iter().zip(there);
    both.filter(|(_, there)| **there).map(|(scalar, _)| *scalar)
}

#[cfg(test)]
pub(crate) mod tests;
