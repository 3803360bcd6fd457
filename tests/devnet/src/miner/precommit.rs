//! PreCommitSectorBatch2 (method 28).
use fil_actor_miner_state::v18::{
    CollisionPolicy, PreCommitSectorBatchParams2, SectorPreCommitInfo, SectorPreCommitOnChainInfo,
    State, can_pre_commit_seal_proof, is_sealed_sector, is_unsealed_sector,
    max_prove_commit_duration, seal_proof_sector_maximum_lifetime, sector_deals_max,
};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::Policy;
use fil_actors_shared::v18::runtime::policy::policy_constants::MAX_SECTOR_NUMBER;
use fvm_ipld_bitfield::BitField;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;

use super::{
    Outcome, PROVING_DEADLINE, Runtime, burn, check_balance, check_caller, consensus_fault_active,
    info, nothing, repay_debts, state_error,
};
use crate::gas;

pub(super) fn pre_commit_sector_batch2(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: PreCommitSectorBatchParams2,
) -> Outcome {
    rt.gas
        .charge(gas::PRE_COMMIT_BASE + gas::PRE_COMMIT_SECTOR * params.sectors.len() as u64)?;
    if params.sectors.is_empty() {
        return Err(ActorError::illegal_argument("batch empty".into()));
    }
    let mut numbers = BitField::new();
    for sector in &params.sectors {
        if numbers.get(sector.sector_number) {
            return Err(ActorError::illegal_argument(format!(
                "duplicate sector number {}",
                sector.sector_number
            )));
        }
        check_sector(rt.policy, rt.epoch, sector)?;
        numbers.set(sector.sector_number);
    }
    if params.sectors.iter().any(|s| !s.deal_ids.is_empty()) {
        // A real market would check them, and ProveCommitSectors3 would leave the sector out: deals
        // are named when it is proven, by notifications.
        return Err(ActorError::not_found(
            "deals in precommits are not served by this network".into(),
        ));
    }

    let available = state
        .get_available_balance(&rt.balance)
        .map_err(|e| ActorError::illegal_state(format!("available balance: {e}")))?;
    let fee = repay_debts(rt, state)?;
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    if consensus_fault_active(&info, rt.epoch) {
        return Err(ActorError::forbidden(
            "pre-commit not allowed during active consensus fault".into(),
        ));
    }

    let deposit = rt.economy.precommit_deposit(info.sector_size);
    let deal_limit = sector_deals_max(rt.policy, info.sector_size);
    let mut required = TokenAmount::default();
    let mut records = Vec::with_capacity(params.sectors.len());
    let mut clean_ups = Vec::with_capacity(params.sectors.len());
    for sector in params.sectors {
        let post = sector
            .seal_proof
            .registered_window_post_proof()
            .map_err(|_| {
                ActorError::illegal_argument(format!(
                    "no Window PoSt proof type for seal proof {}",
                    i64::from(sector.seal_proof)
                ))
            })?;
        if post != info.window_post_proof_type {
            return Err(ActorError::illegal_argument(format!(
                "sector Window PoSt proof type {} must match miner Window PoSt proof type {}",
                i64::from(post),
                i64::from(info.window_post_proof_type)
            )));
        }
        if sector.deal_ids.len() as u64 > deal_limit {
            return Err(ActorError::illegal_argument(format!(
                "too many deals for sector {} > {deal_limit}",
                sector.deal_ids.len()
            )));
        }
        let seal_time = max_prove_commit_duration(rt.policy, sector.seal_proof)
            .ok_or_else(|| ActorError::illegal_argument("no max seal duration".into()))?;
        clean_ups.push((
            rt.epoch + seal_time + rt.policy.expired_pre_commit_clean_up_delay,
            sector.sector_number,
        ));
        required += &deposit;
        records.push(SectorPreCommitOnChainInfo {
            info: sector,
            pre_commit_deposit: deposit.clone(),
            pre_commit_epoch: rt.epoch,
        });
    }
    if available < required {
        return Err(ActorError::insufficient_funds(format!(
            "insufficient funds {available} for pre-commit deposit: {required}"
        )));
    }
    state
        .add_pre_commit_deposit(&required)
        .map_err(|e| ActorError::illegal_state(format!("pre-commit deposit: {e}")))?;
    state.allocate_sector_numbers(rt.store, &numbers, CollisionPolicy::DenyCollisions)?;
    state
        .put_precommitted_sectors(rt.store, records)
        .map_err(|e| state_error(e, "failed to write pre-committed sectors"))?;
    state
        .add_pre_commit_clean_ups(rt.policy, rt.store, clean_ups)
        .map_err(|e| state_error(e, "failed to add pre-commit expiry to queue"))?;

    let needs_cron = !state.deadline_cron_active;
    state.deadline_cron_active = true;
    burn(rt, fee);
    check_balance(rt, state)?;
    if needs_cron {
        let deadline = state.deadline_info(rt.policy, rt.epoch);
        rt.effects.cron.push((deadline.last(), PROVING_DEADLINE));
    }
    nothing()
}

/// What can be told of a sector without looking at the state.
fn check_sector(
    policy: &Policy,
    epoch: ChainEpoch,
    sector: &SectorPreCommitInfo,
) -> Result<(), ActorError> {
    let refuse = |why: String| Err(ActorError::illegal_argument(why));
    if !can_pre_commit_seal_proof(policy, sector.seal_proof) {
        return refuse(format!(
            "unsupported seal proof type {}",
            i64::from(sector.seal_proof)
        ));
    }
    if sector.sector_number > MAX_SECTOR_NUMBER {
        return refuse(format!(
            "sector number {} out of range 0..(2^63-1)",
            sector.sector_number
        ));
    }
    if !is_sealed_sector(&sector.sealed_cid) {
        return refuse("sealed CID had wrong prefix".into());
    }
    if sector.seal_rand_epoch >= epoch {
        return refuse(format!(
            "seal challenge epoch {} must be before now {epoch}",
            sector.seal_rand_epoch
        ));
    }
    let earliest = epoch - policy.max_pre_commit_randomness_lookback;
    if sector.seal_rand_epoch < earliest {
        return refuse(format!(
            "seal challenge epoch {} too old, must be after {earliest}",
            sector.seal_rand_epoch
        ));
    }
    if let Some(comm_d) = &sector.unsealed_cid.0
        && !is_unsealed_sector(comm_d)
    {
        return refuse("unsealed CID had wrong prefix".into());
    }
    // A lifetime must suffice even if the proof comes at the last moment.
    let activation =
        epoch + max_prove_commit_duration(policy, sector.seal_proof).unwrap_or_default();
    check_expiration(policy, epoch, activation, sector)
}

fn check_expiration(
    policy: &Policy,
    epoch: ChainEpoch,
    activation: ChainEpoch,
    sector: &SectorPreCommitInfo,
) -> Result<(), ActorError> {
    let expiration = sector.expiration;
    let refuse = |why: String| Err(ActorError::illegal_argument(why));
    if expiration <= activation {
        return refuse(format!(
            "sector expiration {expiration} must be after activation {activation}"
        ));
    }
    let lifetime = expiration - activation;
    if lifetime < policy.min_sector_expiration {
        return refuse(format!(
            "invalid expiration {expiration}, total sector lifetime ({lifetime}) must exceed {} after activation {activation}",
            policy.min_sector_expiration
        ));
    }
    if expiration > epoch + policy.max_sector_expiration_extension {
        return refuse(format!(
            "invalid expiration {expiration}, cannot be more than {} past current epoch {epoch}",
            policy.max_sector_expiration_extension
        ));
    }
    let Some(longest) = seal_proof_sector_maximum_lifetime(sector.seal_proof) else {
        return refuse(format!(
            "unrecognized seal proof type {:?}",
            sector.seal_proof
        ));
    };
    if lifetime > longest {
        return refuse(format!(
            "invalid expiration {expiration}, total sector lifetime ({lifetime}) cannot exceed {longest} after activation {activation}"
        ));
    }
    Ok(())
}
