//! What is stored of sectors, messages and workers. Field names are for ever: a record that an
//! older version wrote must load (golden files under `tests/records`); new fields have a default.

use crate::model::{MessageId, MessageKind, UnixMs};
use cid::Cid;
use damocles_api::{
    caller::Caller,
    damocles::{AbortedBy, SectorFate},
    reason::Reason,
    sector::{ReportStateReq, SectorPiece},
    workers::WorkerPing,
};
use damocles_flow::message::MessageState;
use damocles_node::{SignedMessage, TipSetKey, wire};
use damocles_types::{ActorId, Base64, Commitment, Epoch, SealProof, SectorId, Seed, Ticket};
use fvm_shared::{MethodNum, address::Address, econ::TokenAmount};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The version that new records carry.
pub const VERSION: u32 = 1;

/// A sector. It is *online* while a worker has it, *offline* when it is finished or given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectorRecord {
    pub v: u32,
    pub id: SectorId,
    pub proof_type: SealProof,
    pub online: bool,
    pub allocated_at: UnixMs,
    /// The ticket last assigned.
    pub ticket: Option<Ticket>,
    /// The seed last handed out.
    pub seed: Option<Seed>,
    /// Absent for a sector without data.
    pub pieces: Option<Vec<SectorPiece>>,
    pub pre: Option<PreCommit>,
    pub proof: Option<Proof>,
    /// Where the worker stands, as last reported, and when.
    pub report: Option<ReportStateReq>,
    pub reported_at: Option<UnixMs>,
    pub finalized: bool,
    pub removed: bool,
    pub abort_reason: String,
    /// Who ended it before it was finished.
    #[serde(default)]
    pub aborted_by: Option<AbortedBy>,
    /// The sealing thread that has it. None: whoever calls next has it.
    #[serde(default)]
    pub owner: Option<Caller>,
    /// From whom a person took it, until another one has it.
    #[serde(default)]
    pub taken_from: Option<Caller>,
    /// Who else called as if it had the sector.
    #[serde(default)]
    pub claimant: Option<Claimant>,
    /// How often it went to another owner.
    #[serde(default)]
    pub fence: u64,
    /// The id of the request that it was allocated for.
    #[serde(default)]
    pub request: Option<String>,
    /// It is finished, and its branch of the chain is gone: until the chain has it again it is
    /// not told as finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_chain: Option<LeftChain>,
}

/// A finished sector that the chain does not have any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftChain {
    pub since: UnixMs,
    /// What is done about it, or why a person must decide.
    pub why: String,
    /// Nothing brings it back by itself.
    #[serde(default)]
    pub stays: bool,
}

impl SectorRecord {
    /// A sector whose number was just handed out.
    pub fn new(id: SectorId, proof_type: SealProof, now: UnixMs) -> Self {
        Self {
            v: VERSION,
            id,
            proof_type,
            online: true,
            allocated_at: now,
            ticket: None,
            seed: None,
            pieces: None,
            pre: None,
            proof: None,
            report: None,
            reported_at: None,
            finalized: false,
            removed: false,
            abort_reason: String::new(),
            aborted_by: None,
            owner: None,
            taken_from: None,
            claimant: None,
            fence: 0,
            request: None,
            left_chain: None,
        }
    }

    /// Whether there is work left: a worker has it, or it is to come on chain again.
    pub fn in_work(&self) -> bool {
        self.online || self.left_chain.is_some()
    }

    /// Whether it is told as finished: it was, and the chain still has it.
    pub fn is_finished(&self) -> bool {
        self.finalized && self.left_chain.is_none()
    }

    /// What is told of it before anything of it is destroyed.
    pub fn fate(&self) -> SectorFate {
        let aborted = !self.online && !self.finalized;
        SectorFate {
            known: true,
            online: self.in_work(),
            finalized: self.is_finished(),
            aborted_by: aborted.then(|| self.aborted_by.unwrap_or(AbortedBy::Unknown)),
            abort_reason: self.abort_reason.clone(),
            owner: self.owner.clone(),
            fence: self.fence,
        }
    }

    /// How the commitment of that kind travels, if it was submitted.
    pub fn carriage(&self, kind: crate::model::Commitment) -> Option<&Carriage> {
        match kind {
            crate::model::Commitment::PreCommit => self.pre.as_ref().map(|p| &p.carriage),
            crate::model::Commitment::Proof => self.proof.as_ref().map(|p| &p.carriage),
        }
    }

    /// The same, to change it.
    pub fn carriage_mut(&mut self, kind: crate::model::Commitment) -> Option<&mut Carriage> {
        match kind {
            crate::model::Commitment::PreCommit => self.pre.as_mut().map(|p| &mut p.carriage),
            crate::model::Commitment::Proof => self.proof.as_mut().map(|p| &mut p.carriage),
        }
    }
}

/// Somebody who was refused, because another one has the sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// None: it did not say who it is.
    pub caller: Option<Caller>,
    pub at: UnixMs,
}

/// A precommit as the worker submitted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreCommit {
    pub comm_r: Commitment,
    pub comm_d: Commitment,
    pub ticket: Ticket,
    pub carriage: Carriage,
}

/// A proof as the worker submitted it, without its bytes: those lie apart (see
/// [`Db::proof`](super::Db::proof)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// SHA-256 of its bytes, in hex.
    #[serde(default)]
    pub digest: String,
    pub carriage: Carriage,
}

impl Proof {
    pub fn of(bytes: &[u8], carriage: Carriage) -> Self {
        Self {
            digest: digest(bytes),
            carriage,
        }
    }

    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.digest == digest(bytes)
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// How a commitment gets on chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Carriage {
    /// Waits to be put into a message.
    Ready {
        since: UnixMs,
        /// To be sent in a message of its own, because a message failed before.
        alone: bool,
        /// Why it could not be put into a message yet.
        error: Option<String>,
    },
    /// In this message.
    In { message: MessageId },
    /// Found on chain without a message of ours.
    Found,
    /// Cannot go on chain as it was submitted; whoever submitted it decides.
    Dropped {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

/// Limits and factors of a message's fee.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeeRecord {
    pub gas_over_estimation: f64,
    pub gas_over_premium: f64,
    /// attoFIL per unit of gas; 0: as the node estimates.
    #[serde(with = "wire")]
    pub gas_fee_cap: TokenAmount,
    /// attoFIL in all when it is made dearer; 0: no more than `gas_fee_cap` gives.
    #[serde(default, with = "wire")]
    pub max_fee: TokenAmount,
    /// attoFIL of all messages of its kind and miner within a day; 0: no limit.
    #[serde(default, with = "wire")]
    pub max_fee_per_day: TokenAmount,
}

/// The gas fields of a message; amounts are attoFIL per unit of gas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GasRecord {
    pub limit: i64,
    #[serde(with = "wire")]
    pub fee_cap: TokenAmount,
    #[serde(with = "wire")]
    pub premium: TokenAmount,
}

/// A message on its way to the chain, or arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageRecord {
    pub v: u32,
    pub id: MessageId,
    pub kind: MessageKind,
    pub miner: ActorId,
    #[serde(with = "wire")]
    pub from: Address,
    #[serde(with = "wire")]
    pub to: Address,
    #[serde(with = "wire")]
    pub value: TokenAmount,
    pub method: MethodNum,
    /// In the database apart from the rest, and gone some time after its end.
    #[serde(default, skip_serializing_if = "no_bytes")]
    pub params: Base64,
    pub fee: FeeRecord,
    /// Epochs on top before it counts as landed.
    pub confidence: Epoch,
    /// The sectors it carries, in the order of its parameters.
    pub sectors: Vec<SectorId>,
    pub wanted_at: UnixMs,

    pub state: MessageState,
    /// What was offered at the last push; absent before the first.
    pub gas: Option<GasRecord>,
    /// As the node signed it; kept as `params` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedMessage>,
    /// The name by which the chain knows it; after a replacement of the same nonce, the new one.
    #[serde(with = "wire")]
    pub cid: Option<Cid>,
    pub nonce: Option<u64>,
    /// Head epoch at the time of the present attempt's push, or below it if the chain went back:
    /// it cannot have been executed before.
    pub pushed_at: Option<Epoch>,
    /// Epoch of the tipset that executed it.
    pub epoch: Option<Epoch>,
    pub exit_code: Option<i64>,
    /// Kept as `params` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_value: Option<Base64>,
    pub gas_used: Option<i64>,
    /// Tipset that executed it.
    #[serde(default)]
    pub tipset: Option<TipSetKey>,
    /// Epoch from which on it is pointless: it is neither pushed nor pushed again then.
    #[serde(default)]
    pub deadline: Option<Epoch>,
    /// The id under which the node knows the present attempt; absent for the first one, which
    /// has the message's own.
    #[serde(default)]
    pub push_id: Option<uuid::Uuid>,
    /// The present attempt was given to a messager, or may have been, under `push_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrusted: Option<Entrusted>,
    /// Attempts before the present one, oldest first: other messages took their nonces, or the
    /// key store signed anew under the same nonce.
    #[serde(default)]
    pub lost: Vec<LostAttempt>,
    /// Head epoch when its signed bytes went to the node last. `pushed_at` stays.
    #[serde(default)]
    pub sent_at: Option<Epoch>,
    /// Head epoch when the present attempt got its price, if that was after its push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced_at: Option<Epoch>,
    /// What its end on chain cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Paid>,
    /// What a person wants done about it, until it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The message of nothing that is to have its nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal: Option<Withdrawal>,
    /// What people are told of how it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Failed attempts at the present step, in a row.
    pub tries: u32,
    /// How many times in a row the miner's actor said no.
    pub refusals: u32,
    /// Not before this time is the next attempt made.
    pub retry_at: Option<UnixMs>,
    /// What the last failed attempt, or the chain, said; and since when attempts fail.
    pub error: Option<String>,
    pub failing_since: Option<UnixMs>,
}

fn no_bytes(bytes: &Base64) -> bool {
    bytes.0.is_empty()
}

/// A moment, by the chain and by the clock: a node that catches up has many heads within a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    pub head: Epoch,
    pub at: UnixMs,
}

/// What the messager that has a message says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrusted {
    /// Since when it says that it does not know the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Since>,
    /// Since when it says that the message was given up, unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<Since>,
    /// When it had written the refusal that was counted last, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
}

/// An attempt at a message that cannot land any more, unless the chain goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostAttempt {
    #[serde(with = "wire")]
    pub cid: Cid,
    pub nonce: u64,
    /// Head epoch when it was found out.
    pub at: Epoch,
}

/// What a message cost beside its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Days since 1970 (UTC) when that was found out.
    pub day: u32,
    /// attoFIL.
    #[serde(with = "wire")]
    pub fee: TokenAmount,
}

/// What a person wants done about a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Make it dearer now.
    Replace {
        /// attoFIL that it may cost in all; None: as configured.
        #[serde(with = "wire")]
        max_fee: Option<TokenAmount>,
    },
    /// A message of nothing is to have its nonce.
    Withdraw { why: String },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace {
                max_fee: Some(most),
            } => write!(f, "make it dearer, up to {most} FIL"),
            Self::Replace { max_fee: None } => f.write_str("make it dearer"),
            Self::Withdraw { .. } => f.write_str("take it back"),
        }
    }
}

/// A message of nothing from a sender to itself, which uses up a nonce in another one's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub why: String,
    pub signed: SignedMessage,
    /// Head epoch when it got its price.
    pub at: Epoch,
    /// The node has it.
    pub sent: bool,
}

impl MessageRecord {
    /// Whether somebody else may have it already.
    pub fn has_left(&self) -> bool {
        self.gas.is_some() || self.signed.is_some() || self.entrusted.is_some()
    }

    /// The id under which the node knows the present attempt.
    pub fn push_id(&self) -> uuid::Uuid {
        self.push_id.unwrap_or(self.id.0)
    }
}

/// A worker as last heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub v: u32,
    pub ping: WorkerPing,
    /// Unix seconds.
    pub last_ping: i64,
    /// It said that it stops; a later ping takes that back.
    #[serde(default)]
    pub left: bool,
    /// Another address from which a worker of this name pinged.
    #[serde(default)]
    pub twin: Option<Twin>,
}

/// Another address of a worker, or the address of another worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    pub dest: String,
    /// Unix seconds: its last ping.
    pub at: i64,
    /// It pinged again after the other one had: there are two.
    pub certain: bool,
}

/// The value of a message that ended on chain in the list of open ones; the others have none.
#[derive(Serialize, Deserialize)]
pub(in crate::db) struct Landing {
    pub(in crate::db) epoch: Option<Epoch>,
    pub(in crate::db) tipset: Option<TipSetKey>,
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
