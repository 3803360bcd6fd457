//! The parts of a proof that take most of its time, on what the proof of a sector has: the
//! multiexponentiation of h with random scalars, and a transform of the circuit's domain.

use super::turns::{Sample, Side, Subject};
use crate::{params, stage, task::Circuit};
use anyhow::Context as _;
use blstrs::{G1Affine, Scalar};
use damocles_kernels::{cpu::Cpu, field::limbs::value};
use damocles_prover::{
    fft::{Domain, Transform},
    multiexp::Bases,
    reference::{self, Exponents},
    run::Run,
};
use damocles_types::SectorSize;
use ff::{Field, PrimeField};
use rand::rngs::OsRng;
use std::{sync::Arc, time::Instant};
use storage_proofs_core::parameter_cache::{parameter_cache_params_path, read_cached_params};

/// The points of h of a sector's C2, decoded.
fn h(size: SectorSize) -> anyhow::Result<Arc<Vec<G1Affine>>> {
    params::require(crate::Stage::C2, size)?;
    let path = parameter_cache_params_path(&params::identify(Circuit::PoRep, size)?);
    let mapped = read_cached_params(&path).with_context(|| path.display().to_string())?;
    Ok(reference::points_of_h(&mapped)?)
}

fn ours(began: Instant) -> Sample {
    Sample {
        seconds: began.elapsed().as_secs_f64(),
        kernel: stage::prover_name(Cpu::detect()).to_owned(),
    }
}

fn theirs(began: Instant) -> Sample {
    Sample {
        seconds: began.elapsed().as_secs_f64(),
        kernel: BELLPERSON.to_owned(),
    }
}

/// What the library's prover and generator are called.
pub(super) const BELLPERSON: &str = "bellperson";

/// Σ scalar × point. Both sides have decoded their points, and have the scalars in their form.
pub(super) struct Msm {
    bases: Bases,
    words: Vec<[u64; 4]>,
    points: Arc<Vec<G1Affine>>,
    exponents: Exponents,
    sums: [Option<G1Affine>; 2],
}

impl Msm {
    pub(super) fn new(size: SectorSize, tell: &dyn Fn(String)) -> anyhow::Result<Self> {
        tell("decoding the points of h".to_owned());
        let points = h(size)?;
        let scalars: Vec<_> = points.iter().map(|_| Scalar::random(OsRng)).collect();
        Ok(Self {
            bases: Bases::new(Cpu::detect(), &points),
            words: scalars.iter().map(value).collect(),
            exponents: Arc::new(scalars.iter().map(PrimeField::to_repr).collect()),
            points,
            sums: [None; 2],
        })
    }
}

impl Subject for Msm {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        let began = Instant::now();
        let (sample, sum) = match side {
            Side::Ours => {
                let sum = self.bases.multiexp(&self.words, Run::whole());
                let sum = sum.map_err(|_| anyhow::anyhow!("cancelled"))?;
                (ours(began), sum)
            }
            Side::Reference => {
                let sum = reference::multiexp(&self.points, &self.exponents)?;
                (theirs(began), sum)
            }
        };
        self.sums[side as usize] = Some(sum.into());
        Ok(sample)
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        let [a, b] = self.sums;
        Ok((a != b).then(|| "the sums differ".to_owned()))
    }
}

/// From coefficients to values, in the caller's form on both sides; ours has its tables, which a
/// proof makes once.
pub(super) struct Fft {
    domain: Domain,
    coefficients: Vec<Scalar>,
    values: [Vec<Scalar>; 2],
}

impl Fft {
    pub(super) fn new(size: SectorSize, tell: &dyn Fn(String)) -> anyhow::Result<Self> {
        tell("looking at the circuit's parameters".to_owned());
        // h has one coefficient less than the domain has elements
        let power = Domain::power_for(h(size)?.len() + 1);
        let domain = Domain::new(power, Cpu::detect(), Run::whole());
        let domain = domain.map_err(|_| anyhow::anyhow!("cancelled"))?;
        let coefficients = (0..domain.size()).map(|_| Scalar::random(OsRng)).collect();
        Ok(Self {
            domain,
            coefficients,
            values: [Vec::new(), Vec::new()],
        })
    }
}

impl Subject for Fft {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        let coefficients = self.coefficients.clone();
        let began = Instant::now();
        let (sample, values) = match side {
            Side::Ours => {
                let values =
                    (self.domain).transform(Transform::Forward, coefficients, Run::whole());
                let values = values.map_err(|_| anyhow::anyhow!("cancelled"))?;
                (ours(began), values)
            }
            Side::Reference => {
                let values = reference::transform(coefficients)?;
                (theirs(began), values)
            }
        };
        self.values[side as usize] = values;
        Ok(sample)
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        let mut pairs = self.values[0].iter().zip(&self.values[1]);
        let first = pairs.position(|(ours, theirs)| ours != theirs);
        Ok(first.map(|at| format!("value {at} differs")))
    }
}
