//! `Venus.*` as operators' commands call it.

use super::{error::ToRpc, rooms::Rooms};
use crate::storage::Replica;
use damocles_api::{
    code::{FAILED, error},
    post::ExtSector,
    sealer_cli::SealerCliServer,
    sector::{CidJson, SectorState, TerminateInfo},
    store::{FoundInstance, SectorAccessStores, StoreDetailedInfo},
    workers::WorkerPingInfo,
};
use damocles_types::{ActorId, SectorId, SectorNumber};
use fvm_ipld_bitfield::BitField;
use jsonrpsee::core::{RpcResult, async_trait};
use std::collections::BTreeMap;

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

    async fn sector_indexer_find(
        &self,
        kind: String,
        sector: SectorId,
    ) -> RpcResult<FoundInstance> {
        let replica = match kind.as_str() {
            "normal" => Replica::Normal,
            "upgrade" => Replica::Upgrade,
            _ => {
                let why = format!("{kind:?} is no kind of replica; there are normal and upgrade");
                return Err(error(FAILED, why));
            }
        };
        let found = self.stores.location(sector, replica).await;
        let found = found.map_err(ToRpc::to_operator)?;
        let instance = found.map(|location| SectorAccessStores {
            sealed_file: location.sealed,
            cache_dir: location.cache,
        });
        Ok(FoundInstance {
            found: instance.is_some(),
            instance: instance.unwrap_or_default(),
        })
    }

    async fn check_provable(
        &self,
        miner: ActorId,
        _: i64,
        sectors: Vec<ExtSector>,
        strict: bool,
        _: bool,
    ) -> RpcResult<BTreeMap<SectorNumber, String>> {
        let numbers = sectors.iter().map(|sector| sector.sector_number);
        let Ok(wanted) = BitField::try_from_bits(numbers) else {
            return Err(error(FAILED, "there is no sector of such a number"));
        };
        let checked = self.asked.check(miner, &wanted, strict).await;
        checked.map_err(ToRpc::to_operator)
    }

    async fn version(&self) -> RpcResult<String> {
        Ok(damocles_daemon::build::version())
    }
}
