//! `Venus.*` as workers call it.

use super::{error::ToRpc, rooms::Rooms};
use crate::storage::Replica;
use damocles_api::{
    sealer::SealerServer,
    sector::{
        AcquireDealsSpec, AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo,
        ReportStateReq, SectorPiece, SectorStanding,
    },
    store::StoreBasicInfo,
    submit::{PollStateResp, ProofOnChainInfo, SubmitResp, SubmitResult, WaitSeedResp},
    workers::WorkerPing,
};
use damocles_types::{SealProof, SectorId, Ticket};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl SealerServer for Rooms {
    async fn allocate_sector(
        &self,
        spec: AllocateSectorSpec,
    ) -> RpcResult<Option<AllocatedSector>> {
        let sector = self
            .sealing
            .allocate(&spec)
            .await
            .map_err(ToRpc::to_worker)?;
        if let Some(sector) = &sector {
            self.counts.allocated(sector.id.miner);
        }
        Ok(sector)
    }

    async fn acquire_deals(
        &self,
        sector: SectorId,
        spec: AcquireDealsSpec,
    ) -> RpcResult<Option<Vec<SectorPiece>>> {
        self.sealing
            .acquire_deals(sector, spec)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn assign_ticket(&self, sector: SectorId) -> RpcResult<Ticket> {
        self.sealing
            .assign_ticket(sector)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn submit_pre_commit(
        &self,
        sector: AllocatedSector,
        info: PreCommitOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let answer = self
            .commit
            .submit_pre_commit(sector, info, reset)
            .await
            .map_err(ToRpc::to_worker)?;
        if answer.res == SubmitResult::Accepted {
            self.counts.pre_committed(sector.id.miner);
        }
        Ok(answer)
    }

    async fn poll_pre_commit_state(&self, sector: SectorId) -> RpcResult<PollStateResp> {
        self.commit
            .poll_pre_commit(sector)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn submit_persisted_ex(
        &self,
        sector: SectorId,
        instance: String,
        is_upgrade: bool,
    ) -> RpcResult<bool> {
        let record = self
            .db
            .call(move |db| db.online(sector))
            .await
            .map_err(ToRpc::to_worker)?;
        let replica = if is_upgrade {
            Replica::Upgrade
        } else {
            Replica::Normal
        };
        self.stores
            .submit_persisted(sector, record.proof_type.size, &instance, replica)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn submit_persisted(&self, sector: SectorId, instance: String) -> RpcResult<bool> {
        self.submit_persisted_ex(sector, instance, false).await
    }

    async fn wait_seed(&self, sector: SectorId, proof_type: SealProof) -> RpcResult<WaitSeedResp> {
        self.sealing
            .wait_seed(sector, proof_type)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn submit_proof(
        &self,
        sector: SectorId,
        proof: ProofOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let answer = self
            .commit
            .submit_proof(sector, proof, reset)
            .await
            .map_err(ToRpc::to_worker)?;
        if answer.res == SubmitResult::Accepted {
            self.counts.committed(sector.miner);
        }
        Ok(answer)
    }

    async fn poll_proof_state(&self, sector: SectorId) -> RpcResult<PollStateResp> {
        self.commit
            .poll_proof(sector)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn report_state(
        &self,
        sector: SectorId,
        report: ReportStateReq,
    ) -> RpcResult<SectorStanding> {
        self.sealing
            .report_state(sector, report)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn report_finalized(&self, sector: SectorId) -> RpcResult<()> {
        let reported = self.sealing.report_finalized(sector).await;
        self.give_room_back(sector, reported).await
    }

    async fn report_aborted(&self, sector: SectorId, reason: String) -> RpcResult<()> {
        let reported = self.sealing.report_aborted(sector, reason).await;
        self.give_room_back(sector, reported).await
    }

    async fn worker_ping(&self, info: WorkerPing) -> RpcResult<()> {
        self.sealing.ping(info).await.map_err(ToRpc::to_worker)
    }

    async fn store_reserve_space(
        &self,
        sector: SectorId,
        size: u64,
        candidates: Vec<String>,
    ) -> RpcResult<Option<StoreBasicInfo>> {
        self.db
            .call(move |db| db.online(sector))
            .await
            .map_err(ToRpc::to_worker)?;
        let answer = self
            .stores
            .reserve(sector, size, &candidates)
            .await
            .map_err(ToRpc::to_worker)?;
        Ok(answer.store())
    }

    async fn store_basic_info(&self, name: String) -> RpcResult<Option<StoreBasicInfo>> {
        Ok(self.stores.basic_info(&name))
    }
}

impl Rooms {
    /// After a sector's end its room is given back, also when the end was known before: the
    /// first call may have been cut off in between.
    async fn give_room_back<E: ToRpc>(
        &self,
        sector: SectorId,
        reported: Result<(), E>,
    ) -> RpcResult<()> {
        if reported
            .as_ref()
            .err()
            .is_none_or(|e| e.missing().is_some())
        {
            self.stores
                .release(sector)
                .await
                .map_err(ToRpc::to_worker)?;
        }
        reported.map_err(ToRpc::to_worker)
    }
}
