//! ProveCommitSectors3 (method 34): proofs of precommitted sectors, one by one or as one
//! aggregate, and the activation of what they prove. Also the activation of genesis sectors,
//! which takes the same way without a proof.
use fil_actor_miner_state::v18::{
    MinerInfo, PowerPair, ProveCommitSectors3Params, ProveCommitSectors3Return,
    SectorActivationManifest, SectorOnChainInfo, SectorOnChainInfoFlags,
    SectorPreCommitOnChainInfo, State, daily_proof_fee, max_prove_commit_duration,
    qa_power_for_weight,
};
use fil_actors_shared::v18::runtime::DomainSeparationTag;
use fil_actors_shared::v18::util::stack;
use fil_actors_shared::v18::{ActorError, BatchReturn, BatchReturnGen};
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use fvm_shared::randomness::Randomness;
use fvm_shared::sector::{
    AggregateSealVerifyInfo, AggregateSealVerifyProofAndInfos, RegisteredAggregateProof,
    RegisteredSealProof, SealVerifyInfo, SectorID, SectorSize,
};

use super::data::{self, Spaces};
use super::{
    Outcome, Runtime, check_balance, check_caller, draw_error, encode, entropy, info, state_error,
};
use crate::gas;

/// What a message says of a sector, and what was precommitted.
pub(super) type Activation<'a> = (&'a SectorActivationManifest, &'a SectorPreCommitOnChainInfo);

pub(super) fn prove_commit_sectors3(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: ProveCommitSectors3Params,
) -> Outcome {
    let count = params.sector_activations.len() as u64;
    rt.gas
        .charge(gas::PROVE_COMMIT_BASE + gas::PROVE_COMMIT_SECTOR * count)?;
    let info = info(rt, state)?;
    check_caller(rt, &info)?;

    let numbers = params.sector_activations.iter().map(|a| a.sector_number);
    let precommits = state.get_precommitted_sectors(rt.store, numbers)?;
    let Some(first) = precommits.first() else {
        return Err(ActorError::illegal_argument("no sectors to prove".into()));
    };
    let seal_proof = first.info.seal_proof;
    check_proof_shapes(rt, &params, first)?;

    let (validated, inputs) =
        validate_precommits(rt, &precommits, params.require_activation_success)?;
    if validated.success_count == 0 {
        return Err(ActorError::illegal_argument(
            "no valid precommits specified".into(),
        ));
    }
    let eligible: Vec<Activation<'_>> = validated
        .successes(&params.sector_activations)
        .into_iter()
        .zip(validated.successes(&precommits))
        .collect();

    let mut proven = Vec::new();
    let mut proven_batch = BatchReturnGen::new(eligible.len());
    if params.sector_proofs.is_empty() {
        rt.gas
            .charge(gas::verify_aggregate(count, sector_size(info.sector_size)))?;
        let aggregate = AggregateSealVerifyProofAndInfos {
            miner: rt.miner,
            seal_proof,
            aggregate_proof: RegisteredAggregateProof::SnarkPackV2,
            proof: params.aggregate_proof.bytes().to_vec(),
            // Witnesses for all sectors, also for those that cannot be activated any more.
            infos: inputs.iter().map(aggregate_info).collect(),
        };
        if !rt.verifier.aggregate(&aggregate) {
            return Err(ActorError::illegal_argument(
                "aggregate seal verify failed".into(),
            ));
        }
        proven_batch.add_successes(eligible.len());
        proven = eligible;
    } else {
        rt.gas.charge(gas::VERIFY_SEAL * eligible.len() as u64)?;
        let witnesses = validated
            .successes(&inputs)
            .into_iter()
            .zip(validated.successes(&params.sector_proofs));
        for (activation, (input, proof)) in eligible.into_iter().zip(witnesses) {
            let mut input = input.clone();
            input.proof = without_padding(rt, seal_proof, proof.bytes())?.to_vec();
            if rt.verifier.seal(&input) {
                proven_batch.add_success();
                proven.push(activation);
                continue;
            }
            proven_batch.add_fail(ExitCode::USR_ILLEGAL_ARGUMENT);
            if params.require_activation_success {
                return Err(ActorError::illegal_argument(format!(
                    "invalid proof for sector {} while requiring activation success",
                    activation.1.info.sector_number
                )));
            }
        }
    }
    let proven_batch = proven_batch.generate();
    if proven_batch.success_count == 0 {
        return Err(ActorError::illegal_argument(
            "no valid proofs specified".into(),
        ));
    }

    let (data_batch, spaces) =
        data::activate_pieces(rt, &proven, params.require_activation_success)?;
    if data_batch.success_count == 0 {
        return Err(ActorError::illegal_argument(
            "all data activations failed".into(),
        ));
    }
    let activated: Vec<Activation<'_>> =
        data_batch.successes(&proven).into_iter().copied().collect();
    let precommits: Vec<_> = activated.iter().map(|(_, precommit)| *precommit).collect();
    activate_sectors(rt, state, &precommits, &spaces, &info)?;
    data::notify(rt, &activated, params.require_notification_success)?;
    encode(&ProveCommitSectors3Return {
        activation_results: stack(&[validated, proven_batch, data_batch]),
    })
}

/// The size in our words.
fn sector_size(size: SectorSize) -> damocles_types::SectorSize {
    damocles_types::SectorSize::from_bytes(size as u64).unwrap_or(damocles_types::SectorSize::GiB32)
}

/// Exactly one of proofs per sector and an aggregate, of allowed number and size.
fn check_proof_shapes(
    rt: &Runtime<'_>,
    params: &ProveCommitSectors3Params,
    first: &SectorPreCommitOnChainInfo,
) -> Result<(), ActorError> {
    let policy = rt.policy;
    let refuse = |why: String| Err(ActorError::illegal_argument(why));
    let count = params.sector_activations.len() as u64;
    let aggregate = params.aggregate_proof.bytes();
    if params.sector_proofs.is_empty() == aggregate.is_empty() {
        return refuse("exactly one of sector proofs or aggregate proof must be non-empty".into());
    }
    if params.sector_proofs.is_empty() {
        if params.aggregate_proof_type != Some(RegisteredAggregateProof::SnarkPackV2) {
            return refuse("aggregate proof type must be SnarkPackV2".into());
        }
        if count > policy.max_aggregated_sectors {
            return refuse(format!(
                "too many sectors addressed, addressed {count} want <= {}",
                policy.max_aggregated_sectors
            ));
        }
        if count < policy.min_aggregated_sectors {
            return refuse(format!(
                "too few sectors addressed, addressed {count} want >= {}",
                policy.min_aggregated_sectors
            ));
        }
        if aggregate.len() > policy.max_aggregated_proof_size {
            return refuse(format!(
                "sector prove-commit proof of size {} exceeds max size of {}",
                aggregate.len(),
                policy.max_aggregated_proof_size
            ));
        }
        return Ok(());
    }
    if params.aggregate_proof_type.is_some() {
        return refuse("aggregate proof type must be null with batched proofs".into());
    }
    if count != params.sector_proofs.len() as u64 {
        return refuse(format!(
            "mismatched lengths: {count} sector activations, {} proofs",
            params.sector_proofs.len()
        ));
    }
    for proof in &params.sector_proofs {
        without_padding(rt, first.info.seal_proof, proof.bytes())?;
    }
    Ok(())
}

/// The proof itself. Where the network lets small sectors have proofs of production length,
/// one of exactly that length may end in zeros; any other must be as long as its type says.
fn without_padding<'p>(
    rt: &Runtime<'_>,
    seal_proof: RegisteredSealProof,
    proof: &'p [u8],
) -> Result<&'p [u8], ActorError> {
    let longest = seal_proof.proof_size().map_err(|e| {
        ActorError::illegal_state(format!("failed to determine max proof size: {e}"))
    })?;
    if proof.len() <= longest {
        return Ok(proof);
    }
    let (proof, padding) = proof.split_at(longest);
    let length = (proof.len() + padding.len()) as u64;
    if length == rt.proof_bytes && padding.iter().all(|byte| *byte == 0) {
        return Ok(proof);
    }
    Err(ActorError::illegal_argument(format!(
        "sector proof size {length} exceeds max {longest}"
    )))
}

/// Which precommits may be proven now, and the public inputs of all of them.
fn validate_precommits(
    rt: &Runtime<'_>,
    precommits: &[SectorPreCommitOnChainInfo],
    all_or_nothing: bool,
) -> Result<(BatchReturn, Vec<SealVerifyInfo>), ActorError> {
    let mut batch = BatchReturnGen::new(precommits.len());
    let mut inputs: Vec<SealVerifyInfo> = Vec::with_capacity(precommits.len());
    let entropy = entropy(rt)?;
    for (i, precommit) in precommits.iter().enumerate() {
        let sector = &precommit.info;
        let seal_time = max_prove_commit_duration(rt.policy, sector.seal_proof)
            .ok_or_else(|| ActorError::illegal_state("no max seal duration".into()))?;
        let late = rt.epoch > precommit.pre_commit_epoch + seal_time;
        let invalid = late || !sector.deal_ids.is_empty();
        if inputs
            .last()
            .is_some_and(|previous| previous.registered_proof != sector.seal_proof)
        {
            return Err(ActorError::illegal_state(
                "seal proof group for verification contains mismatched seal proofs".into(),
            ));
        }
        let seed_epoch = precommit.pre_commit_epoch + rt.policy.pre_commit_challenge_delay;
        if rt.epoch <= seed_epoch {
            return Err(ActorError::forbidden("too early to prove sector".into()));
        }
        let ticket = rt
            .rand
            .tickets(
                DomainSeparationTag::SealRandomness as i64,
                sector.seal_rand_epoch,
                &entropy,
            )
            .map_err(draw_error)?;
        let seed = rt
            .rand
            .beacon(
                DomainSeparationTag::InteractiveSealChallengeSeed as i64,
                seed_epoch,
                &entropy,
            )
            .map_err(draw_error)?;
        inputs.push(SealVerifyInfo {
            registered_proof: sector.seal_proof,
            sector_id: SectorID {
                miner: rt.miner,
                number: sector.sector_number,
            },
            deal_ids: vec![],
            randomness: Randomness(ticket.to_vec()),
            interactive_randomness: Randomness(seed.to_vec()),
            proof: vec![],
            sealed_cid: sector.sealed_cid,
            unsealed_cid: sector.unsealed_cid.get_cid(sector.seal_proof)?,
        });
        if invalid {
            if all_or_nothing {
                return Err(ActorError::illegal_argument(format!(
                    "invalid pre-commit {i} while requiring activation success: {precommit:?}"
                )));
            }
            batch.add_fail(ExitCode::USR_ILLEGAL_ARGUMENT);
        } else {
            batch.add_success();
        }
    }
    Ok((batch.generate(), inputs))
}

fn aggregate_info(input: &SealVerifyInfo) -> AggregateSealVerifyInfo {
    AggregateSealVerifyInfo {
        sector_number: input.sector_id.number,
        randomness: input.randomness.clone(),
        interactive_randomness: input.interactive_randomness.clone(),
        sealed_cid: input.sealed_cid,
        unsealed_cid: input.unsealed_cid,
    }
}

/// Turns proven precommits into sectors, moves their deposit to pledge, and gives them to
/// deadlines. Power comes with the first WindowPoSt.
fn activate_sectors(
    rt: &mut Runtime<'_>,
    state: &mut State,
    precommits: &[&SectorPreCommitOnChainInfo],
    spaces: &[Spaces],
    info: &MinerInfo,
) -> Result<(), ActorError> {
    let mut numbers = Vec::with_capacity(precommits.len());
    let mut sectors = Vec::with_capacity(precommits.len());
    let mut deposits = TokenAmount::default();
    let mut pledge = TokenAmount::default();
    for (precommit, space) in precommits.iter().zip(spaces) {
        let sector = new_sector(rt, precommit, space, info)?;
        deposits += &precommit.pre_commit_deposit;
        pledge += &sector.initial_pledge;
        numbers.push(sector.sector_number);
        sectors.push(sector);
    }
    state
        .put_sectors(rt.store, sectors.clone())
        .map_err(|e| state_error(e, "failed to put new sectors"))?;
    state.delete_precommitted_sectors(rt.store, &numbers)?;
    state
        .assign_sectors_to_deadlines(
            rt.policy,
            rt.store,
            rt.epoch,
            sectors,
            info.window_post_partition_sectors,
            info.sector_size,
        )
        .map_err(|e| state_error(e, "failed to assign new sectors to deadlines"))?;
    state
        .add_pre_commit_deposit(&-deposits)
        .map_err(|e| ActorError::illegal_state(format!("pre-commit deposit: {e}")))?;
    let unlocked = state
        .get_unlocked_balance(&rt.balance)
        .map_err(|e| ActorError::illegal_state(format!("unlocked balance: {e}")))?;
    if unlocked < pledge {
        return Err(ActorError::insufficient_funds(format!(
            "insufficient funds for aggregate initial pledge requirement {pledge}, available: {unlocked}"
        )));
    }
    state
        .add_initial_pledge(&pledge)
        .map_err(|e| ActorError::illegal_state(format!("initial pledge: {e}")))?;
    check_balance(rt, state)?;
    rt.effects.pledge += pledge;
    Ok(())
}

fn new_sector(
    rt: &Runtime<'_>,
    precommit: &SectorPreCommitOnChainInfo,
    space: &Spaces,
    info: &MinerInfo,
) -> Result<SectorOnChainInfo, ActorError> {
    let sector = &precommit.info;
    let duration = sector.expiration - rt.epoch;
    if duration < rt.policy.min_sector_expiration {
        return Err(ActorError::illegal_argument(format!(
            "precommit {} has lifetime {duration} less than minimum {}. ignoring",
            sector.sector_number, rt.policy.min_sector_expiration
        )));
    }
    let verified_deal_weight = &space.verified * duration;
    let power = qa_power_for_weight(info.sector_size, duration, &verified_deal_weight);
    Ok(SectorOnChainInfo {
        sector_number: sector.sector_number,
        seal_proof: sector.seal_proof,
        sealed_cid: sector.sealed_cid,
        deprecated_deal_ids: vec![],
        activation: rt.epoch,
        expiration: sector.expiration,
        deal_weight: &space.unverified * duration,
        verified_deal_weight,
        initial_pledge: rt.economy.initial_pledge(&power, rt.epoch),
        expected_day_reward: None,
        expected_storage_pledge: None,
        power_base_epoch: rt.epoch,
        replaced_day_reward: None,
        sector_key_cid: None,
        flags: SectorOnChainInfoFlags::SIMPLE_QA_POWER,
        daily_fee: daily_proof_fee(rt.policy, &rt.economy.circulating_supply, &power),
    })
}

/// Enters sectors that exist from genesis on: allocated, pledged, given to deadlines, and
/// proven, so that they have power at once. Returns that power.
pub fn activate_genesis_sectors(
    rt: &mut Runtime<'_>,
    state: &mut State,
    precommits: &[SectorPreCommitOnChainInfo],
) -> anyhow::Result<PowerPair> {
    use fil_actor_miner_state::v18::{CollisionPolicy, Partition};
    use fil_actors_shared::v18::Array;
    use fvm_ipld_bitfield::BitField;

    let numbers = BitField::try_from_bits(precommits.iter().map(|p| p.info.sector_number))?;
    state.allocate_sector_numbers(rt.store, &numbers, CollisionPolicy::DenyCollisions)?;
    let deposits = precommits.iter().map(|p| &p.pre_commit_deposit).sum();
    state.add_pre_commit_deposit(&deposits)?;
    state.put_precommitted_sectors(rt.store, precommits.to_vec())?;
    let info = info(rt, state)?;
    let spaces = vec![Spaces::default(); precommits.len()];
    let borrowed: Vec<_> = precommits.iter().collect();
    activate_sectors(rt, state, &borrowed, &spaces, &info)?;

    let mut power = PowerPair::zero();
    let mut deadlines = state.load_deadlines(rt.store)?;
    for index in 0..rt.policy.wpost_period_deadlines {
        let mut deadline = deadlines.load_deadline(rt.store, index)?;
        let mut partitions: Array<'_, Partition, _> = deadline.partitions_amt(rt.store)?;
        let mut changed = Vec::new();
        partitions.for_each(|number, partition| {
            let mut partition = partition.clone();
            power += &partition.activate_unproven();
            changed.push((number, partition));
            Ok(())
        })?;
        for (number, partition) in changed {
            partitions.set(number, partition)?;
        }
        deadline.partitions = partitions.flush()?;
        deadlines.update_deadline(rt.policy, rt.store, index, &deadline)?;
    }
    state.save_deadlines(rt.store, deadlines)?;
    if !state.deadline_cron_active && !precommits.is_empty() {
        state.deadline_cron_active = true;
        let deadline = state.deadline_info(rt.policy, rt.epoch);
        rt.effects
            .cron
            .push((deadline.last(), super::PROVING_DEADLINE));
    }
    Ok(power)
}
