//! `Venus.*` as operators' commands call it.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::{
    sealer_cli::SealerCliServer,
    sector::{CidJson, SectorState, TerminateInfo},
    store::StoreDetailedInfo,
    workers::WorkerPingInfo,
};
use damocles_types::{ActorId, SectorId};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl SealerCliServer for Rooms {
    async fn list_sectors(&self, state: String, job: i64) -> RpcResult<Vec<SectorState>> {
        self.sealing
            .sectors(&state, job)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn find_sector(&self, state: String, sector: SectorId) -> RpcResult<SectorState> {
        self.sealing
            .find(Some(&state), sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn find_sector_in_all_states(&self, sector: SectorId) -> RpcResult<SectorState> {
        self.sealing
            .find(None, sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn find_sectors_with_deal(
        &self,
        state: String,
        deal: u64,
    ) -> RpcResult<Vec<SectorState>> {
        self.sealing
            .with_deal(&state, deal)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn find_sector_with_piece(
        &self,
        state: String,
        piece: CidJson,
    ) -> RpcResult<Option<SectorState>> {
        self.sealing
            .with_piece(&state, piece)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn poll_terminate_sector_state(&self, sector: SectorId) -> RpcResult<TerminateInfo> {
        let record = self.sealing.find(None, sector).await;
        let record = record.map_err(ToRpc::to_operator)?;
        Ok(record.terminate_info)
    }

    async fn snap_up_candidates(&self, _: ActorId) -> RpcResult<Option<Vec<()>>> {
        Ok(None)
    }

    async fn worker_get_ping_info(&self, name: String) -> RpcResult<Option<WorkerPingInfo>> {
        self.sealing.worker(name).await.map_err(ToRpc::to_operator)
    }

    async fn worker_ping_info_list(&self) -> RpcResult<Vec<WorkerPingInfo>> {
        self.sealing.workers().await.map_err(ToRpc::to_operator)
    }

    async fn worker_ping_info_remove(&self, name: String) -> RpcResult<()> {
        self.sealing
            .remove_worker(name)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn store_list(&self) -> RpcResult<Vec<StoreDetailedInfo>> {
        self.stores.list().await.map_err(ToRpc::to_operator)
    }

    async fn store_release_reserved(&self, sector: SectorId) -> RpcResult<bool> {
        self.stores
            .release(sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn version(&self) -> RpcResult<String> {
        Ok(damocles_daemon::build::version())
    }
}
