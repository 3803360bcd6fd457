//! Groth16 by our own prover, whatever the circuit: when it is used, with which parameters, and the
//! proofs of a row of circuits. What it makes goes through the library's verifier before it leaves
//! the process (`seal`, `post`).

use super::context::Context;
use crate::{params, task::Circuit};
use anyhow::ensure;
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    parameters::Parameters,
    prove::{Blinding, prove},
    run::Run,
    synthesis::{self, Witness},
};
use damocles_types::SectorSize;
use ff::Field;
use parking_lot::Mutex;
use rand::rngs::OsRng;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use storage_proofs_core::parameter_cache::parameter_cache_params_path;

/// What the prover calls itself on a CPU.
pub(crate) fn name(cpu: Cpu) -> &'static str {
    match cpu.ifma {
        true => "groth-ifma",
        false => "groth-portable",
    }
}

/// What may be used for a sector of that size: none leaves it to the library.
pub(super) fn for_size(context: &Context<'_>, size: SectorSize) -> Option<Cpu> {
    let cpu = context.own_kernels()?;
    (size <= params::LARGEST).then_some(cpu)
}

/// A new one for every proof.
pub(super) fn blinding() -> Blinding {
    let [r, s] = [(); 2].map(|()| Scalar::random(OsRng));
    Blinding { r, s }
}

/// The proofs of all partitions of a circuit, one after the other.
pub(super) fn prove_all<C: synthesis::Circuit<Scalar>>(
    partitions: impl IntoIterator<Item = anyhow::Result<C>>,
    parameters: &Parameters,
    cpu: Cpu,
    mut blinding: impl FnMut() -> Blinding,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    let mut proofs = Vec::new();
    for (partition, circuit) in partitions.into_iter().enumerate() {
        context.note(format!("partition {} of the proof", partition + 1));
        let witness = Witness::of(circuit?)?;
        let proof = prove(cpu, witness, parameters, blinding(), Run::whole())?;
        proof.write(&mut proofs)?;
    }
    ensure!(!proofs.is_empty(), "there is nothing to prove");
    Ok(proofs)
}

/// The parameters of a circuit for sectors of that size, mapped or decoded once for all tasks of
/// this process.
pub(super) fn parameters(
    circuit: Circuit,
    size: SectorSize,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<Arc<Parameters>> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Arc<Parameters>>> = Mutex::new(BTreeMap::new());
    let file = parameter_cache_params_path(&params::identify(circuit, size)?);
    // whoever comes meanwhile waits for it
    let mut known = KNOWN.lock();
    if let Some(parameters) = known.get(&file) {
        return Ok(Arc::clone(parameters));
    }
    let parameters = params::parameters(&file, cpu, &|text| context.note(text))?;
    let parameters = Arc::new(parameters);
    known.insert(file, Arc::clone(&parameters));
    Ok(parameters)
}
