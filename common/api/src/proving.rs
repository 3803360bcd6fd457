//! `Damocles.*` about what a miner has to prove: its deadlines, and the sectors that are faulty.

use crate::store::SectorAccessStores;
use damocles_types::{ActorId, Epoch, SectorId, SectorNumber};
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

/// What came of a WindowPoSt that was made for a try; it was sent to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SimulatedView {
    pub miner: ActorId,
    pub deadline: u64,
    pub partition: u64,
    /// What it answers: 32 bytes in hexadecimal digits.
    pub challenge: String,
    /// Sectors that it proves.
    pub sectors: u64,
    /// Those that it had to leave out, and why.
    pub skipped: BTreeMap<SectorNumber, String>,
    /// Milliseconds that it took to look at the sectors and read what the challenge asks for.
    pub reading_ms: u64,
    /// Milliseconds from the prover's task to the verified proof; None: there is no proof.
    pub proving_ms: Option<u64>,
    /// The chain would take it.
    pub verified: bool,
    /// Why there is no good proof, if it is not for the sectors.
    pub error: Option<String>,
}

/// What came of reading a sector as a WinningPoSt does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WinningView {
    pub sector: SectorId,
    /// What was drawn: 32 bytes in hexadecimal digits.
    pub challenge: String,
    pub sealed_file: String,
    pub cache_dir: String,
    /// Milliseconds that it took to read what the challenge asks for, and to check it.
    pub reading_ms: u64,
    /// Why it cannot be proven. None: it can.
    pub error: Option<String>,
}

/// What is known of a deadline's faulty sectors on their way to be declared recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecoveryView {
    pub miner: ActorId,
    pub deadline: u64,
    /// First epoch of the window in which they would be proven again.
    pub open: Epoch,
    /// First epoch in which no declaration is taken any more for that window.
    pub cutoff: Epoch,
    /// `Looking`, `Declared`, `Landed`, `Cleared` (nothing is faulty that is not recovering) or
    /// `Passed`.
    pub state: String,
    /// Sectors that are declared recovered.
    pub declared: Vec<SectorNumber>,
    /// Messages that declare them.
    pub messages: Vec<String>,
    /// Sectors that stay faulty, and why.
    pub faulty: BTreeMap<SectorNumber, String>,
    /// What the last attempt failed of.
    pub error: Option<String>,
}

/// A message that a person ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrderedView {
    /// Its id.
    pub message: String,
    /// From this epoch on it is pointless, and withdrawn where it can be.
    pub until: Epoch,
}

/// Where a sector's files lie, as upstream tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateSector {
    #[serde(rename = "Accesses")]
    pub accesses: SectorAccessStores,
    #[serde(rename = "CacheDirPath")]
    pub cache_dir_path: String,
    #[serde(rename = "SealedSectorPath")]
    pub sealed_sector_path: String,
    /// Within its store.
    #[serde(rename = "CacheDirURI")]
    pub cache_dir_uri: String,
    /// Within its store.
    #[serde(rename = "SealedSectorURI")]
    pub sealed_sector_uri: String,
}

/// What proving a sector needs: what the chain has of it, and where its files lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvingSector {
    /// As `Filecoin.StateSectorGetInfo` answers it.
    pub on_chain: serde_json::Value,
    pub private: PrivateSector,
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

    /// Makes a WindowPoSt of a partition for a challenge of 32 bytes in hexadecimal digits, or any;
    /// `faulty`: of the faulty sectors too. It is verified, and sent to nobody.
    #[method(name = "SimulateWindowPost")]
    async fn simulate_window_post(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        faulty: bool,
        challenge: Option<String>,
    ) -> RpcResult<SimulatedView>;

    /// Reads of a sector what a WinningPoSt asks for, and checks it: of the files that a store is
    /// known to have, or of these, whose paths are those of the manager's host.
    #[method(name = "WinningVanilla")]
    async fn winning_vanilla(
        &self,
        sector: SectorId,
        sealed_file: Option<String>,
        cache_dir: Option<String>,
    ) -> RpcResult<WinningView>;

    /// Has the poster look at the faulty sectors of a deadline at its next head, and declare those
    /// recovered that can be read; what is known of it by now.
    #[method(name = "RecoverFaults")]
    async fn recover_faults(&self, miner: ActorId, deadline: u64) -> RpcResult<RecoveryView>;

    /// Has partitions of a deadline dissolved: what lives in them moves to the others.
    #[method(name = "CompactPartitions")]
    async fn compact_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        partitions: Vec<u64>,
    ) -> RpcResult<OrderedView>;
}
