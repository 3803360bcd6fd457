//! What an operator asks and orders of a miner's actor: its addresses, and its money.

use damocles_types::{ActorId, Epoch};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// An order. Addresses are written in any form that the chain knows, amounts in attoFIL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase", deny_unknown_fields)]
pub enum ActorOrder {
    /// Gives it money, from any address whose key is at hand.
    AddBalance { from: String, amount: String },
    /// Takes money that it may spend to its beneficiary (WithdrawBalance, method 16). `amount` None:
    /// all; `by_beneficiary`: the beneficiary asks for it, and not the owner.
    Withdraw {
        amount: Option<String>,
        by_beneficiary: bool,
    },
    /// Pays its fee debt (RepayDebt, method 22). `amount` None: all; `from` None: by its owner.
    RepayDebt {
        amount: Option<String>,
        from: Option<String>,
    },
    /// Names another owner, or confirms it (ChangeOwnerAddress, method 23): the owner of now is the
    /// first `from`, the new one the second.
    SetOwner { new: String, from: String },
    /// Sets its control addresses; none but these remain (ChangeWorkerAddress, method 3).
    SetControl { addresses: Vec<String> },
    /// Names another worker, which takes over some epochs later when it is confirmed (method 3).
    ProposeWorker { worker: String },
    /// Confirms the worker that was named (ConfirmChangeWorkerAddress, method 21).
    ConfirmWorker { worker: String },
    /// Names who gets what is withdrawn, so much of it and until that epoch (ChangeBeneficiary,
    /// method 30). `overwrite`: also if another one is named and not confirmed yet.
    ProposeBeneficiary {
        beneficiary: String,
        quota: String,
        expiration: Epoch,
        overwrite: bool,
    },
    /// Confirms the beneficiary that was named (method 30): as the one of now, or as the new one.
    ConfirmBeneficiary { by_new: bool },
    /// Marks all sector numbers below one as used, so that the chain keeps them in fewer bytes
    /// (CompactSectorNumbers, method 20): those below `below`, or all up to the last that is used but
    /// for so many.
    CompactNumbers {
        below: Option<u64>,
        but_last: Option<u64>,
    },
}

/// What becomes of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActorOrderView {
    pub miner: ActorId,
    /// In words: `withdraw 3 FIL to t0100`.
    pub what: String,
    /// What has to be done afterwards, if something has.
    pub then: Option<String>,
    pub from: String,
    /// What goes along with the message, in FIL.
    pub value: String,
    /// What the actor would say of it now: the gas that it takes, or why it refuses.
    pub tried: String,
    /// The message; None: it was only asked what would follow.
    pub message: Option<String>,
}

/// An address of a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressView {
    /// `owner`, `worker`, `control-0` …, `beneficiary`.
    pub role: String,
    pub address: String,
    /// The address of its key; None: it is no account.
    pub key: Option<String>,
    /// Who has the key: `key store`, `node`, `messager`, `nobody` or `unknown`.
    pub signer: String,
    /// In FIL; None: there is no such actor.
    pub balance: Option<String>,
    /// For what it is among the configured senders: `precommit`, `prove`, `post`.
    pub sends: Vec<String>,
}

/// Who may act for a miner, and what is about to change of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressesView {
    pub miner: ActorId,
    pub epoch: Epoch,
    /// In FIL.
    pub balance: String,
    /// What of it may be spent; less than nothing: the miner owes fees.
    pub available: String,
    pub addresses: Vec<AddressView>,
    /// Changes that wait to be confirmed.
    pub pending: Vec<String>,
}

#[rpc(client, server, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesActor {
    /// Who may act for a miner, with which keys and what money.
    #[method(name = "MinerAddresses")]
    async fn miner_addresses(&self, miner: ActorId) -> RpcResult<AddressesView>;

    /// Orders something of a miner's actor; or tells what would follow, where it is not really to be
    /// done. Asked once more while it is on its way, it is the same message; asked with the id that
    /// its message is to have (a UUID), it is so for ever.
    #[method(name = "OrderActor")]
    async fn order_actor(
        &self,
        miner: ActorId,
        order: ActorOrder,
        really: bool,
        id: Option<String>,
    ) -> RpcResult<ActorOrderView>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_on_the_wire() {
        for (order, text) in [
            (
                ActorOrder::ConfirmWorker {
                    worker: "t0103".into(),
                },
                r#"{"ConfirmWorker":{"Worker":"t0103"}}"#,
            ),
            (
                ActorOrder::Withdraw {
                    amount: None,
                    by_beneficiary: true,
                },
                r#"{"Withdraw":{"Amount":null,"ByBeneficiary":true}}"#,
            ),
            (
                ActorOrder::SetControl {
                    addresses: vec!["t0101".into()],
                },
                r#"{"SetControl":{"Addresses":["t0101"]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&order).unwrap(), text);
            assert_eq!(serde_json::from_str::<ActorOrder>(text).unwrap(), order);
        }
    }
}
