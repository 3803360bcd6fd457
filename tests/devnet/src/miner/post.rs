//! SubmitWindowedPoSt (method 5).
//!
//! Real networks accept a WindowPoSt unseen when it recovers nothing and let others dispute
//! it later. This network has nobody to dispute, so it verifies every proof at once and
//! refuses a wrong one as the actor refuses a wrong proof of recovered sectors. What is
//! recorded of a good proof is the same.
use fil_actor_miner_state::v18::{
    PoStResult, SectorOnChainInfo, Sectors, State, SubmitWindowedPoStParams,
    load_partitions_sectors_max,
};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::DomainSeparationTag;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::randomness::{RANDOMNESS_LENGTH, Randomness};
use fvm_shared::sector::{PoStProof, SectorInfo, WindowPoStVerifyInfo};

use super::{
    Outcome, ProvenPartition, Runtime, check_balance, check_caller, draw_error, entropy, info,
    nothing, state_error,
};
use crate::gas;

pub(super) fn submit_windowed_post(
    rt: &mut Runtime<'_>,
    state: &mut State,
    mut params: SubmitWindowedPoStParams,
) -> Outcome {
    rt.gas
        .charge(gas::POST_BASE + gas::POST_PARTITION * params.partitions.len() as u64)?;
    let refuse = |why: String| Err(ActorError::illegal_argument(why));
    let [proof] = params.proofs.as_slice() else {
        return refuse(format!(
            "expected exactly one proof, got {}",
            params.proofs.len()
        ));
    };
    if !rt.policy.valid_post_proof_type.contains(proof.post_proof) {
        return refuse(format!("proof type {:?} not allowed", proof.post_proof));
    }
    if params.deadline >= rt.policy.wpost_period_deadlines {
        return refuse(format!(
            "invalid deadline {} of {}",
            params.deadline, rt.policy.wpost_period_deadlines
        ));
    }
    if params.chain_commit_rand.0.len() > RANDOMNESS_LENGTH {
        return refuse(format!(
            "expected at most {RANDOMNESS_LENGTH} bytes of randomness, got {}",
            params.chain_commit_rand.0.len()
        ));
    }

    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    if proof.post_proof != info.window_post_proof_type {
        return refuse(format!(
            "expected proof of type {:?}, got {:?}",
            info.window_post_proof_type, proof.post_proof
        ));
    }
    let proof_size = info.window_post_proof_type.proof_size().map_err(|e| {
        ActorError::illegal_state(format!(
            "failed to determine max window post proof size: {e}"
        ))
    })?;
    if proof.proof_bytes.len() > proof_size * params.partitions.len() {
        return refuse(format!(
            "expected proof to be smaller than {} bytes",
            proof_size * params.partitions.len()
        ));
    }
    let limit = load_partitions_sectors_max(rt.policy, info.window_post_partition_sectors)
        .min(rt.policy.posted_partitions_max);
    if params.partitions.len() as u64 > limit {
        return refuse(format!(
            "too many partitions {}, limit {limit}",
            params.partitions.len()
        ));
    }
    let current = state.deadline_info(rt.policy, rt.epoch);
    if !current.is_open() {
        return Err(ActorError::illegal_state(format!(
            "proving period {} not yet open at {}",
            current.period_start, rt.epoch
        )));
    }
    if params.deadline != current.index {
        return refuse(format!(
            "invalid deadline {} at epoch {}, expected {}",
            params.deadline, rt.epoch, current.index
        ));
    }
    check_commitment(rt, &params, current.challenge)?;

    let sectors = Sectors::load(rt.store, &state.sectors)
        .map_err(|e| state_error(e.into(), "failed to load sectors"))?;
    let mut deadlines = state.load_deadlines(rt.store)?;
    let mut deadline = deadlines.load_deadline(rt.store, params.deadline)?;
    let result = deadline
        .record_proven_sectors(
            rt.store,
            &sectors,
            info.sector_size,
            current.quant_spec(),
            current.last() + rt.policy.fault_max_age,
            &mut params.partitions,
        )
        .map_err(|e| state_error(e, "failed to process post submission"))?;
    let proven = &result.sectors - &result.ignored_sectors;
    if proven.is_empty() {
        return refuse("cannot prove partitions with no active sectors".into());
    }
    let challenged = sectors
        .load_for_proof(&result.sectors, &result.ignored_sectors)
        .map_err(|e| state_error(e, "failed to load sectors for post verification"))?;
    rt.gas
        .charge(gas::VERIFY_POST_BASE + gas::VERIFY_POST_SECTOR * challenged.len() as u64)?;
    if !verify(rt, current.challenge, &challenged, params.proofs.clone())? {
        return refuse("invalid post was submitted".into());
    }
    if result.recovered_power.is_zero() {
        deadline
            .record_post_proofs(rt.store, &result.partitions, &params.proofs)
            .map_err(|e| state_error(e, "failed to record proof for optimistic verification"))?;
    }
    for partition in result.partitions.iter() {
        let members = deadline.load_partition(rt.store, partition)?.sectors;
        rt.effects.posts.push(ProvenPartition {
            deadline: params.deadline,
            partition,
            sectors: (&members & &proven).iter().collect(),
        });
    }
    deadlines
        .update_deadline(rt.policy, rt.store, params.deadline, &deadline)
        .map_err(|e| state_error(e, "failed to update deadline"))?;
    state
        .save_deadlines(rt.store, deadlines)
        .map_err(|e| state_error(e, "failed to save deadlines"))?;
    let PoStResult { power_delta, .. } = result;
    rt.effects.power += &power_delta;
    check_balance(rt, state)?;
    nothing()
}

/// The proof must be tied to this chain: its commit epoch lies between challenge and now,
/// and its randomness is the ticket's of that epoch.
fn check_commitment(
    rt: &Runtime<'_>,
    params: &SubmitWindowedPoStParams,
    challenge: ChainEpoch,
) -> Result<(), ActorError> {
    let epoch = params.chain_commit_epoch;
    if epoch < challenge {
        return Err(ActorError::illegal_argument(format!(
            "expected chain commit epoch {epoch} to be after {challenge}"
        )));
    }
    if epoch >= rt.epoch {
        return Err(ActorError::illegal_argument(format!(
            "chain commit epoch {epoch} must be less than the current epoch {}",
            rt.epoch
        )));
    }
    let expected = rt
        .rand
        .tickets(DomainSeparationTag::PoStChainCommit as i64, epoch, &[])
        .map_err(draw_error)?;
    if params.chain_commit_rand.0 != expected {
        return Err(ActorError::illegal_argument(
            "post commit randomness mismatched".into(),
        ));
    }
    Ok(())
}

fn verify(
    rt: &Runtime<'_>,
    challenge: ChainEpoch,
    sectors: &[SectorOnChainInfo],
    proofs: Vec<PoStProof>,
) -> Result<bool, ActorError> {
    let randomness = rt
        .rand
        .beacon(
            DomainSeparationTag::WindowedPoStChallengeSeed as i64,
            challenge,
            &entropy(rt)?,
        )
        .map_err(draw_error)?;
    Ok(rt.verifier.window_post(&WindowPoStVerifyInfo {
        randomness: Randomness(randomness.to_vec()),
        proofs,
        challenged_sectors: sectors
            .iter()
            .map(|s| SectorInfo {
                proof: s.seal_proof,
                sector_number: s.sector_number,
                sealed_cid: s.sealed_cid,
            })
            .collect(),
        prover: rt.miner,
    }))
}
