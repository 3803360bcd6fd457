//! Tipsets, blocks and the head-change stream.

use crate::{Message, SignedMessage, TipSetKey, wire};
use cid::Cid;
use fvm_shared::{
    address::Address, bigint::BigInt, clock::ChainEpoch, crypto::signature::Signature,
    econ::TokenAmount,
};
use serde::{Deserialize, Serialize};

/// A tipset: one or more blocks of one height with the same parents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TipSet {
    pub cids: TipSetKey,
    pub blocks: Vec<BlockHeader>,
    pub height: ChainEpoch,
}

impl TipSet {
    /// In attoFIL per unit of gas, for the messages that the next tipset's execution takes from this
    /// one. None: it has no blocks, which no node says.
    pub fn base_fee(&self) -> Option<&TokenAmount> {
        self.blocks.first().map(|block| &block.parent_base_fee)
    }
}

/// A block header. The pointers of the Go type are `Option`s here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockHeader {
    #[serde(with = "wire")]
    pub miner: Address,
    pub ticket: Option<Ticket>,
    pub election_proof: Option<ElectionProof>,
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub beacon_entries: Vec<BeaconEntry>,
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub win_po_st_proof: Vec<PoStProof>,
    #[serde(with = "wire")]
    pub parents: Vec<Cid>,
    #[serde(with = "wire")]
    pub parent_weight: BigInt,
    pub height: ChainEpoch,
    #[serde(with = "wire")]
    pub parent_state_root: Cid,
    #[serde(with = "wire")]
    pub parent_message_receipts: Cid,
    #[serde(with = "wire")]
    pub messages: Cid,
    #[serde(rename = "BLSAggregate", with = "wire", default)]
    pub bls_aggregate: Option<Signature>,
    /// Unix time in seconds.
    pub timestamp: u64,
    #[serde(with = "wire", default)]
    pub block_sig: Option<Signature>,
    pub fork_signaling: u64,
    #[serde(with = "wire")]
    pub parent_base_fee: TokenAmount,
}

/// The ticket of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    #[serde(rename = "VRFProof", with = "wire")]
    pub vrf_proof: Vec<u8>,
}

/// The proof of having won the right to make a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionProof {
    #[serde(rename = "WinCount")]
    pub win_count: i64,
    #[serde(rename = "VRFProof", with = "wire")]
    pub vrf_proof: Vec<u8>,
}

/// One value of the randomness beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BeaconEntry {
    pub round: u64,
    #[serde(with = "wire")]
    pub data: Vec<u8>,
}

/// A proof of spacetime with the number of its type (go-state-types `abi.RegisteredPoStProof`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoStProof {
    #[serde(rename = "PoStProof")]
    pub post_proof: i64,
    #[serde(rename = "ProofBytes", with = "wire")]
    pub proof_bytes: Vec<u8>,
}

/// The messages of one block (`ChainGetBlockMessages`). `cids` names the BLS messages first,
/// then the secp256k1 ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockMessages {
    #[serde(deserialize_with = "wire::or_empty")]
    pub bls_messages: Vec<Message>,
    #[serde(deserialize_with = "wire::or_empty")]
    pub secpk_messages: Vec<SignedMessage>,
    #[serde(with = "wire")]
    pub cids: Vec<Cid>,
}

/// What happened to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The head at the moment of subscribing: always the first message, alone.
    Current,
    /// A tipset was added on top.
    Apply,
    /// A tipset left the chain.
    Revert,
}

/// One step of the head; `ChainNotify` sends arrays of them, reverts first (newest first), then
/// applies (oldest first).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HeadChange {
    pub r#type: ChangeKind,
    pub val: TipSet,
}
