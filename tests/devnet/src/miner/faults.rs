//! DeclareFaults (method 10) and DeclareFaultsRecovered (method 11).
use fil_actor_miner_state::v18::{
    DeadlineInfo, DeadlineSectorMap, DeclareFaultsParams, DeclareFaultsRecoveredParams, Sectors,
    State, new_deadline_info,
};
use fil_actors_shared::v18::ActorError;
use fvm_ipld_bitfield::BitField;

use super::{
    Outcome, Runtime, burn, check_balance, check_caller, consensus_fault_active, info, nothing,
    repay_debts, state_error,
};
use crate::gas;

pub(super) fn declare_faults(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: DeclareFaultsParams,
) -> Outcome {
    rt.gas
        .charge(gas::DECLARE_BASE + gas::DECLARE_PARTITION * params.faults.len() as u64)?;
    let mut declared = collect(
        rt,
        params
            .faults
            .into_iter()
            .map(|f| (f.deadline, f.partition, f.sectors)),
    )?;
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    let mut deadlines = state.load_deadlines(rt.store)?;
    let sectors = Sectors::load(rt.store, &state.sectors)
        .map_err(|e| state_error(e.into(), "failed to load sectors array"))?;
    for (index, partitions) in declared.iter() {
        let target = target_deadline(rt, state, index, "fault")?;
        let mut deadline = deadlines.load_deadline(rt.store, index)?;
        let delta = deadline
            .record_faults(
                rt.store,
                &sectors,
                info.sector_size,
                target.quant_spec(),
                target.last() + rt.policy.fault_max_age,
                partitions,
            )
            .map_err(|e| state_error(e, "failed to declare faults"))?;
        deadlines
            .update_deadline(rt.policy, rt.store, index, &deadline)
            .map_err(|e| state_error(e, "failed to store deadline"))?;
        rt.effects.power += &delta;
    }
    state
        .save_deadlines(rt.store, deadlines)
        .map_err(|e| state_error(e, "failed to save deadlines"))?;
    nothing()
}

pub(super) fn declare_faults_recovered(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: DeclareFaultsRecoveredParams,
) -> Outcome {
    rt.gas
        .charge(gas::DECLARE_BASE + gas::DECLARE_PARTITION * params.recoveries.len() as u64)?;
    let mut declared = collect(
        rt,
        params
            .recoveries
            .into_iter()
            .map(|r| (r.deadline, r.partition, r.sectors)),
    )?;
    let fee = repay_debts(rt, state)?;
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    if consensus_fault_active(&info, rt.epoch) {
        return Err(ActorError::forbidden(
            "recovery not allowed during active consensus fault".into(),
        ));
    }
    let mut deadlines = state.load_deadlines(rt.store)?;
    let sectors = Sectors::load(rt.store, &state.sectors)
        .map_err(|e| state_error(e.into(), "failed to load sectors array"))?;
    for (index, partitions) in declared.iter() {
        target_deadline(rt, state, index, "recovery")?;
        let mut deadline = deadlines.load_deadline(rt.store, index)?;
        deadline
            .declare_faults_recovered(rt.store, &sectors, info.sector_size, partitions)
            .map_err(|e| state_error(e, "failed to declare recoveries"))?;
        deadlines
            .update_deadline(rt.policy, rt.store, index, &deadline)
            .map_err(|e| state_error(e, "failed to store deadline"))?;
    }
    state
        .save_deadlines(rt.store, deadlines)
        .map_err(|e| state_error(e, "failed to save deadlines"))?;
    burn(rt, fee);
    check_balance(rt, state)?;
    nothing()
}

fn collect(
    rt: &Runtime<'_>,
    declarations: impl Iterator<Item = (u64, u64, BitField)>,
) -> Result<DeadlineSectorMap, ActorError> {
    let mut map = DeadlineSectorMap::new();
    for (deadline, partition, sectors) in declarations {
        map.add(rt.policy, deadline, partition, sectors)
            .map_err(|e| {
                ActorError::illegal_argument(format!(
                    "failed to process deadline {deadline}, partition {partition}: {e}"
                ))
            })?;
    }
    map.check(
        rt.policy.addressed_partitions_max,
        rt.policy.addressed_sectors_max,
    )
    .map_err(|e| {
        ActorError::illegal_argument(format!("cannot process requested parameters: {e}"))
    })?;
    Ok(map)
}

/// The deadline's next instance, which must still take declarations.
fn target_deadline(
    rt: &Runtime<'_>,
    state: &State,
    index: u64,
    what: &str,
) -> Result<DeadlineInfo, ActorError> {
    if index >= rt.policy.wpost_period_deadlines {
        return Err(ActorError::illegal_argument(format!(
            "invalid {what} declaration deadline {index}: must be < {}",
            rt.policy.wpost_period_deadlines
        )));
    }
    let period = state.current_proving_period_start(rt.policy, rt.epoch);
    let target = new_deadline_info(rt.policy, period, index, rt.epoch).next_not_elapsed();
    if target.fault_cutoff_passed() {
        return Err(ActorError::illegal_argument(format!(
            "failed {what} declaration at deadline {index}: late fault or recovery declaration"
        )));
    }
    Ok(target)
}
