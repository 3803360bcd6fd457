//! Who may act for a miner and who gets its money: ChangeWorkerAddress (3),
//! ConfirmChangeWorkerAddress (21), ChangeOwnerAddress (23), ChangeBeneficiary (30).
use fil_actor_miner_state::v18::{
    BeneficiaryTerm, ChangeBeneficiaryParams, ChangeOwnerAddressParams, ChangeWorkerAddressParams,
    MinerInfo, PendingBeneficiaryChange, State, WorkerKeyChange,
};
use fil_actors_shared::v18::ActorError;
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Protocol};

use super::{Outcome, Runtime, info, nothing, only, state_error};
use crate::gas;
use crate::tree::Tree;

/// The worker must be an account with a BLS key.
pub fn worker_account(tree: &Tree, worker: &Address) -> Result<ActorID, ActorError> {
    let id = tree
        .resolve(worker)
        .map_err(|e| state_error(e, "failed to look at an address"))?
        .ok_or_else(|| {
            ActorError::illegal_argument(format!("unable to resolve address: {worker}"))
        })?;
    match tree
        .account_key(id)
        .map_err(|e| state_error(e, "failed to look at an address"))?
    {
        Some(key) if key.protocol() == Protocol::BLS => Ok(id),
        Some(key) => Err(ActorError::illegal_argument(format!(
            "worker account {worker} must have BLS pubkey, was {}",
            key.protocol()
        ))),
        None => Err(ActorError::illegal_argument(
            "worker actor type must be an account".into(),
        )),
    }
}

fn save(rt: &Runtime<'_>, state: &mut State, info: &MinerInfo) -> Outcome {
    state
        .save_info(rt.store, info)
        .map_err(|e| state_error(e, "could not save miner info"))?;
    nothing()
}

fn resolved(rt: &Runtime<'_>, what: &str, address: &Address) -> Result<Address, ActorError> {
    let found = rt.tree.resolve(address);
    let found = found.map_err(|e| state_error(e, "failed to resolve an address"))?;
    found
        .map(Address::new_id)
        .ok_or_else(|| ActorError::illegal_argument(format!("unable to resolve {what}: {address}")))
}

pub(super) fn change_worker(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: ChangeWorkerAddressParams,
) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let limit = rt.policy.max_control_addresses;
    if params.new_control_addresses.len() > limit {
        return Err(ActorError::illegal_argument(format!(
            "control addresses length {} exceeds max control addresses length {limit}",
            params.new_control_addresses.len()
        )));
    }
    let worker = Address::new_id(worker_account(rt.tree, &params.new_worker)?);
    let control = params.new_control_addresses.iter();
    let control = control.map(|address| resolved(rt, "control address", address));
    let control: Vec<Address> = control.collect::<Result<_, _>>()?;
    let mut info = info(rt, state)?;
    only(rt, &[info.owner])?;
    info.control_addresses = control;
    if worker != info.worker && info.pending_worker_key.is_none() {
        info.pending_worker_key = Some(WorkerKeyChange {
            new_worker: worker,
            effective_at: rt.epoch + rt.policy.worker_key_change_delay,
        });
    }
    save(rt, state, &info)
}

pub(super) fn confirm_worker(rt: &mut Runtime<'_>, state: &mut State) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let mut info = info(rt, state)?;
    only(rt, &[info.owner])?;
    match &info.pending_worker_key {
        Some(change) if rt.epoch >= change.effective_at => {
            info.worker = change.new_worker;
            info.pending_worker_key = None;
            save(rt, state, &info)
        }
        _ => nothing(),
    }
}

pub(super) fn change_owner(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: ChangeOwnerAddressParams,
) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let new = params.new_owner;
    if new.protocol() != Protocol::ID {
        let why = "owner address must be an ID address";
        return Err(ActorError::illegal_argument(why.into()));
    }
    let mut info = info(rt, state)?;
    match info.pending_owner_address {
        Some(named) if Address::new_id(rt.caller) != info.owner => {
            only(rt, &[named])?;
            if new != named {
                return Err(ActorError::illegal_argument(format!(
                    "expected confirmation of {named} got {new}"
                )));
            }
            if info.beneficiary == info.owner {
                info.beneficiary = named;
            }
            info.pending_beneficiary_term = None;
            info.owner = named;
        }
        _ => {
            only(rt, &[info.owner])?;
            info.pending_owner_address = Some(new);
        }
    }
    if info.pending_owner_address == Some(info.owner) {
        info.pending_owner_address = None;
    }
    save(rt, state, &info)
}

/// A change that an owner proposes.
fn proposed(
    rt: &Runtime<'_>,
    info: &MinerInfo,
    new: Address,
    params: &ChangeBeneficiaryParams,
) -> Result<PendingBeneficiaryChange, ActorError> {
    let (quota, expiration) = (params.new_quota.clone(), params.new_expiration);
    let wrong = |why: String| Err(ActorError::illegal_argument(why));
    if new != info.owner && !quota.is_positive() {
        return wrong(format!("beneficial quota {quota} must bigger than zero"));
    }
    if new == info.owner && !quota.is_zero() {
        return wrong(format!("owner beneficial quota {quota} must be zero"));
    }
    if new == info.owner && expiration != 0 {
        return wrong(format!(
            "owner beneficial expiration {expiration} must be zero"
        ));
    }
    let mut change = PendingBeneficiaryChange::new(new, quota, expiration);
    change.approved_by_beneficiary = info.beneficiary_term.available(rt.epoch).is_zero();
    Ok(change)
}

/// Whether these are the terms of the change that is confirmed.
fn agreed(
    change: &PendingBeneficiaryChange,
    new: Address,
    params: &ChangeBeneficiaryParams,
) -> Result<(), ActorError> {
    let differs = if change.new_beneficiary != new {
        format!(
            "new beneficiary address must be equal expect {}, but got {}",
            change.new_beneficiary, params.new_beneficiary
        )
    } else if change.new_quota != params.new_quota {
        format!(
            "new beneficiary quota must be equal expect {}, but got {}",
            change.new_quota, params.new_quota
        )
    } else if change.new_expiration != params.new_expiration {
        format!(
            "new beneficiary expire date must be equal expect {}, but got {}",
            change.new_expiration, params.new_expiration
        )
    } else {
        return Ok(());
    };
    Err(ActorError::illegal_argument(differs))
}

pub(super) fn change_beneficiary(
    rt: &mut Runtime<'_>,
    state: &mut State,
    params: ChangeBeneficiaryParams,
) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let caller = Address::new_id(rt.caller);
    let new = resolved(rt, "address", &params.new_beneficiary)?;
    let mut info = info(rt, state)?;
    let mut change = match info.pending_beneficiary_term.take() {
        _ if caller == info.owner => proposed(rt, &info, new, &params)?,
        Some(change) => {
            if caller != info.beneficiary && caller != change.new_beneficiary {
                return Err(ActorError::forbidden(format!(
                    "message caller {caller} is neither proposal beneficiary{} nor current beneficiary{}",
                    params.new_beneficiary, info.beneficiary
                )));
            }
            agreed(&change, new, &params)?;
            change
        }
        None => {
            let why = "No changeBeneficiary proposal exists";
            return Err(ActorError::forbidden(why.into()));
        }
    };
    change.approved_by_beneficiary |= caller == info.beneficiary;
    change.approved_by_nominee |= caller == new;
    if change.approved_by_beneficiary && change.approved_by_nominee {
        if new != info.beneficiary {
            info.beneficiary_term = BeneficiaryTerm::default();
        }
        info.beneficiary = new;
        info.beneficiary_term.quota = change.new_quota;
        info.beneficiary_term.expiration = change.new_expiration;
    } else {
        info.pending_beneficiary_term = Some(change);
    }
    save(rt, state, &info)
}
