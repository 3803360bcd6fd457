//! C1 and C2: they read the sealed sector and change nothing.

use super::{c2_own, context::Context, groth};
use crate::{
    kind::Stage,
    params,
    proofs::{pieces, seal_proof},
    serve::TaskError,
    task::{C1, C2, C2Output, Opaque, prover_id},
};
use damocles_types::SectorSize;
use filecoin_proofs_api::seal::{
    SealCommitPhase1Output, SealPreCommitPhase2Output, seal_commit_phase1, seal_commit_phase2,
    verify_seal,
};

pub(super) fn c1(task: C1) -> Result<Opaque, TaskError> {
    let pre_commit = task.pre_commit_output;
    if pre_commit.registered_proof != task.registered_proof {
        return Err(TaskError::permanent(format!(
            "PC2 was done for the kind {}, and C1 is asked for the kind {}",
            pre_commit.registered_proof, task.registered_proof
        ))
        .hint("the programs of [[processors.pc1]] and [[processors.pc2]] must seal the kind that they are asked for; correct them for the next sectors. C1 comes after the precommit, and the chain takes no other replica for that: this sector can only be given up, with damocles-worker worker resume --state Aborted"));
    }
    let output = seal_commit_phase1(
        &task.cache_path,
        &task.sealed_file,
        task.prover_id,
        task.sector_id.into(),
        task.ticket,
        task.seed,
        SealPreCommitPhase2Output {
            registered_proof: seal_proof(pre_commit.registered_proof)?,
            comm_r: pre_commit.comm_r.0,
            comm_d: pre_commit.comm_d.0,
        },
        &pieces(&task.piece_infos)?,
    )?;
    Opaque::from_value(&output).map_err(TaskError::permanent)
}

pub(super) fn c2(task: &C2, context: &Context<'_>) -> Result<C2Output, TaskError> {
    let c1out: SealCommitPhase1Output = task
        .c1out
        .parse()
        .map_err(|error| TaskError::permanent(format!("this is no output of C1: {error}")))?;
    let proof = c1out.registered_proof;
    let size = SectorSize::from_bytes(u64::from(proof.sector_size())).ok_or_else(|| {
        TaskError::permanent(format!("{proof:?} is of no sector size of the network"))
    })?;
    params::require(Stage::C2, size)?;
    if prover_id(task.miner_id) != task.prover_id {
        return Err(TaskError::permanent(format!(
            "prover_id is not that of miner {}",
            task.miner_id
        )));
    }
    let (comm_r, comm_d, ticket, seed) = (c1out.comm_r, c1out.comm_d, c1out.ticket, c1out.seed);
    let id = task.sector_id.into();
    let made = match groth::for_size(context, size) {
        Some(cpu) => c2_own::prove_sector(c1out, size, cpu, context)?,
        None => {
            context.filecoin_proofs_computes();
            seal_commit_phase2(c1out, task.prover_id, id)?.proof
        }
    };
    // The chain charges for a proof that does not verify; this costs a millisecond.
    if !verify_seal(
        proof,
        comm_r,
        comm_d,
        task.prover_id,
        id,
        ticket,
        seed,
        &made,
    )? {
        return Err(
            TaskError::permanent("the proof that C2 made does not verify")
                .hint("the parameters or the hardware are damaged: damocles-worker params check"),
        );
    }
    Ok(C2Output { proof: made })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Pc2Output;
    use damocles_types::{Commitment, SealProof};

    #[test]
    fn a_sector_of_another_kind_is_not_to_be_sealed_anew_after_its_precommit() {
        let asked = SealProof::interactive(SectorSize::KiB2);
        let error = c1(C1 {
            registered_proof: asked,
            cache_path: "/c".into(),
            sealed_file: "/s".into(),
            prover_id: [0; 32],
            sector_id: 1,
            ticket: [1; 32],
            seed: [2; 32],
            pre_commit_output: Pc2Output {
                registered_proof: SealProof::interactive(SectorSize::MiB8),
                comm_r: Commitment([3; 32]),
                comm_d: Commitment([4; 32]),
            },
            piece_infos: Vec::new(),
        })
        .unwrap_err();
        let hint = error.hint.unwrap();
        assert!(!hint.contains("TreeDBuilt"), "{hint}");
        assert!(hint.contains("Aborted"), "{hint}");
    }
}
