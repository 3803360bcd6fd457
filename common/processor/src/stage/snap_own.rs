//! Proofs of updates by our own prover: the circuits and the parameters of the proofs library, our
//! arithmetic.

use super::{
    context::Context,
    groth::{self, Synthesis},
};
use crate::task::Circuit;
use anyhow::Context as _;
use damocles_kernels::cpu::Cpu;
use damocles_prover::prove::Blinding;
use damocles_types::SectorSize;
use filecoin_hashers::Domain;
use filecoin_proofs::{MerkleTreeTrait, with_shape};
use filecoin_proofs_api::PartitionProofBytes;
use storage_proofs_core::compound_proof::CompoundProof;
use storage_proofs_update::{
    EmptySectorUpdateCompound, PartitionProof, PublicInputs, PublicParams,
    circuit::EmptySectorUpdateCircuit,
    constants::{TreeDDomain, TreeRDomain, TreeRHasher, h_default},
};

/// What is to be proven, by vanilla proofs that have been looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) size: SectorSize,
    /// One for each partition.
    pub(super) vanilla: &'a [PartitionProofBytes],
    pub(super) comm_r_old: [u8; 32],
    pub(super) comm_r_new: [u8; 32],
    pub(super) comm_d_new: [u8; 32],
}

/// The proofs of all partitions, one behind the other.
pub(super) fn prove(asked: Asked<'_>, cpu: Cpu, context: &Context<'_>) -> anyhow::Result<Vec<u8>> {
    context.computes(groth::name(cpu));
    with_shape!(
        asked.size.bytes(),
        of_shape,
        asked,
        cpu,
        groth::blinding,
        context
    )
}

fn of_shape<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    asked: Asked<'_>,
    cpu: Cpu,
    blinding: impl Fn() -> Blinding + Sync,
    context: &Context<'_>,
) -> anyhow::Result<Vec<u8>> {
    let circuits = circuits::<Tree>(asked)?;
    let parameters = groth::parameters(Circuit::SnapUpdate, asked.size, cpu, context)?;
    let circuits = circuits.into_iter().map(Ok);
    let whole = Synthesis::Whole;
    groth::prove_partitions(circuits, whole, &parameters, cpu, blinding, context)
}

/// The circuits of all partitions with what they prove.
fn circuits<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    asked: Asked<'_>,
) -> anyhow::Result<Vec<EmptySectorUpdateCircuit<Tree>>> {
    let params = PublicParams::from_sector_size(asked.size.bytes());
    let inputs = PublicInputs {
        // each circuit has its own
        k: 0,
        comm_r_old: TreeRDomain::try_from_bytes(&asked.comm_r_old)?,
        comm_d_new: TreeDDomain::try_from_bytes(&asked.comm_d_new)?,
        comm_r_new: TreeRDomain::try_from_bytes(&asked.comm_r_new)?,
        h: h_default(params.sector_nodes),
    };
    let circuits = asked
        .vanilla
        .iter()
        .enumerate()
        .map(|(partition, vanilla)| {
            let vanilla: PartitionProof<Tree> = bincode::deserialize(&vanilla.0)
                .with_context(|| format!("the vanilla proof of partition {partition}"))?;
            EmptySectorUpdateCompound::<Tree>::circuit(
                &inputs,
                (),
                &vanilla,
                &params,
                Some(partition),
            )
        });
    circuits.collect()
}

#[cfg(test)]
#[path = "snap_own_tests.rs"]
mod tests;
