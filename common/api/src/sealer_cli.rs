//! `Venus.*` as operators' commands call it.

use crate::{
    post::ExtSector,
    proving::{ProvingSector, SimulatedView},
    sector::{CidJson, SectorState, TerminateInfo},
    store::{FoundInstance, StoreDetailedInfo},
    workers::WorkerPingInfo,
};
use damocles_types::{ActorId, Base64, SectorId, SectorNumber};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use std::collections::BTreeMap;

/// Read side of the operators' interface that this version serves.
#[rpc(server, client, namespace = "Venus", namespace_separator = ".")]
pub trait SealerCli {
    /// Sectors that are `"online"` or `"offline"`; `job`: 0 all, 1 sealing, 2 snapup, 3 rebuild, 4 unseal.
    /// More than 100,000 are refused: `Damocles.Sectors` gives them a page at a time.
    #[method(name = "ListSectors")]
    async fn list_sectors(&self, state: String, job: i64) -> RpcResult<Vec<SectorState>>;

    /// The record of a sector that is `"online"` or `"offline"`.
    #[method(name = "FindSector")]
    async fn find_sector(&self, state: String, sector: SectorId) -> RpcResult<SectorState>;

    /// The record of a sector, wherever it stands.
    #[method(name = "FindSectorInAllStates")]
    async fn find_sector_in_all_states(&self, sector: SectorId) -> RpcResult<SectorState>;

    /// Sectors that are `"online"` or `"offline"` and hold a deal of the builtin market.
    #[method(name = "FindSectorsWithDeal")]
    async fn find_sectors_with_deal(&self, state: String, deal: u64)
    -> RpcResult<Vec<SectorState>>;

    /// A sector that is `"online"` or `"offline"` and holds the piece; null: none does.
    #[method(name = "FindSectorWithPiece")]
    async fn find_sector_with_piece(
        &self,
        state: String,
        piece: CidJson,
    ) -> RpcResult<Option<SectorState>>;

    /// Takes back that a sector was given up: it is in work again, and the next worker that calls
    /// about it has it. One with data, or that is finished, stays as it is, `forced` or not.
    #[method(name = "RestoreSector")]
    async fn restore_sector(&self, sector: SectorId, forced: bool) -> RpcResult<()>;

    /// Says that a sector is finished, of which its worker does not say so any more. It has to be
    /// proven on chain, and its files to be in a store.
    #[method(name = "FinalizeSector")]
    async fn finalize_sector(&self, sector: SectorId) -> RpcResult<()>;

    /// How far the termination of a sector is, from its record.
    #[method(name = "PollTerminateSectorState")]
    async fn poll_terminate_sector_state(&self, sector: SectorId) -> RpcResult<TerminateInfo>;

    /// Sectors of a miner that may be upgraded, by deadline; null: none, for this version
    /// upgrades none.
    #[method(name = "SnapUpCandidates")]
    async fn snap_up_candidates(&self, miner: ActorId) -> RpcResult<Option<Vec<()>>>;

    /// The last ping of a worker; null: the manager never heard of it.
    #[method(name = "WorkerGetPingInfo")]
    async fn worker_get_ping_info(&self, name: String) -> RpcResult<Option<WorkerPingInfo>>;

    /// The last ping of every worker.
    #[method(name = "WorkerPingInfoList")]
    async fn worker_ping_info_list(&self) -> RpcResult<Vec<WorkerPingInfo>>;

    /// Forgets a worker until its next ping.
    #[method(name = "WorkerPingInfoRemove")]
    async fn worker_ping_info_remove(&self, name: String) -> RpcResult<()>;

    /// Persist stores with their space, and what is reserved in them for whom.
    #[method(name = "StoreList")]
    async fn store_list(&self) -> RpcResult<Vec<StoreDetailedInfo>>;

    /// Gives back the space that is reserved for a sector; false: none was.
    #[method(name = "StoreReleaseReserved")]
    async fn store_release_reserved(&self, sector: SectorId) -> RpcResult<bool>;

    /// The stores that a replica lies in; `kind` is `"normal"` or `"upgrade"`. Asked by posters of
    /// upstream that have no index of their own.
    #[method(name = "SectorIndexerFind")]
    async fn sector_indexer_find(&self, kind: String, sector: SectorId)
    -> RpcResult<FoundInstance>;

    /// Which of these sectors of a miner cannot be proven now, and why; `strict`: what a challenge
    /// asks for is read of each. The proof type and `state_check` change nothing: both are taken
    /// from the chain.
    #[method(name = "CheckProvable")]
    async fn check_provable(
        &self,
        miner: ActorId,
        proof_type: i64,
        sectors: Vec<ExtSector>,
        strict: bool,
        state_check: bool,
    ) -> RpcResult<BTreeMap<SectorNumber, String>>;

    /// Makes a WindowPoSt of these sectors for that challenge (32 bytes), verifies it, and sends it
    /// to nobody. What came of it is the answer; upstream answers nothing. The proof type is taken
    /// from the chain.
    #[method(name = "SimulateWdPoSt")]
    async fn simulate_wd_post(
        &self,
        deadline: u64,
        partition: u64,
        miner: String,
        proof_type: i64,
        sectors: Vec<ExtSector>,
        challenge: Base64,
    ) -> RpcResult<SimulatedView>;

    /// What the chain has of a sector, and where the files are that prove it.
    #[method(name = "ProvingSectorInfo")]
    async fn proving_sector_info(&self, sector: SectorId) -> RpcResult<ProvingSector>;

    /// The manager's version.
    #[method(name = "Version")]
    async fn version(&self) -> RpcResult<String>;
}
