//! What a node and whoever makes blocks say to each other.

use crate::{
    BeaconEntry, BlockHeader, ElectionProof, PoStProof, SignedMessage, Ticket, TipSetKey, wire,
};
use cid::Cid;
use fvm_shared::{
    address::Address, bigint::BigInt, clock::ChainEpoch, sector::RegisteredSealProof,
};
use serde::{Deserialize, Serialize};

/// A sector that a WinningPoSt is about (go-state-types `proof.ExtendedSectorInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtendedSectorInfo {
    /// Number of the seal proof's type.
    pub seal_proof: i64,
    pub sector_number: u64,
    /// CommR of before an upgrade; None: it was never upgraded.
    #[serde(with = "wire", default)]
    pub sector_key: Option<Cid>,
    #[serde(rename = "SealedCID", with = "wire")]
    pub sealed_cid: Cid,
}

impl ExtendedSectorInfo {
    /// The type of the seal proof.
    pub fn seal_proof(&self) -> RegisteredSealProof {
        self.seal_proof.into()
    }
}

/// What a miner needs to know to try a round (`MinerGetBaseInfo`). The node answers `null` where
/// the miner has no sector that could be proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MiningBaseInfo {
    /// Quality-adjusted power of the miner, some hundred epochs ago.
    #[serde(with = "wire")]
    pub miner_power: BigInt,
    /// The same of the whole network.
    #[serde(with = "wire")]
    pub network_power: BigInt,
    /// Those that the round's WinningPoSt is about.
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub sectors: Vec<ExtendedSectorInfo>,
    /// Key address of the worker, whose BLS key signs everything.
    #[serde(with = "wire")]
    pub worker_key: Address,
    pub sector_size: u64,
    pub prev_beacon_entry: BeaconEntry,
    /// Of the round and of the null rounds before it.
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub beacon_entries: Vec<BeaconEntry>,
    pub eligible_for_mining: bool,
}

impl MiningBaseInfo {
    /// The beacon entry from which the round's randomness is drawn.
    pub fn beacon(&self) -> &BeaconEntry {
        self.beacon_entries
            .last()
            .unwrap_or(&self.prev_beacon_entry)
    }
}

/// What a block is to be made of (`MinerCreateBlock`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockTemplate {
    #[serde(with = "wire")]
    pub miner: Address,
    pub parents: TipSetKey,
    pub ticket: Option<Ticket>,
    pub eproof: Option<ElectionProof>,
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub beacon_values: Vec<BeaconEntry>,
    #[serde(serialize_with = "wire::or_null", deserialize_with = "wire::or_empty")]
    pub messages: Vec<SignedMessage>,
    pub epoch: ChainEpoch,
    /// Unix time in seconds.
    pub timestamp: u64,
    #[serde(
        rename = "WinningPoStProof",
        serialize_with = "wire::or_null",
        deserialize_with = "wire::or_empty"
    )]
    pub winning_post_proof: Vec<PoStProof>,
}

/// A block as it is sent through the network: its header, and its messages by their CIDs (of BLS
/// messages those without their signatures).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockMsg {
    pub header: BlockHeader,
    #[serde(
        serialize_with = "wire::wire_or_null",
        deserialize_with = "wire::deserialize"
    )]
    pub bls_messages: Vec<Cid>,
    #[serde(
        serialize_with = "wire::wire_or_null",
        deserialize_with = "wire::deserialize"
    )]
    pub secpk_messages: Vec<Cid>,
}
