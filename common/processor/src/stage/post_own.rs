//! PoSts by our own prover: the challenges, the vanilla proofs, the circuits and the parameters of
//! the proofs library, our arithmetic. Sectors that cannot be proven are the library's
//! `FaultySectors`, as from its own functions.

use super::{
    context::Context,
    groth::{self, Synthesis},
};
use crate::task::{Circuit, Replica};
use anyhow::ensure;
use damocles_kernels::cpu::Cpu;
use damocles_prover::prove::Blinding;
use filecoin_proofs::{
    PoStConfig, PoStType, PrivateReplicaInfo, SnarkProof, as_safe_commitment,
    parameters::{window_post_setup_params, winning_post_setup_params},
    with_shape,
};
use filecoin_proofs_api::RegisteredPoStProof;
use storage_proofs_core::{
    compound_proof::CompoundProof, merkle::MerkleTreeTrait, proof::ProofScheme,
};
use storage_proofs_post::fallback::{
    FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound, PrivateInputs, PrivateSector,
    PublicInputs, PublicSector,
};

/// What is to be proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) proof: RegisteredPoStProof,
    pub(super) seed: &'a [u8; 32],
    pub(super) prover: [u8; 32],
    /// In any order, none twice.
    pub(super) replicas: &'a [Replica],
}

/// The proofs of all partitions, one behind the other; of a WinningPoSt, which has one, that one.
pub(super) fn prove(
    asked: Asked<'_>,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<SnarkProof> {
    context.computes(groth::name(cpu));
    let size = u64::from(asked.proof.sector_size());
    with_shape!(size, of_shape, asked, cpu, groth::blinding, context)
}

fn of_shape<Tree: MerkleTreeTrait + 'static>(
    asked: Asked<'_>,
    cpu: Cpu,
    blinding: impl Fn() -> Blinding + Sync,
    context: &Context<'_>,
) -> anyhow::Result<SnarkProof> {
    let (circuit, size) = circuit_of(asked.proof)?;
    let circuits = circuits::<Tree>(asked)?;
    let parameters = groth::parameters(circuit, size, cpu, context)?;
    let circuits = circuits.into_iter().map(Ok);
    // of each sector a part
    let parts = Synthesis::InParts;
    groth::prove_partitions(circuits, parts, &parameters, cpu, blinding, context)
}

fn circuit_of(proof: RegisteredPoStProof) -> anyhow::Result<(Circuit, damocles_types::SectorSize)> {
    let bytes = u64::from(proof.sector_size());
    let size = damocles_types::SectorSize::from_bytes(bytes)
        .ok_or_else(|| anyhow::anyhow!("{proof:?} is of no sector size of the network"))?;
    let circuit = match proof.typ() {
        PoStType::Winning => Circuit::WinningPost,
        PoStType::Window => Circuit::WindowPost,
    };
    Ok((circuit, size))
}

/// The circuits of all partitions with what they prove, checked as the library does before it
/// proves: a circuit itself is satisfied by anything until its proof does not verify.
fn circuits<Tree: MerkleTreeTrait + 'static>(
    asked: Asked<'_>,
) -> anyhow::Result<Vec<FallbackPoStCircuit<Tree>>> {
    let config: PoStConfig = asked.proof.as_v1_config();
    let mut replicas: Vec<&Replica> = asked.replicas.iter().collect();
    replicas.sort_unstable_by_key(|replica| replica.sector_id);
    let (setup, partitions, repetitions) = match config.typ {
        PoStType::Window => {
            let partitions = replicas.len().div_ceil(config.sector_count);
            (window_post_setup_params(&config), partitions, 1)
        }
        PoStType::Winning => {
            ensure!(
                replicas.len() == config.sector_count,
                "a WinningPoSt is about {} sectors, not {}",
                config.sector_count,
                replicas.len()
            );
            let setup = winning_post_setup_params(&config)?;
            let repetitions = setup.sector_count;
            (setup, 1, repetitions)
        }
    };
    let params = FallbackPoSt::<Tree>::setup(&setup)?;
    let mut infos = Vec::new();
    for replica in &replicas {
        infos.push(PrivateReplicaInfo::<Tree>::new(
            replica.sealed_file.clone(),
            replica.comm_r.0,
            replica.cache_dir.clone(),
        )?);
    }
    let trees = (infos.iter())
        .map(|info| info.merkle_tree(config.sector_size))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (mut public, mut private) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        for ((replica, info), tree) in replicas.iter().zip(&infos).zip(&trees) {
            public.push(PublicSector {
                id: replica.sector_id.into(),
                comm_r: info.safe_comm_r()?,
            });
            private.push(PrivateSector {
                tree,
                comm_c: info.safe_comm_c(),
                comm_r_last: info.safe_comm_r_last(),
            });
        }
    }
    let inputs = PublicInputs {
        randomness: as_safe_commitment(asked.seed, "randomness")?,
        prover_id: as_safe_commitment(&asked.prover, "prover_id")?,
        sectors: public,
        k: None,
    };
    let private = PrivateInputs::<Tree> { sectors: &private };
    let vanilla =
        FallbackPoSt::<Tree>::prove_all_partitions(&params, &inputs, &private, partitions)?;
    ensure!(
        FallbackPoSt::<Tree>::verify_all_partitions(&params, &inputs, &vanilla)?,
        "sanity check failed"
    );
    let circuits = vanilla.iter().enumerate().map(|(partition, vanilla)| {
        FallbackPoStCompound::<Tree>::circuit(
            &inputs,
            Default::default(),
            vanilla,
            &params,
            Some(partition),
        )
    });
    circuits.collect()
}

#[cfg(test)]
#[path = "post_own_tests.rs"]
mod tests;
