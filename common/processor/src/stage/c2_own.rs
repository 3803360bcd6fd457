//! C2 by our own prover: the circuits and the parameters of the proofs library, our arithmetic.

use super::{
    context::Context,
    groth::{self, Synthesis},
};
use crate::task::Circuit;
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_types::SectorSize;
use filecoin_hashers::{Domain, Hasher};
use filecoin_proofs::{
    DefaultPieceDomain, DefaultPieceHasher, parameters::public_params, with_shape,
};
use filecoin_proofs_api::seal::SealCommitPhase1Output;
use storage_proofs_core::{compound_proof::CompoundProof, merkle::MerkleTreeTrait};
use storage_proofs_porep::stacked::{PublicInputs, StackedCompound, Tau};

/// The proofs of all partitions, one behind the other.
pub(super) fn prove_sector(
    c1out: SealCommitPhase1Output,
    size: SectorSize,
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    context.computes(groth::name(cpu));
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
    let parameters = groth::parameters(Circuit::PoRep, size, cpu, context)?;
    let vanilla: Vec<Vec<_>> = c1out.vanilla_proofs.try_into()?;
    let circuits = vanilla.iter().enumerate().map(|(partition, vanilla)| {
        StackedCompound::<Tree, DefaultPieceHasher>::circuit(
            &inputs,
            (),
            vanilla,
            &public,
            Some(partition),
        )
    });
    let whole = Synthesis::Whole;
    groth::prove_partitions(circuits, whole, &parameters, cpu, groth::blinding, context)
}
