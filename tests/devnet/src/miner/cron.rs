//! What happens to a miner at the last epoch of each of its deadlines: faults for missing
//! proofs, expirations, expired precommits, fees and vesting.
use fil_actor_miner_state::v18::{
    CRON_EVENT_PROCESS_EARLY_TERMINATIONS, CRON_EVENT_PROVING_DEADLINE, Sectors, State,
    daily_proof_fee_payable, expected_reward_for_power, pledge_penalty_for_continued_fault,
    pledge_penalty_for_termination, qa_power_for_sector,
};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::network::EPOCHS_IN_DAY;
use fvm_shared::econ::TokenAmount;

use super::{Runtime, burn, check_balance, info, state_error};

/// Cron event types, as the actor numbers them.
pub const PROVING_DEADLINE: i64 = CRON_EVENT_PROVING_DEADLINE;
pub const EARLY_TERMINATIONS: i64 = CRON_EVENT_PROCESS_EARLY_TERMINATIONS;

/// OnDeferredCronEvent.
pub fn on_cron(rt: &mut Runtime<'_>, state: &mut State, event: i64) -> Result<(), ActorError> {
    match event {
        PROVING_DEADLINE => deadline_end(rt, state)?,
        EARLY_TERMINATIONS => {
            if early_terminations(rt, state)? {
                rt.effects.cron.push((rt.epoch + 1, EARLY_TERMINATIONS));
            }
        }
        other => tracing::error!("miner f0{} has an unknown cron event {other}", rt.miner),
    }
    check_balance(rt, state)
}

fn deadline_end(rt: &mut Runtime<'_>, state: &mut State) -> Result<(), ActorError> {
    let epoch = rt.epoch;
    change_worker_if_due(rt, state)?;
    let fault = |what: &'static str| move |e: anyhow::Error| state_error(e, what);

    let lost_deposits = state
        .cleanup_expired_pre_commits(rt.policy, rt.store, epoch)
        .map_err(fault("failed to expire pre-committed sectors"))?;
    state
        .apply_penalty(&lost_deposits)
        .map_err(fault("failed to apply penalty"))?;

    let had_early_terminations = !state.early_terminations.is_empty();
    let advanced = state
        .advance_deadline(rt.policy, rt.store, epoch)
        .map_err(fault("failed to advance deadline"))?;
    if !advanced.detected_faulty_power.is_zero() {
        tracing::info!(
            "miner f0{} missed proofs in the deadline that ends at epoch {epoch}: {} bytes newly faulty",
            rt.miner,
            advanced.detected_faulty_power.raw
        );
    }
    rt.effects.power += &advanced.power_delta;
    rt.effects.pledge += &advanced.pledge_delta;
    // New faults cost nothing yet; sectors that stay faulty pay.
    let penalty = pledge_penalty_for_continued_fault(
        &rt.economy.reward,
        &rt.economy.network_power,
        &advanced.previously_faulty_power.qa,
    );
    state
        .apply_penalty(&penalty)
        .map_err(fault("failed to apply penalty"))?;
    if advanced.daily_fee.is_positive() {
        let reward = expected_reward_for_power(
            &rt.economy.reward,
            &rt.economy.network_power,
            &advanced.live_power.qa,
            EPOCHS_IN_DAY,
        );
        let fee = daily_proof_fee_payable(rt.policy, &advanced.daily_fee, &reward);
        state
            .apply_penalty(&fee)
            .map_err(fault("failed to apply penalty"))?;
    }
    pay_debts(rt, state)?;
    let vested = state
        .unlock_vested_funds(rt.store, epoch)
        .map_err(fault("failed to vest funds"))?;
    rt.effects.pledge -= vested;

    if state.continue_deadline_cron() {
        let next = state.deadline_info(rt.policy, epoch + 1);
        rt.effects.cron.push((next.last(), PROVING_DEADLINE));
    } else {
        state.deadline_cron_active = false;
    }
    if !had_early_terminations
        && !state.early_terminations.is_empty()
        && early_terminations(rt, state)?
    {
        rt.effects.cron.push((epoch + 1, EARLY_TERMINATIONS));
    }
    Ok(())
}

/// Pays what it can of the fee debt, from vesting funds first.
fn pay_debts(rt: &mut Runtime<'_>, state: &mut State) -> Result<(), ActorError> {
    let (to_burn, unlocked) = state
        .repay_partial_debt_in_priority_order(rt.store, rt.epoch, &rt.balance)
        .map_err(|e| state_error(e, "failed to unlock penalty"))?;
    burn(rt, to_burn);
    rt.effects.pledge -= unlocked;
    Ok(())
}

fn change_worker_if_due(rt: &Runtime<'_>, state: &mut State) -> Result<(), ActorError> {
    let mut info = info(rt, state)?;
    let due = info
        .pending_worker_key
        .take_if(|pending| rt.epoch >= pending.effective_at);
    if let Some(pending) = due {
        info.worker = pending.new_worker;
        state
            .save_info(rt.store, &info)
            .map_err(|e| state_error(e, "failed to save miner info"))?;
    }
    Ok(())
}

/// Fines sectors that ended early and frees their pledge. Whether more are left.
fn early_terminations(rt: &mut Runtime<'_>, state: &mut State) -> Result<bool, ActorError> {
    let (ended, more) = state
        .pop_early_terminations(
            rt.policy,
            rt.store,
            rt.policy.addressed_partitions_max,
            rt.policy.addressed_sectors_max,
        )
        .map_err(|e| state_error(e, "failed to pop early terminations"))?;
    if ended.is_empty() {
        return Ok(more);
    }
    let size = info(rt, state)?.sector_size;
    let sectors = Sectors::load(rt.store, &state.sectors)
        .map_err(|e| state_error(e.into(), "failed to load sectors array"))?;
    let mut pledge = TokenAmount::default();
    let mut penalty = TokenAmount::default();
    for (epoch, numbers) in ended.iter() {
        for sector in sectors.load_sectors(numbers)? {
            let fault_fee = pledge_penalty_for_continued_fault(
                &rt.economy.reward,
                &rt.economy.network_power,
                &qa_power_for_sector(size, &sector),
            );
            penalty += pledge_penalty_for_termination(
                &sector.initial_pledge,
                epoch - sector.activation,
                &fault_fee,
            );
            pledge += &sector.initial_pledge;
        }
    }
    state
        .apply_penalty(&penalty)
        .map_err(|e| ActorError::illegal_state(format!("failed to apply penalty: {e}")))?;
    let freed = -pledge;
    state
        .add_initial_pledge(&freed)
        .map_err(|e| ActorError::illegal_state(format!("failed to free pledge: {e}")))?;
    rt.effects.pledge += freed;
    pay_debts(rt, state)?;
    Ok(more)
}
