//! Blocks that a miner won the right to make, and what became of its other rounds.

use crate::sector::CidJson;
use damocles_types::{ActorId, Epoch};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// Milliseconds from the start of the round to the end of each step; null: it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockSteps {
    /// The node told power, sectors and beacon.
    pub base: Option<u64>,
    /// Election proof and ticket were there.
    pub elected: Option<u64>,
    /// The challenged sector was read.
    pub read: Option<u64>,
    pub proven: Option<u64>,
    /// The messages were chosen.
    pub chosen: Option<u64>,
    /// The block was made and signed.
    pub made: Option<u64>,
    /// The node had taken it; it is sent at its time, not before.
    pub sent: Option<u64>,
}

/// A block that was won.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockView {
    /// The epoch of the block.
    pub height: Epoch,
    /// The epoch of the tipset that it builds upon.
    pub base: Epoch,
    /// How often the round was won.
    pub wins: i64,
    /// `Won`, `Signing`, `Signed`, `Sent`, `Included`, `Orphaned`, `Refused`, `Lost`.
    pub state: String,
    pub cid: Option<CidJson>,
    /// Of a lost one: `SlowRead`, `SlowProof`, `NodeLate`, `Stopped`, `Fault`.
    pub lost: Option<String>,
    pub error: Option<String>,
    /// Unix time in seconds at which the round began.
    pub began_at: i64,
    pub steps: BlockSteps,
    /// The manager that took the last step.
    pub by: String,
}

/// A miner's rounds, for `Damocles.Blocks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlocksView {
    pub miner: ActorId,
    /// The first round that is counted, and the last one.
    pub since: Epoch,
    pub last: Epoch,
    /// All that were tried.
    pub tried: u64,
    /// In which the miner had no sector to be proven, or might make no blocks.
    pub not_eligible: u64,
    /// Whose election was lost, which is the rule.
    pub not_won: u64,
    /// Which were over before the election was known.
    pub late: u64,
    /// The wins that a miner of this power could expect in them.
    pub expected: f64,
    /// Newest first.
    pub blocks: Vec<BlockView>,
}

#[rpc(client, server, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesBlocks {
    /// Blocks that a miner won, newest first, at most `limit`, and what became of its other rounds.
    #[method(name = "Blocks")]
    async fn blocks(&self, miner: ActorId, limit: u32) -> RpcResult<BlocksView>;
}
