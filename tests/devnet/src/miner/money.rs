//! What a miner pays out and what it owes: WithdrawBalance (16), RepayDebt (22).
use fil_actor_miner_state::v18::{State, WithdrawBalanceParams, WithdrawBalanceReturn};
use fil_actors_shared::v18::ActorError;

use super::{
    Outcome, Runtime, burn, check_balance, check_caller, encode, info, nothing, only, repay_debts,
    state_error,
};
use crate::gas;

pub(super) fn withdraw(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: WithdrawBalanceParams,
) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let asked = params.amount_requested;
    if asked.is_negative() {
        return Err(ActorError::illegal_argument(format!(
            "negative fund requested for withdrawal: {asked}"
        )));
    }
    let mut info = info(rt, state)?;
    only(rt, &[info.owner, info.beneficiary])?;
    if !state.early_terminations.is_empty() {
        return Err(ActorError::forbidden(format!(
            "cannot withdraw funds while {} deadlines have terminated sectors with outstanding fees",
            state.early_terminations.len()
        )));
    }
    let vested = state
        .unlock_vested_funds(rt.store, rt.epoch)
        .map_err(|e| state_error(e, "Failed to vest fund"))?;
    let available = state.get_available_balance(&rt.balance).map_err(|e| {
        ActorError::illegal_state(format!("failed to calculate available balance: {e}"))
    })?;
    let fee = repay_debts(rt, state)?;
    let mut paid = available.min(asked);
    if paid.is_negative() {
        return Err(ActorError::illegal_state(format!(
            "negative amount to withdraw: {paid}"
        )));
    }
    if info.beneficiary != info.owner {
        let term = &mut info.beneficiary_term;
        let left = term.available(rt.epoch);
        if left.is_zero() {
            return Err(ActorError::forbidden(format!(
                "beneficiary expiration of epoch {} passed or quota of {} depleted with {} used",
                term.expiration, term.quota, term.used_quota
            )));
        }
        paid = paid.min(left);
        term.used_quota += &paid;
        state
            .save_info(rt.store, &info)
            .map_err(|e| state_error(e, "failed to save miner info"))?;
    }
    if paid.is_positive() {
        let to = info.beneficiary.id();
        let to = to.map_err(|e| ActorError::illegal_state(format!("beneficiary: {e}")))?;
        rt.balance -= &paid;
        rt.effects.paid = Some((to, paid.clone()));
    }
    burn(rt, fee);
    rt.effects.pledge -= &vested;
    check_balance(rt, state)?;
    encode(&WithdrawBalanceReturn {
        amount_withdrawn: paid,
    })
}

pub(super) fn repay(rt: &mut Runtime<'_>, state: &mut State) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let info = info(rt, state)?;
    check_caller(rt, &info)?;
    let (fee, unlocked) = state
        .repay_partial_debt_in_priority_order(rt.store, rt.epoch, &rt.balance)
        .map_err(|e| state_error(e, "failed to unlock fee debt"))?;
    rt.effects.pledge -= &unlocked;
    burn(rt, fee);
    check_balance(rt, state)?;
    nothing()
}
