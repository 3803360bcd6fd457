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
/// the work: its three sides become h.
///
/// # Errors
/// [`NoProof`].
pub fn prove(
    cpu: Cpu,
    mut witness: Witness,
    parameters: &Parameters,
    blinding: Blinding,
    run: Run<'_>,
) -> Result<Proof<Bls12>, NoProof> {
    let key = &parameters.key;
    if bool::from(key.delta_g1.is_identity() | key.delta_g2.is_identity()) {
        return Err(NoProof::Subverted);
    }
    let power = Domain::power_for(witness.constraints());
    let inputs: Vec<Words> = witness.inputs.iter().map(value).collect();
    let aux: Vec<Words> = witness.aux.iter().map(value).collect();
    let left: Vec<Words> = (inputs.iter().copied())
        .chain(present(&aux, &witness.aux_left))
        .collect();
    let right: Vec<Words> = present(&inputs, &witness.inputs_right)
        .chain(present(&aux, &witness.aux_right))
        .collect();
    let fits = parameters.h.len() + 1 == 1 << power
        && parameters.l.len() == aux.len()
        && parameters.a.len() == left.len()
        && parameters.b_g1.len() == right.len()
        && parameters.b_g2.len() == right.len();
    if !fits {
        return Err(NoProof::OtherParameters);
    }
    let a = parameters.a.multiexp(&left, run)?;
    drop(left);
    let b_g1 = parameters.b_g1.multiexp(&right, run)?;
    let b_g2 = parameters.b_g2.multiexp(&right, run)?;
    drop(right);
    let l = parameters.l.multiexp(&aux, run)?;
    drop(aux);
    let h = {
        let sides = std::mem::take(&mut witness.sides);
        let domain = Domain::new(power, cpu, run)?;
        let h = domain.quotient(sides, run)?;
        parameters.h.multiexp(&h, run)?
    };
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

/// The scalars of the variables that occur.
fn present(scalars: &[Words], there: &[bool]) -> impl Iterator<Item = Words> {
    let both = scalars.iter().zip(there);
    both.filter(|(_, there)| **there).map(|(scalar, _)| *scalar)
}

#[cfg(test)]
mod tests;
