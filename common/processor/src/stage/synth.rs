//! Synthetic proofs (FIP-0059): the answers to all challenges that the chain may ask a sector with
//! this commitment, written down while its layers are there. Then the layers go, hundreds of GB in
//! large sectors, and C1 picks its answers out of that file.
//!
//! It can run twice: the file counts once it has been tried and brought to the disk, which a mark
//! says; only then the layers go. A mark of another replica is none.

use super::{
    cache_dir::{self, SYNTHETIC, SYNTHETIC_MARK},
    context::Context,
    trouble::disk,
};
use crate::{
    disk::{is_there, remove_if_there, sync, write_whole},
    proofs::{pieces, seal_proof},
    serve::TaskError,
    task::SynthProof,
};
use filecoin_proofs_api::{
    PieceInfo,
    seal::{SealPreCommitPhase2Output, generate_synth_proofs, seal_commit_phase1},
};
use rand::{RngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use std::{fs, io};

/// So many seeds are answered out of the file before it counts.
const TRIALS: u32 = 3;

/// Whose answers the file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    comm_r: String,
    ticket: [u8; 32],
    /// Bytes of the file.
    length: u64,
}

pub(super) fn run(task: &SynthProof, context: &Context<'_>) -> Result<bool, TaskError> {
    context.filecoin_proofs_computes();
    let (proof, output) = (task.registered_proof, task.pre_commit_output);
    if !proof.is_synthetic() || output.registered_proof != proof {
        return Err(TaskError::permanent(format!(
            "{proof} of a replica of the kind {} has no synthetic proofs",
            output.registered_proof
        )));
    }
    let cache = &task.cache_path;
    let _lock = cache_dir::lock(cache)?;
    let (file, mark) = (cache.join(SYNTHETIC), cache.join(SYNTHETIC_MARK));
    let of_this = |length| Mark {
        comm_r: output.comm_r.to_string(),
        ticket: task.ticket,
        length,
    };
    let done = read(&mark).map_err(disk)?.is_some_and(|mark| {
        mark == of_this(mark.length) && fs::metadata(&file).is_ok_and(|f| f.len() == mark.length)
    });
    if done {
        tracing::info!("an earlier run has made the synthetic proofs; what they replace goes");
    } else {
        // half a file of an earlier run, or one of another replica
        remove_if_there(&mark)
            .and_then(|()| remove_if_there(&file))
            .map_err(disk)?;
        let pre_commit = || -> Result<_, TaskError> {
            Ok(SealPreCommitPhase2Output {
                registered_proof: seal_proof(proof)?,
                comm_r: output.comm_r.0,
                comm_d: output.comm_d.0,
            })
        };
        let infos = pieces(&task.piece_infos)?;
        context.note("answering all challenges that may come");
        generate_synth_proofs(
            cache,
            &task.sealed_file,
            task.prover_id,
            task.sector_id.into(),
            task.ticket,
            pre_commit()?,
            &infos,
        )?;
        sync(&file).map_err(disk)?;
        for trial in 1..=TRIALS {
            context.note(format!("trying them, {trial} of {TRIALS}"));
            answer(task, pre_commit()?, &infos)?;
        }
        let length = fs::metadata(&file).map_err(disk)?.len();
        let made = serde_json::to_vec(&of_this(length)).map_err(TaskError::permanent)?;
        write_whole(&mark, &made)
            .and_then(|()| sync(cache))
            .map_err(disk)?;
    }
    cache_dir::clear_what_synthetic_proofs_replace(cache).map_err(disk)?;
    Ok(true)
}

/// A seed as the chain might draw it. The library checks what it answers.
fn answer(
    task: &SynthProof,
    pre_commit: SealPreCommitPhase2Output,
    infos: &[PieceInfo],
) -> Result<(), TaskError> {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    // an element of the field, as the chain's seeds are used
    seed[31] &= 0x3f;
    seal_commit_phase1(
        &task.cache_path,
        &task.sealed_file,
        task.prover_id,
        task.sector_id.into(),
        task.ticket,
        seed,
        pre_commit,
        infos,
    )
    .map(|_| ())
    .map_err(|error| {
        TaskError::temporary(format!("the synthetic proofs do not hold: {error:#}")).hint(
            "they are made anew; if that happens again, check memory and disk of this machine",
        )
    })
}

/// None: there is none, or none that can be read, which is as good.
fn read(mark: &std::path::Path) -> io::Result<Option<Mark>> {
    match is_there(mark)? {
        true => Ok(serde_json::from_slice(&fs::read(mark)?).ok()),
        false => Ok(None),
    }
}
