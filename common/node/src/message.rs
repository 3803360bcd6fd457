//! Messages, how they are sent, and what became of them.

use crate::{TipSetKey, wire};
use cid::Cid;
use fvm_ipld_encoding::{RawBytes, to_vec};
use fvm_shared::{
    METHOD_SEND, MethodNum,
    address::Address,
    clock::ChainEpoch,
    crypto::signature::{Signature, SignatureType},
    econ::TokenAmount,
    message::Message as ChainMessage,
};
use multihash_codetable::{Code, MultihashDigest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An unsigned message. On output JSON has a further key `CID` (of the unsigned message); on
/// input that key is ignored and everything but `To` and `From` may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub version: u64,
    pub to: Address,
    pub from: Address,
    pub nonce: u64,
    pub value: TokenAmount,
    /// Units of gas; 0 asks the node to estimate it.
    pub gas_limit: i64,
    /// attoFIL per unit of gas; 0 asks the node to estimate it.
    pub gas_fee_cap: TokenAmount,
    /// attoFIL per unit of gas; 0 asks the node to estimate it.
    pub gas_premium: TokenAmount,
    pub method: MethodNum,
    pub params: RawBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageJson {
    #[serde(default)]
    version: u64,
    #[serde(with = "wire")]
    to: Address,
    #[serde(with = "wire")]
    from: Address,
    #[serde(default)]
    nonce: u64,
    #[serde(with = "wire", default)]
    value: TokenAmount,
    #[serde(default)]
    gas_limit: i64,
    #[serde(with = "wire", default)]
    gas_fee_cap: TokenAmount,
    #[serde(with = "wire", default)]
    gas_premium: TokenAmount,
    #[serde(default)]
    method: MethodNum,
    #[serde(with = "wire", default)]
    params: RawBytes,
    #[serde(rename = "CID", skip_deserializing, default, with = "wire")]
    cid: Option<Cid>,
}

impl Message {
    /// A message with everything left to the node: nonce, gas and fees are 0.
    pub fn new(
        from: Address,
        to: Address,
        value: TokenAmount,
        method: MethodNum,
        params: RawBytes,
    ) -> Self {
        Self {
            version: 0,
            to,
            from,
            nonce: 0,
            value,
            gas_limit: 0,
            gas_fee_cap: TokenAmount::default(),
            gas_premium: TokenAmount::default(),
            method,
            params,
        }
    }

    /// A plain transfer of funds.
    pub fn send(from: Address, to: Address, value: TokenAmount) -> Self {
        Self::new(from, to, value, METHOD_SEND, RawBytes::default())
    }

    /// The bytes that stand on chain (CBOR tuple). A negative gas limit, which no chain takes,
    /// encodes as 0.
    pub fn encode(&self) -> Vec<u8> {
        // A tuple of integers, byte strings and addresses always encodes.
        to_vec(&ChainMessage::from(self.clone())).unwrap_or_default()
    }

    /// The CID of the unsigned message (DAG-CBOR, blake2b-256); also what a key signs.
    pub fn cid(&self) -> Cid {
        chain_cid(&self.encode())
    }
}

/// The CID that the chain gives to an object with these DAG-CBOR bytes.
pub fn chain_cid(bytes: &[u8]) -> Cid {
    Cid::new_v1(fvm_ipld_encoding::DAG_CBOR, Code::Blake2b256.digest(bytes))
}

impl From<ChainMessage> for Message {
    fn from(m: ChainMessage) -> Self {
        Self {
            version: m.version,
            to: m.to,
            from: m.from,
            nonce: m.sequence,
            value: m.value,
            gas_limit: i64::try_from(m.gas_limit).unwrap_or(i64::MAX),
            gas_fee_cap: m.gas_fee_cap,
            gas_premium: m.gas_premium,
            method: m.method_num,
            params: m.params,
        }
    }
}

impl From<Message> for ChainMessage {
    fn from(m: Message) -> Self {
        Self {
            version: m.version,
            to: m.to,
            from: m.from,
            sequence: m.nonce,
            value: m.value,
            gas_limit: u64::try_from(m.gas_limit).unwrap_or(0),
            gas_fee_cap: m.gas_fee_cap,
            gas_premium: m.gas_premium,
            method_num: m.method,
            params: m.params,
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let m = self.clone();
        MessageJson {
            cid: Some(self.cid()),
            version: m.version,
            to: m.to,
            from: m.from,
            nonce: m.nonce,
            value: m.value,
            gas_limit: m.gas_limit,
            gas_fee_cap: m.gas_fee_cap,
            gas_premium: m.gas_premium,
            method: m.method,
            params: m.params,
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let m = MessageJson::deserialize(d)?;
        Ok(Self {
            version: m.version,
            to: m.to,
            from: m.from,
            nonce: m.nonce,
            value: m.value,
            gas_limit: m.gas_limit,
            gas_fee_cap: m.gas_fee_cap,
            gas_premium: m.gas_premium,
            method: m.method,
            params: m.params,
        })
    }
}

/// A signed message. On output JSON has a further key `CID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    pub message: Message,
    pub signature: Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SignedJson {
    message: Message,
    #[serde(with = "wire")]
    signature: Signature,
    #[serde(rename = "CID", skip_deserializing, default, with = "wire")]
    cid: Option<Cid>,
}

impl SignedMessage {
    /// The name under which the chain knows the message: for BLS the CID of the unsigned
    /// message (the signature is aggregated away), for secp256k1 that of the signed one.
    pub fn cid(&self) -> Cid {
        match self.signature.sig_type {
            SignatureType::BLS => self.message.cid(),
            SignatureType::Secp256k1 => {
                let pair = (ChainMessage::from(self.message.clone()), &self.signature);
                chain_cid(&to_vec(&pair).unwrap_or_default())
            }
        }
    }
}

impl Serialize for SignedMessage {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        SignedJson {
            message: self.message.clone(),
            signature: self.signature.clone(),
            cid: Some(self.cid()),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for SignedMessage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = SignedJson::deserialize(d)?;
        Ok(Self {
            message: s.message,
            signature: s.signature,
        })
    }
}

/// How `MpoolPushMessage` and `GasEstimateMessageGas` may spend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendSpec {
    /// Most attoFIL that the gas of this message may cost; 0 leaves it to the node.
    #[serde(with = "wire", default)]
    pub max_fee: TokenAmount,
    /// Makes a push idempotent: the same id brings the same signed message back. The nil id
    /// means none.
    #[serde(default)]
    pub msg_uuid: uuid::Uuid,
    /// Derive the fee cap from `max_fee` alone.
    #[serde(default)]
    pub maximize_fee_cap: bool,
}

/// What executing a message gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageReceipt {
    /// 0 is success; below 16 system codes, from 16 on codes of the actor.
    pub exit_code: i64,
    #[serde(with = "wire")]
    pub r#return: RawBytes,
    pub gas_used: i64,
    #[serde(with = "wire", default)]
    pub events_root: Option<Cid>,
}

/// Where a message was executed (`StateSearchMsg`, `StateWaitMsg`). With `allowReplaced` the
/// message may be another one than asked for (same sender and nonce, other gas): compare it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MsgLookup {
    #[serde(with = "wire")]
    pub message: Cid,
    pub receipt: MessageReceipt,
    /// The return value decoded by the node, in a form that differs between nodes.
    #[serde(default)]
    pub return_dec: serde_json::Value,
    /// The tipset *after* the one that holds the message: its parent state has the effect.
    pub tip_set: TipSetKey,
    pub height: ChainEpoch,
}

/// A message executed without going on chain (`StateCall`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvocResult {
    #[serde(with = "wire")]
    pub msg_cid: Cid,
    pub msg: Message,
    pub msg_rct: Option<MessageReceipt>,
    pub gas_cost: MessageGasCost,
    pub execution_trace: Option<ExecutionTrace>,
    /// Empty on success.
    pub error: String,
    /// Nanoseconds.
    pub duration: u64,
}

/// Who paid what for the gas of a message; all in attoFIL, `gas_used` too (as in Go).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageGasCost {
    #[serde(with = "wire")]
    pub message: Option<Cid>,
    #[serde(with = "wire")]
    pub gas_used: TokenAmount,
    #[serde(with = "wire")]
    pub base_fee_burn: TokenAmount,
    #[serde(with = "wire")]
    pub over_estimation_burn: TokenAmount,
    #[serde(with = "wire")]
    pub miner_penalty: TokenAmount,
    #[serde(with = "wire")]
    pub miner_tip: TokenAmount,
    #[serde(with = "wire")]
    pub refund: TokenAmount,
    #[serde(with = "wire")]
    pub total_cost: TokenAmount,
}

/// The call tree of an executed message; only what the house reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecutionTrace {
    pub msg: MessageTrace,
    pub msg_rct: ReturnTrace,
    #[serde(default)]
    pub invoked_actor: Option<serde_json::Value>,
    #[serde(
        default,
        serialize_with = "wire::or_null",
        deserialize_with = "wire::or_empty"
    )]
    pub gas_charges: Vec<serde_json::Value>,
    #[serde(
        default,
        serialize_with = "wire::or_null",
        deserialize_with = "wire::or_empty"
    )]
    pub subcalls: Vec<ExecutionTrace>,
}

/// A call inside an [`ExecutionTrace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageTrace {
    #[serde(with = "wire")]
    pub from: Address,
    #[serde(with = "wire")]
    pub to: Address,
    #[serde(with = "wire")]
    pub value: TokenAmount,
    pub method: MethodNum,
    #[serde(with = "wire")]
    pub params: RawBytes,
    pub params_codec: u64,
    #[serde(default)]
    pub gas_limit: u64,
    #[serde(default)]
    pub read_only: bool,
}

/// The outcome of a call inside an [`ExecutionTrace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReturnTrace {
    pub exit_code: i64,
    #[serde(with = "wire")]
    pub r#return: RawBytes,
    pub return_codec: u64,
}
