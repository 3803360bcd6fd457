//! `Damocles.*` about what a miner has to prove: its deadlines, and the sectors that are faulty.

use damocles_types::{ActorId, Epoch, SectorNumber};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A faulty sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaultView {
    pub sector: SectorNumber,
    pub deadline: u64,
    pub partition: u64,
    /// It is declared recovered: the deadline's next WindowPoSt makes it healthy.
    pub recovering: bool,
    /// Why it is not declared recovered, as far as the manager knows.
    pub why: Option<String>,
}

/// The faulty sectors of a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaultsView {
    pub miner: ActorId,
    /// Epoch of the head that the answer is of.
    pub height: Epoch,
    /// FIL of its own that the miner may spend; less than 0: it owes fees, and until they are paid
    /// the chain takes no recovery.
    pub available: String,
    pub faults: Vec<FaultView>,
}

/// A deadline of a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadlineView {
    pub index: u64,
    /// First epoch of its window, the present one or the next.
    pub open: Epoch,
    /// First epoch in which no proof is taken any more.
    pub close: Epoch,
    /// First epoch in which no recovery is taken any more for that window.
    pub fault_cutoff: Epoch,
    pub partitions: u64,
    /// Partitions that are proven in the window that is open.
    pub proven: u64,
    /// Sectors that are not terminated.
    pub live: u64,
    pub faulty: u64,
    pub recovering: u64,
}

/// The deadlines of a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadlinesView {
    pub miner: ActorId,
    /// Epoch of the head that the answer is of.
    pub height: Epoch,
    /// The deadline that is open.
    pub current: u64,
    pub period_start: Epoch,
    pub deadlines: Vec<DeadlineView>,
}

/// What was found of the sectors of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckView {
    /// So many sectors were looked at.
    pub checked: u64,
    /// Those that cannot be proven now, and why.
    pub bad: BTreeMap<SectorNumber, String>,
}

#[rpc(client, server, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesProving {
    /// The faulty sectors of a miner.
    #[method(name = "Faults")]
    async fn faults(&self, miner: ActorId) -> RpcResult<FaultsView>;

    /// The deadlines of a miner.
    #[method(name = "Deadlines")]
    async fn deadlines(&self, miner: ActorId) -> RpcResult<DeadlinesView>;

    /// Looks whether the sectors of a partition could be proven now; `strict`: what a challenge
    /// asks for is read of each.
    #[method(name = "CheckPartition")]
    async fn check_partition(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        strict: bool,
    ) -> RpcResult<CheckView>;
}
