//! One proof of many seal proofs (SnarkPack v2), by the proofs library. Each proof is verified
//! before: one that is wrong would spoil the whole, and nobody could tell which it was. What comes
//! out is verified as the chain does it.

use super::{
    context::Context,
    free_memory::{Shown, left},
};
use crate::{
    footprint::{aggregate_memory, partitions},
    params,
    proofs::seal_proof,
    serve::TaskError,
    task::{Aggregate, AggregateOutput, ProvenSector},
    verify::{self, Seal, verify_seal},
};
use damocles_types::{Base64, ByteSize, Randomness, SectorId};
use filecoin_proofs_api::{
    RegisteredAggregationProof,
    seal::{SealCommitPhase2Output, aggregate_seal_commit_proofs},
};

pub(super) fn run(task: &Aggregate, context: &Context<'_>) -> Result<AggregateOutput, TaskError> {
    let size = task.registered_proof.size;
    params::srs::require(size)?;
    if task.sectors.is_empty() {
        return Err(TaskError::permanent("there is nothing to aggregate"));
    }
    context.filecoin_proofs_computes();
    let proofs = task.sectors.len() as u64 * partitions(size);
    fits(aggregate_memory(proofs), left(&Shown::default()))?;

    let wrong = wrong(task, context)?;
    if !wrong.is_empty() {
        return Ok(AggregateOutput {
            proof: Base64::default(),
            wrong,
        });
    }
    context.note(format!("aggregating {proofs} proofs"));
    let of = |each: fn(&ProvenSector) -> [u8; 32]| task.sectors.iter().map(each).collect();
    let (comm_rs, seeds): (Vec<_>, Vec<_>) = (of(|s| s.comm_r.0), of(|s| s.seed));
    let outputs: Vec<_> = task
        .sectors
        .iter()
        .map(|s| SealCommitPhase2Output {
            proof: s.proof.0.clone(),
        })
        .collect();
    let proof = aggregate_seal_commit_proofs(
        seal_proof(task.registered_proof)?,
        RegisteredAggregationProof::SnarkPackV2,
        &comm_rs,
        &seeds,
        &outputs,
    )?;
    context.note("verifying the aggregate");
    let seals: Vec<_> = task.sectors.iter().map(|s| seal(task, s)).collect();
    // the chain charges for one that does not verify
    if !verify::verify_aggregate(&seals, &proof)? {
        return Err(
            TaskError::permanent("the aggregate that was made does not verify").hint(
                "the parameters or the hardware are damaged: damocles-worker params check --aggregate",
            ),
        );
    }
    Ok(AggregateOutput {
        proof: Base64(proof),
        wrong: Vec::new(),
    })
}

/// A task that would be killed for want of memory is better not begun: it fits at another time.
fn fits(need: u64, free: Option<u64>) -> Result<(), TaskError> {
    match free {
        Some(free) if free < need => Err(TaskError::temporary(format!(
            "aggregating takes {} of memory, and {} are free",
            ByteSize(need.next_multiple_of(1 << 20)),
            ByteSize(free)
        ))),
        _ => Ok(()),
    }
}

fn seal(task: &Aggregate, sector: &ProvenSector) -> Seal {
    Seal {
        proof_type: task.registered_proof,
        sector: SectorId::new(task.miner_id, sector.sector_id),
        comm_r: sector.comm_r,
        comm_d: sector.comm_d,
        ticket: Randomness(sector.ticket),
        seed: Randomness(sector.seed),
    }
}

/// The sectors whose proofs do not prove them, or cannot even be read.
fn wrong(task: &Aggregate, context: &Context<'_>) -> Result<Vec<u64>, TaskError> {
    let percents = context.percents("verified", task.sectors.len() as u64);
    let (mut wrong, mut unread) = (Vec::new(), None);
    for (sector, done) in task.sectors.iter().zip(1..) {
        match verify_seal(&seal(task, sector), &sector.proof.0) {
            Ok(true) => {}
            Ok(false) => wrong.push(sector.sector_id),
            Err(error) => {
                tracing::warn!("the proof of sector {}: {error}", sector.sector_id);
                wrong.push(sector.sector_id);
                unread = Some(error);
            }
        }
        percents(done);
    }
    match unread {
        // it is the library that cannot, or its key
        Some(error) if wrong.len() == task.sectors.len() => Err(error),
        _ => Ok(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Level;

    #[test]
    fn what_does_not_fit_now_is_tried_at_another_time() {
        assert_eq!(fits(1 << 30, None), Ok(()));
        assert_eq!(fits(1 << 30, Some(1 << 30)), Ok(()));
        let error = fits(1 << 30, Some(1 << 20)).unwrap_err();
        assert_eq!(error.level, Level::Temporary);
        assert!(error.message.contains("1GiB"), "{error}");
    }
}
