//! `Venus.*` as workers call it. Upstream's exact names, parameters and shapes;
//! snap, rebuild and unseal methods join with their plans.

use crate::{
    sector::{
        AcquireDealsSpec, AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo,
        ReportStateReq, SectorPiece, SectorStanding,
    },
    store::StoreBasicInfo,
    submit::{PollStateResp, ProofOnChainInfo, SubmitResp, WaitSeedResp},
    workers::WorkerPing,
};
use damocles_types::{SealProof, SectorId, Ticket};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};

/// What a worker asks the manager. Every answer is a value from the manager's database or
/// the chain; no method waits for anything but those.
#[rpc(server, client, namespace = "Venus", namespace_separator = ".")]
pub trait Sealer {
    /// A new sector number of one of the allowed miners, or null when none may be had now.
    #[method(name = "AllocateSector")]
    async fn allocate_sector(&self, spec: AllocateSectorSpec)
    -> RpcResult<Option<AllocatedSector>>;

    /// Deals for the sector; the same again when asked again. Null: deals are off.
    #[method(name = "AcquireDeals")]
    async fn acquire_deals(
        &self,
        sector: SectorId,
        spec: AcquireDealsSpec,
    ) -> RpcResult<Option<Vec<SectorPiece>>>;

    /// A fresh ticket, stored with the sector.
    #[method(name = "AssignTicket")]
    async fn assign_ticket(&self, sector: SectorId) -> RpcResult<Ticket>;

    /// Hands over CommR, CommD and ticket; `reset` asks for a new message after a failed one.
    #[method(name = "SubmitPreCommit")]
    async fn submit_pre_commit(
        &self,
        sector: AllocatedSector,
        info: PreCommitOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp>;

    /// What became of the precommit: pending, landed deep enough, or failed and how.
    #[method(name = "PollPreCommitState")]
    async fn poll_pre_commit_state(&self, sector: SectorId) -> RpcResult<PollStateResp>;

    /// Says in which persist store the sealed files are; false: they are not there.
    #[method(name = "SubmitPersistedEx")]
    async fn submit_persisted_ex(
        &self,
        sector: SectorId,
        instance: String,
        is_upgrade: bool,
    ) -> RpcResult<bool>;

    /// Upstream's older form of `SubmitPersistedEx`, for plain sectors.
    #[method(name = "SubmitPersisted")]
    async fn submit_persisted(&self, sector: SectorId, instance: String) -> RpcResult<bool>;

    /// The seed of the precommitted sector, or how many seconds to wait before asking again.
    #[method(name = "WaitSeed")]
    async fn wait_seed(&self, sector: SectorId, proof_type: SealProof) -> RpcResult<WaitSeedResp>;

    /// Hands over the proof of the precommitted sector; `reset` asks for a new message after a failed one.
    #[method(name = "SubmitProof")]
    async fn submit_proof(
        &self,
        sector: SectorId,
        proof: ProofOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp>;

    /// What became of the proof: pending, landed deep enough, or failed and how.
    #[method(name = "PollProofState")]
    async fn poll_proof_state(&self, sector: SectorId) -> RpcResult<PollStateResp>;

    /// Tells where the sector stands; the answer says whether it is still wanted.
    #[method(name = "ReportState")]
    async fn report_state(
        &self,
        sector: SectorId,
        report: ReportStateReq,
    ) -> RpcResult<SectorStanding>;

    /// The worker is done with the sector: its files are in a persist store, the work directory is cleared.
    #[method(name = "ReportFinalized")]
    async fn report_finalized(&self, sector: SectorId) -> RpcResult<()>;

    /// The worker gave the sector up, and why. What of it is on chain stays there.
    #[method(name = "ReportAborted")]
    async fn report_aborted(&self, sector: SectorId, reason: String) -> RpcResult<()>;

    /// A worker is alive: its name, where it listens, and how many threads are in which state.
    #[method(name = "WorkerPing")]
    async fn worker_ping(&self, info: WorkerPing) -> RpcResult<()>;

    /// Keeps `size` bytes for the sector in one of the candidate stores; null: none fits now.
    #[method(name = "StoreReserveSpace")]
    async fn store_reserve_space(
        &self,
        sector: SectorId,
        size: u64,
        candidates: Vec<String>,
    ) -> RpcResult<Option<StoreBasicInfo>>;

    /// The store of that name; null: unknown.
    #[method(name = "StoreBasicInfo")]
    async fn store_basic_info(&self, name: String) -> RpcResult<Option<StoreBasicInfo>>;
}
