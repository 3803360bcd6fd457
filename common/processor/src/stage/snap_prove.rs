//! SnapProve: the proof that new data was encoded into a sealed sector of committed capacity. What the
//! sector's files say comes with the task (the vanilla proofs), so that no file is read.

use super::{
    context::Context,
    groth,
    snap_own::{self, Asked},
};
use crate::{kind::Stage, params, proofs::update_proof, serve::TaskError, task::SnapProve};
use filecoin_proofs_api::{
    PartitionProofBytes,
    update::{
        generate_empty_sector_update_proof_with_vanilla, verify_empty_sector_update_proof,
        verify_partition_proofs,
    },
};

pub(super) fn run(task: SnapProve, context: &Context<'_>) -> Result<Vec<u8>, TaskError> {
    let size = task.registered_proof;
    params::require(Stage::SnapProve, size)?;
    let proof = update_proof(size)?;
    let vanilla: Vec<_> = task
        .vanilla_proofs
        .into_iter()
        .map(PartitionProofBytes)
        .collect();
    let [old, new, data] = [task.comm_r_old, task.comm_r_new, task.comm_d_new].map(|comm| comm.0);
    // a circuit of wrong ones would panic, or take its time to a proof of nothing
    if !verify_partition_proofs(proof, &vanilla, old, new, data)? {
        return Err(TaskError::permanent(
            "the vanilla proofs are not of this update of this sector",
        )
        .hint(
            "comm_r_old, comm_r_new and comm_d_new must be those with which the sector was encoded",
        ));
    }
    let made = match groth::for_size(context, size) {
        Some(cpu) => {
            let asked = Asked {
                size,
                vanilla: &vanilla,
                comm_r_old: old,
                comm_r_new: new,
                comm_d_new: data,
            };
            snap_own::prove(asked, cpu, context)?
        }
        None => {
            context.filecoin_proofs_computes();
            generate_empty_sector_update_proof_with_vanilla(proof, vanilla, old, new, data)?.0
        }
    };
    // The chain charges for a proof that does not verify; this costs milliseconds.
    if !verify_empty_sector_update_proof(proof, &made, old, new, data)? {
        return Err(
            TaskError::permanent("the proof of the update does not verify").hint(
                "the parameters or the hardware are damaged: damocles-worker params check --snap",
            ),
        );
    }
    Ok(made)
}
