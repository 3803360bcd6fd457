//! C2 by our own prover: the circuits and the parameters of the proofs library, our arithmetic.
//! What it makes goes through the library's verifier before it leaves the process (`seal`).

use super::context::Context;
use crate::{params, task::Circuit};
use anyhow::{Context as _, ensure};
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    parameters::Parameters,
    prove::{Blinding, prove},
    run::Run,
    synthesis::Witness,
};
use damocles_types::SectorSize;
use ff::Field;
use filecoin_hashers::{Domain, Hasher};
use filecoin_proofs::{
    DefaultPieceDomain, DefaultPieceHasher, parameters::public_params, with_shape,
};
use filecoin_proofs_api::seal::SealCommitPhase1Output;
use parking_lot::Mutex;
use rand::rngs::OsRng;
use std::{collections::BTreeMap, sync::Arc};
use storage_proofs_core::{
    compound_proof::CompoundProof,
    merkle::MerkleTreeTrait,
    parameter_cache::{parameter_cache_params_path, read_cached_params},
};
use storage_proofs_porep::stacked::{PublicInputs, StackedCompound, Tau};

/// What the prover calls itself.
pub(super) const NAME: &str = "groth-ifma";

/// The largest sectors that are proven so. Their circuits have a few million constraints and take
/// 3 GiB; those of 32GiB have 130 million, ten at a time, and stay with the library as long as
/// their memory has no ceiling.
const LARGEST: SectorSize = SectorSize::MiB512;

/// What may be used for a sector of that size: none leaves it to the library.
pub(super) fn for_size(context: &Context<'_>, size: SectorSize) -> Option<Cpu> {
    let cpu = context.own_kernels()?;
    (cpu.ifma && size.bytes() <= LARGEST.bytes()).then_some(cpu)
}

/// The proofs of all partitions, one after the other.
pub(super) fn prove_sector(
    c1out: SealCommitPhase1Output,
    size: SectorSize,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    context.computes(NAME);
    with_shape!(size.bytes(), of_shape, c1out, size, cpu, context)
}

fn of_shape<Tree: MerkleTreeTrait + 'static>(
    c1out: SealCommitPhase1Output,
    size: SectorSize,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    let config = c1out.registered_proof.as_v1_config();
    let public = public_params::<Tree>(&config)?;
    let replica_id: Scalar = c1out.replica_id.into();
    let comm_r: <Tree::Hasher as Hasher>::Domain = Domain::try_from_bytes(&c1out.comm_r)?;
    let inputs = PublicInputs {
        replica_id: replica_id.into(),
        tau: Some(Tau {
            comm_d: DefaultPieceDomain::try_from_bytes(&c1out.comm_d)?,
            comm_r,
        }),
        k: None,
        seed: Some(c1out.seed),
    };
    let parameters = parameters(size, cpu, context)?;
    let vanilla: Vec<Vec<_>> = c1out.vanilla_proofs.try_into()?;
    ensure!(!vanilla.is_empty(), "C1's output contains no proofs");
    let mut proofs = Vec::new();
    for (partition, vanilla) in vanilla.iter().enumerate() {
        context.note(format!("partition {} of the proof", partition + 1));
        let circuit = StackedCompound::<Tree, DefaultPieceHasher>::circuit(
            &inputs,
            Default::default(),
            vanilla,
            &public,
            Some(partition),
        )?;
        let witness = Witness::of(circuit)?;
        let [r, s] = [(); 2].map(|()| Scalar::random(OsRng));
        let proof = prove(cpu, witness, &parameters, Blinding { r, s }, Run::whole())?;
        proof.write(&mut proofs)?;
    }
    Ok(proofs)
}

/// The parameters for sectors of that size, decoded once for all tasks of this process.
fn parameters(
    size: SectorSize,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<Arc<Parameters>> {
    static DECODED: Mutex<BTreeMap<u64, Arc<Parameters>>> = Mutex::new(BTreeMap::new());
    // whoever comes meanwhile waits for it
    let mut decoded = DECODED.lock();
    if let Some(parameters) = decoded.get(&size.bytes()) {
        return Ok(Arc::clone(parameters));
    }
    let file = parameter_cache_params_path(&params::identify(Circuit::PoRep, size)?);
    context.note("decoding the parameters");
    let mapped = read_cached_params(&file)
        .with_context(|| format!("reading the parameters {}", file.display()))?;
    let parameters = Arc::new(Parameters::of(cpu, &mapped)?);
    decoded.insert(size.bytes(), Arc::clone(&parameters));
    Ok(parameters)
}
