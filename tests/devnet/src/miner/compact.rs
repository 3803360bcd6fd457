//! CompactPartitions (method 19): partitions of a deadline are dissolved, and what lives in them
//! moves to the others.
use fil_actor_miner_state::v18::{
    CompactPartitionsParams, Sectors, State, deadline_available_for_compaction,
    load_partitions_sectors_max,
};
use fil_actors_shared::v18::ActorError;

use super::{Outcome, Runtime, check_caller, info, nothing, state_error};
use crate::gas;

pub(super) fn compact_partitions(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: CompactPartitionsParams,
) -> Outcome {
    let count = params.partitions.len();
    rt.gas
        .charge(gas::DECLARE_BASE + gas::DECLARE_PARTITION * count)?;
    let CompactPartitionsParams {
        deadline: index,
        partitions,
    } = params;
    if index >= rt.policy.wpost_period_deadlines {
        return Err(ActorError::illegal_argument(format!(
            "invalid deadline {index}"
        )));
    }
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    let period = state.current_proving_period_start(rt.policy, rt.epoch);
    if !deadline_available_for_compaction(rt.policy, period, index, rt.epoch) {
        return Err(ActorError::forbidden(format!(
            "cannot compact deadline {index} during its challenge window, or the prior challenge window, or before {} epochs have passed since its last challenge window ended",
            rt.policy.wpost_dispute_window
        )));
    }
    let limit = load_partitions_sectors_max(rt.policy, info.window_post_partition_sectors);
    if count > limit {
        return Err(ActorError::illegal_argument(format!(
            "too many partitions {count}, limit {limit}"
        )));
    }
    let quant = state.quant_spec_for_deadline(rt.policy, index);
    let mut deadlines = state.load_deadlines(rt.store)?;
    let mut deadline = deadlines.load_deadline(rt.store, index)?;
    let mut sectors = Sectors::load(rt.store, &state.sectors)
        .map_err(|e| state_error(e.into(), "failed to load sectors array"))?;
    let dead = deadline
        .compact_partitions(
            rt.store,
            &mut sectors,
            info.sector_size,
            info.window_post_partition_sectors,
            &partitions,
            quant,
        )
        .map_err(|e| {
            state_error(
                e,
                &format!("failed to remove partitions from deadline {index}"),
            )
        })?;
    for number in dead.iter() {
        let deleted = sectors.amt.delete(number);
        deleted.map_err(|e| state_error(e.into(), "failed to delete dead sectors"))?;
    }
    let flushed = sectors.amt.flush();
    state.sectors = flushed.map_err(|e| state_error(e.into(), "failed to store sectors"))?;
    deadlines
        .update_deadline(rt.policy, rt.store, index, &deadline)
        .map_err(|e| state_error(e, "failed to update deadline"))?;
    state
        .save_deadlines(rt.store, deadlines)
        .map_err(|e| state_error(e, "failed to save deadlines"))?;
    nothing()
}
