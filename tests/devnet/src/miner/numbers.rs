//! CompactSectorNumbers (method 20): numbers are marked as used, so that the set of them is small.
use fil_actor_miner_state::v18::{CollisionPolicy, CompactSectorNumbersParams, State};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::policy_constants::MAX_SECTOR_NUMBER;

use super::{Outcome, Runtime, check_caller, info, nothing};
use crate::gas;

pub(super) fn compact(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: CompactSectorNumbersParams,
) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let mask = params.mask_sector_numbers;
    let invalid = || ActorError::illegal_argument("invalid mask bitfield".into());
    let last = mask.last().ok_or_else(invalid)?;
    if last > MAX_SECTOR_NUMBER {
        return Err(ActorError::illegal_argument(format!(
            "masked sector number {last} exceeded max sector number"
        )));
    }
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    state.allocate_sector_numbers(rt.store, &mask, CollisionPolicy::AllowCollisions)?;
    nothing()
}
