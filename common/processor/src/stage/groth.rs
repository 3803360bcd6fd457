//! Groth16 by our own prover, whatever the circuit: when it is used, with which parameters, and the
//! proofs of a row of circuits. What it makes goes through the library's verifier before it leaves
//! the process (`seal`, `post`).

use super::{
    context::Context,
    proof_memory::{self, Partitions},
};
use crate::{params, task::Circuit};
use anyhow::ensure;
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    batch::{Need, Size, Step, prove_all},
    parameters::Parameters,
    prove::Blinding,
    run::Run,
    synthesis,
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

/// How a circuit is synthesised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synthesis {
    /// By one thread, constraint after constraint.
    Whole,
    /// In parts, side by side, that are put together in the end.
    InParts,
}

/// The proofs of all partitions of a circuit, in their order, below the ceiling of this process's
/// memory.
pub(super) fn prove_partitions<C: synthesis::Circuit<Scalar>>(
    partitions: impl ExactSizeIterator<Item = anyhow::Result<C>> + Send,
    synthesis: Synthesis,
    parameters: &Parameters,
    cpu: Cpu,
    blinding: impl Fn() -> Blinding + Sync,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    let count = partitions.len();
    ensure!(count > 0, "there is nothing to prove");
    let run = Run::whole();
    let size = Size::of(parameters, synthesis == Synthesis::InParts);
    let all = Partitions {
        need: Need::of(size, run.threads),
        count,
        threads: run.threads,
        mapped: parameters.mapped(),
    };
    let reserved = proof_memory::reserve(&all, context)?;
    let told = |step| {
        context.note(match step {
            Step::Synthesis(i) => format!("partition {} of {count}: its circuit", i + 1),
            Step::Proof(i) => format!("partition {} of {count}: its proof", i + 1),
            Step::Done(i) => format!("partition {} of {count} is proven", i + 1),
        });
    };
    let plan = reserved.plan;
    let made = prove_all(cpu, partitions, parameters, plan, run, blinding, told)?;
    let mut proofs = Vec::new();
    for proof in made {
        proof.write(&mut proofs)?;
    }
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
