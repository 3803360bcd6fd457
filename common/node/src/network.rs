//! The node and its network: version, parameters, actors.

use crate::{TipSet, wire};
use cid::Cid;
use fvm_shared::{address::Address, bigint::BigInt, clock::ChainEpoch, econ::TokenAmount};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `Version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    #[serde(rename = "Version")]
    pub version: String,
    /// Major, minor and patch in one byte each: 0x00020300 is 2.3.0.
    #[serde(rename = "APIVersion")]
    pub api_version: u32,
    /// Seconds, rounded down.
    #[serde(rename = "BlockDelay")]
    pub block_delay: u64,
    #[serde(rename = "Agent", default)]
    pub agent: String,
}

/// `StateGetNetworkParams`. The names of the upgrades change with every release, so they stay
/// a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkParams {
    pub network_name: String,
    /// Seconds, whole; a test network that is faster says what it rounds to.
    pub block_delay_secs: u64,
    #[serde(with = "wire")]
    pub consensus_miner_min_power: BigInt,
    /// Epochs between a precommit and the randomness of its prove-commit.
    pub pre_commit_challenge_delay: ChainEpoch,
    pub fork_upgrade_params: BTreeMap<String, ChainEpoch>,
    #[serde(rename = "Eip155ChainID", default)]
    pub eip155_chain_id: u64,
    #[serde(default)]
    pub genesis_timestamp: u64,
}

/// `SyncState`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncState {
    #[serde(rename = "ActiveSyncs", deserialize_with = "wire::or_empty")]
    pub active_syncs: Vec<ActiveSync>,
    #[serde(rename = "VMApplied", default)]
    pub vm_applied: u64,
}

/// What one of the node's workers on its chain does. One that rests has neither base nor target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActiveSync {
    #[serde(rename = "WorkerID")]
    pub worker_id: u64,
    pub base: Option<TipSet>,
    /// The head that it works towards.
    pub target: Option<TipSet>,
    /// 0 idle, 1 headers, 2 storing headers, 3 messages, 4 complete, 5 failed, 6 fetching.
    pub stage: u64,
    pub height: ChainEpoch,
    /// RFC 3339; the year 1 for never.
    pub start: String,
    pub end: String,
    pub message: String,
}

/// `StateGetActor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActorState {
    #[serde(with = "wire")]
    pub code: Cid,
    #[serde(with = "wire")]
    pub head: Cid,
    pub nonce: u64,
    #[serde(with = "wire")]
    pub balance: TokenAmount,
    #[serde(with = "wire", default)]
    pub delegated_address: Option<Address>,
}

/// `StateReadState`: the decoded state of an actor, in a form of its own per actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadState {
    #[serde(with = "wire")]
    pub balance: TokenAmount,
    #[serde(with = "wire")]
    pub code: Cid,
    pub state: serde_json::Value,
}

/// `NetAddrsListen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddrInfo {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Addrs")]
    pub addrs: Vec<String>,
}
