//! What an order of a person means to a miner's actor: the message, who sends it, and what has to
//! follow; or why it makes no sense. Pure, on what was read of the chain at one tipset.

use damocles_node::MinerInfo;
use damocles_types::Epoch;
use fil_actor_miner_state::v18::{
    ChangeBeneficiaryParams, ChangeOwnerAddressParams, ChangeWorkerAddressParams,
    CompactSectorNumbersParams, Method, WithdrawBalanceParams,
};
use fvm_ipld_bitfield::{BitField, iter::Ranges};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{METHOD_SEND, MethodNum, address::Address, econ::TokenAmount};
use serde::Serialize;

/// An order whose addresses are IDs of actors that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    AddBalance {
        from: Address,
        amount: TokenAmount,
    },
    Withdraw {
        amount: Option<TokenAmount>,
        by_beneficiary: bool,
    },
    RepayDebt {
        amount: Option<TokenAmount>,
        from: Option<Address>,
    },
    SetOwner {
        new: Address,
        from: Address,
    },
    SetControl {
        addresses: Vec<Address>,
    },
    ProposeWorker {
        worker: Address,
    },
    ConfirmWorker {
        worker: Address,
    },
    ProposeBeneficiary {
        beneficiary: Address,
        quota: TokenAmount,
        expiration: Epoch,
        overwrite: bool,
    },
    ConfirmBeneficiary {
        by_new: bool,
    },
    CompactNumbers {
        below: u64,
    },
}

/// A miner at a tipset.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) info: MinerInfo,
    /// Less than nothing: it owes fees.
    pub(super) available: TokenAmount,
    pub(super) height: Epoch,
}

/// What an order writes anew from what it is now: of two that are on their way at a time, the second
/// would take back what the first one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    /// Worker and control addresses, which go in one message.
    Addresses,
    Owner,
    Beneficiary,
    Debt,
}

/// What a message to the actor changes of that kind.
pub(super) fn changes(method: MethodNum) -> Option<Thing> {
    let is = |known: Method| method == known as MethodNum;
    if is(Method::ChangeWorkerAddress) || is(Method::ConfirmChangeWorkerAddress) {
        Some(Thing::Addresses)
    } else if is(Method::ChangeOwnerAddress) {
        Some(Thing::Owner)
    } else if is(Method::ChangeBeneficiary) {
        Some(Thing::Beneficiary)
    } else if is(Method::RepayDebt) {
        Some(Thing::Debt)
    } else {
        None
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) from: Address,
    pub(super) method: MethodNum,
    pub(super) params: RawBytes,
    pub(super) value: TokenAmount,
    /// In words.
    pub(super) what: String,
    /// What has to be done when it has landed.
    pub(super) then: Option<String>,
}

/// Why an order makes no sense, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Senseless(String);

fn senseless<T>(why: impl Into<String>) -> Result<T, Senseless> {
    Err(Senseless(why.into()))
}

fn encoded(params: &impl Serialize) -> Result<RawBytes, Senseless> {
    RawBytes::serialize(params)
        .map_err(|e| Senseless(format!("the parameters cannot be encoded: {e}")))
}

fn positive(amount: &TokenAmount) -> Result<(), Senseless> {
    match amount.is_positive() {
        true => Ok(()),
        false => senseless("an amount has to be more than nothing"),
    }
}

/// A message to the actor without money.
fn call(
    from: Address,
    method: Method,
    params: RawBytes,
    what: String,
    then: Option<String>,
) -> Planned {
    Planned {
        from,
        method: method as MethodNum,
        params,
        value: TokenAmount::default(),
        what,
        then,
    }
}

fn withdraw(
    state: &State,
    amount: Option<TokenAmount>,
    by_beneficiary: bool,
) -> Result<Planned, Senseless> {
    let State {
        info, available, ..
    } = state;
    if !available.is_positive() {
        return senseless(format!(
            "there is nothing to withdraw: the miner may spend {available} FIL"
        ));
    }
    let amount_requested = amount.unwrap_or_else(|| available.clone());
    positive(&amount_requested)?;
    if amount_requested > *available {
        return senseless(format!(
            "{amount_requested} FIL are more than the {available} FIL that the miner may spend"
        ));
    }
    let what = format!("withdraw {amount_requested} FIL to {}", info.beneficiary);
    let from = match by_beneficiary {
        true => info.beneficiary,
        false => info.owner,
    };
    let params = encoded(&WithdrawBalanceParams { amount_requested })?;
    Ok(call(from, Method::WithdrawBalance, params, what, None))
}

fn repay(
    state: &State,
    amount: Option<TokenAmount>,
    from: Option<Address>,
) -> Result<Planned, Senseless> {
    let debt = -state.available.clone();
    if !debt.is_positive() {
        return senseless("the miner owes no fees");
    }
    let value = amount.unwrap_or_else(|| debt.clone());
    positive(&value)?;
    Ok(Planned {
        from: from.unwrap_or(state.info.owner),
        method: Method::RepayDebt as MethodNum,
        params: RawBytes::default(),
        what: format!("pay {value} FIL of the {debt} FIL that are owed"),
        value,
        then: None,
    })
}

fn set_owner(info: &MinerInfo, new: Address, from: Address) -> Result<Planned, Senseless> {
    if new == info.owner && info.pending_owner_address.is_none() {
        return senseless(format!("{new} is the miner's owner already"));
    }
    let (what, then) = if from == info.owner {
        let what = match new == info.owner {
            true => "take back the change of its owner".to_owned(),
            false => format!("name {new} as its next owner"),
        };
        let then = format!(
            "{new} has to confirm it: `damocles-manager util sealer actor --miner M set-owner {new} {new}`"
        );
        (what, (new != info.owner).then_some(then))
    } else {
        match info.pending_owner_address {
            None => {
                return senseless(format!(
                    "the owner {} has to name the new one first; the order is to come from it",
                    info.owner
                ));
            }
            Some(named) if named != new || from != new => {
                return senseless(format!(
                    "{named} is named as the next owner, and {new} cannot confirm that"
                ));
            }
            Some(_) => (format!("make {new} its owner"), None),
        }
    };
    let params = encoded(&ChangeOwnerAddressParams { new_owner: new })?;
    Ok(call(from, Method::ChangeOwnerAddress, params, what, then))
}

fn list(addresses: &[Address]) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

fn set_control(info: &MinerInfo, addresses: Vec<Address>) -> Result<Planned, Senseless> {
    if let Some((_, twice)) =
        (addresses.iter().enumerate()).find(|(i, address)| addresses[..*i].contains(address))
    {
        return senseless(format!("{twice} is named twice"));
    }
    if addresses == info.control_addresses {
        return senseless("these are the miner's control addresses already");
    }
    let what = format!(
        "set its control addresses to {} (now: {})",
        list(&addresses),
        list(&info.control_addresses)
    );
    let params = encoded(&ChangeWorkerAddressParams {
        new_worker: info.worker,
        new_control_addresses: addresses,
    })?;
    let method = Method::ChangeWorkerAddress;
    Ok(call(info.owner, method, params, what, None))
}

fn propose_worker(info: &MinerInfo, worker: Address) -> Result<Planned, Senseless> {
    if worker == info.worker {
        return senseless(format!("{worker} is the miner's worker already"));
    }
    if let Some(named) = info.new_worker {
        return senseless(format!(
            "{named} is named as the next worker already, for epoch {}; confirm that first",
            info.worker_change_epoch
        ));
    }
    let params = encoded(&ChangeWorkerAddressParams {
        new_worker: worker,
        new_control_addresses: info.control_addresses.clone(),
    })?;
    let what = format!("name {worker} as its next worker (now: {})", info.worker);
    let then = format!(
        "`damocles-manager util sealer actor --miner M control list` tells from when on it may be confirmed: `damocles-manager util sealer actor --miner M confirm-change-worker {worker}`"
    );
    let method = Method::ChangeWorkerAddress;
    Ok(call(info.owner, method, params, what, Some(then)))
}

fn confirm_worker(state: &State, worker: Address) -> Result<Planned, Senseless> {
    let info = &state.info;
    let Some(named) = info.new_worker else {
        return senseless(
            "no other worker is named; `damocles-manager util sealer actor --miner M propose-change-worker` names one",
        );
    };
    if named != worker {
        return senseless(format!(
            "{named} is named as the next worker, and not {worker}"
        ));
    }
    let at = info.worker_change_epoch;
    if state.height < at {
        let left = at - state.height;
        return senseless(format!(
            "the next worker may be confirmed from epoch {at} on, in {left} epochs"
        ));
    }
    let what = format!("make {worker} its worker");
    let method = Method::ConfirmChangeWorkerAddress;
    let params = RawBytes::default();
    Ok(call(info.owner, method, params, what, None))
}

fn propose_beneficiary(
    state: &State,
    (beneficiary, quota, expiration): (Address, TokenAmount, Epoch),
    overwrite: bool,
) -> Result<Planned, Senseless> {
    let info = &state.info;
    let back = beneficiary == info.owner;
    if !back {
        positive(&quota)?;
        if expiration <= state.height {
            return senseless(format!(
                "an expiration of epoch {expiration} lies behind the head"
            ));
        }
    }
    if let Some(pending) = &info.pending_beneficiary_term
        && !overwrite
    {
        return senseless(format!(
            "{} is named as beneficiary and not confirmed; say --overwrite-pending-change to name another one",
            pending.new_beneficiary
        ));
    }
    let (what, params) = if back {
        // the actor takes a return to the owner with no other terms
        let what = format!("make its owner {beneficiary} its beneficiary again");
        let none = TokenAmount::default();
        (what, ChangeBeneficiaryParams::new(beneficiary, none, 0))
    } else {
        let what = format!(
            "name {beneficiary} as its beneficiary, of {quota} FIL until epoch {expiration}"
        );
        let params = ChangeBeneficiaryParams::new(beneficiary, quota, expiration);
        (what, params)
    };
    let then = "the new one has to confirm it, and the one of now too where it is not the owner: `damocles-manager util sealer actor --miner M confirm-change-beneficiary`";
    let params = encoded(&params)?;
    let then = Some(then.to_owned());
    let method = Method::ChangeBeneficiary;
    Ok(call(info.owner, method, params, what, then))
}

fn confirm_beneficiary(info: &MinerInfo, by_new: bool) -> Result<Planned, Senseless> {
    let Some(pending) = &info.pending_beneficiary_term else {
        return senseless(
            "no other beneficiary is named; `damocles-manager util sealer actor --miner M propose-change-beneficiary` names one",
        );
    };
    let new = pending.new_beneficiary;
    let (from, open) = match by_new {
        true => (new, !pending.approved_by_beneficiary),
        false => (info.beneficiary, !pending.approved_by_nominee),
    };
    let params = encoded(&ChangeBeneficiaryParams::new(
        new,
        pending.new_quota.clone(),
        pending.new_expiration,
    ))?;
    let what = format!(
        "confirm {new} as its beneficiary, of {} FIL until epoch {}",
        pending.new_quota, pending.new_expiration
    );
    let then = open.then(|| "the other one of the two has to confirm it too".to_owned());
    let method = Method::ChangeBeneficiary;
    Ok(call(from, method, params, what, then))
}

/// What the order means, or why it means nothing.
pub(super) fn plan(order: Order, state: &State) -> Result<Planned, Senseless> {
    let info = &state.info;
    match order {
        Order::AddBalance { from, amount } => {
            positive(&amount)?;
            Ok(Planned {
                from,
                method: METHOD_SEND,
                params: RawBytes::default(),
                what: format!("give it {amount} FIL from {from}"),
                value: amount,
                then: None,
            })
        }
        Order::Withdraw {
            amount,
            by_beneficiary,
        } => withdraw(state, amount, by_beneficiary),
        Order::RepayDebt { amount, from } => repay(state, amount, from),
        Order::SetOwner { new, from } => set_owner(info, new, from),
        Order::SetControl { addresses } => set_control(info, addresses),
        Order::ProposeWorker { worker } => propose_worker(info, worker),
        Order::ConfirmWorker { worker } => confirm_worker(state, worker),
        Order::ProposeBeneficiary {
            beneficiary,
            quota,
            expiration,
            overwrite,
        } => propose_beneficiary(state, (beneficiary, quota, expiration), overwrite),
        Order::ConfirmBeneficiary { by_new } => confirm_beneficiary(info, by_new),
        Order::CompactNumbers { below } => {
            if below == 0 {
                return senseless("no number lies below 0");
            }
            let numbers = Ranges::new(std::iter::once(0..below));
            let params = encoded(&CompactSectorNumbersParams {
                mask_sector_numbers: BitField::from_ranges(numbers),
            })?;
            let what = format!("mark all sector numbers below {below} as used, for ever");
            let method = Method::CompactSectorNumbers;
            Ok(call(info.owner, method, params, what, None))
        }
    }
}
