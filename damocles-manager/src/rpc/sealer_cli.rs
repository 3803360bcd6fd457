//! `Venus.*` as operators' commands call it.

use super::{error::ToRpc, rooms::Rooms};
use crate::{post::Tried, storage::Replica};
use damocles_api::{
    code::{FAILED, error},
    post::ExtSector,
    proving::{ProvingSector, SimulatedView},
    sealer_cli::SealerCliServer,
    sector::{CidJson, SectorState, TerminateInfo},
    store::{FoundInstance, SectorAccessStores, StoreDetailedInfo},
    workers::WorkerPingInfo,
};
use damocles_node::wire::parse_address;
use damocles_types::{ActorId, Base64, Randomness, SectorId, SectorNumber};
use fvm_ipld_bitfield::BitField;
use jsonrpsee::core::{RpcResult, async_trait};
use std::collections::BTreeMap;

/// The sectors that upstream's caller names.
fn numbers(sectors: &[ExtSector]) -> RpcResult<BitField> {
    let numbers = sectors.iter().map(|sector| sector.sector_number);
    let numbers = BitField::try_from_bits(numbers);
    numbers.map_err(|_| error(FAILED, "there is no sector of such a number"))
}

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

    async fn restore_sector(&self, sector: SectorId, _: bool) -> RpcResult<()> {
        let restored = self.sealing.restore(sector).await;
        restored.map(drop).map_err(ToRpc::to_operator)
    }

    async fn finalize_sector(&self, sector: SectorId) -> RpcResult<()> {
        let finished = self.sealing.report_finalized(sector).await;
        finished.map_err(ToRpc::to_operator)
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
        let wanted = numbers(&sectors)?;
        let checked = self.asked.check(miner, &wanted, strict).await;
        checked.map_err(ToRpc::to_operator)
    }

    async fn simulate_wd_post(
        &self,
        deadline: u64,
        partition: u64,
        miner: String,
        _: i64,
        sectors: Vec<ExtSector>,
        challenge: Base64,
    ) -> RpcResult<SimulatedView> {
        let address = parse_address(&miner).ok();
        let Some(miner) = address.and_then(|address| address.id().ok()) else {
            let why = format!("{miner:?} is not the address of a miner, as t01000 is");
            return Err(error(FAILED, why));
        };
        let Ok(challenge) = <[u8; 32]>::try_from(challenge.0) else {
            return Err(error(FAILED, "a challenge has 32 bytes"));
        };
        let tried = Tried::Sectors(numbers(&sectors)?);
        let challenge = Some(Randomness(challenge));
        let made = self
            .asked
            .simulate(miner, deadline, partition, tried, challenge);
        made.await.map_err(ToRpc::to_operator)
    }

    async fn proving_sector_info(&self, sector: SectorId) -> RpcResult<ProvingSector> {
        let on_chain = self.asked.on_chain(sector).await;
        let on_chain = on_chain.map_err(ToRpc::to_operator)?;
        let replica = Replica::of(&on_chain);
        let place = self.stores.place(sector, replica).await;
        Ok(ProvingSector {
            on_chain: serde_json::to_value(&on_chain).map_err(|e| error(FAILED, e))?,
            private: place.map_err(ToRpc::to_operator)?.unwrap_or_default(),
        })
    }

    async fn version(&self) -> RpcResult<String> {
        Ok(damocles_daemon::build::version())
    }
}
