//! `Damocles.*` about chain messages, as operators' commands call it.

use crate::{damocles::MessageView, sector::CidJson};
use damocles_types::Epoch;
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// One attempt at getting a message on chain: of several one at most is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttemptView {
    pub cid: CidJson,
    pub nonce: u64,
    /// Head epoch when it was given up; None: it is the present one.
    pub until: Option<Epoch>,
}

/// The gas of a message; prices are FIL per unit of gas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GasView {
    pub limit: i64,
    pub fee_cap: String,
    pub premium: String,
    /// FIL: limit times cap, which the sender must have.
    pub at_most: String,
    pub used: Option<i64>,
}

/// Everything that there is of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageDetail {
    #[serde(flatten)]
    pub message: MessageView,
    pub from: String,
    pub to: String,
    /// FIL that goes with it.
    pub value: String,
    pub method: u64,
    pub gas: Option<GasView>,
    /// Epoch from which on it is pointless.
    pub deadline: Option<Epoch>,
    /// Epochs on top of it before it counts as landed.
    pub confidence: Epoch,
    pub attempts: Vec<AttemptView>,
    /// What a person ordered and was not done yet.
    pub ordered: Option<String>,
    /// How it was made, where there is something to say: whether its proofs are aggregated, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it is to give up its nonce.
    pub withdrawn: Option<String>,
    /// Unix seconds.
    pub failing_since: Option<i64>,
    /// What happens to it next, in a sentence.
    pub next: String,
    /// Nothing more will happen to it.
    pub over: bool,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesMessages {
    /// A message by our id, or by the CID of one that is on its way or ended lately.
    #[method(name = "Message")]
    async fn message(&self, name: String) -> RpcResult<MessageDetail>;

    /// Tries a message again now whose last attempt failed.
    #[method(name = "RetryMessage")]
    async fn retry_message(&self, name: String) -> RpcResult<MessageDetail>;

    /// Makes a message dearer that no block takes; `max_fee` is what it may cost in all, in
    /// attoFIL, None: as configured.
    #[method(name = "ReplaceMessage")]
    async fn replace_message(
        &self,
        name: String,
        max_fee: Option<String>,
    ) -> RpcResult<MessageDetail>;

    /// Takes a message back; one that left gives its nonce to a message of nothing.
    #[method(name = "WithdrawMessage")]
    async fn withdraw_message(&self, name: String, reason: String) -> RpcResult<MessageDetail>;
}
