//! `Damocles.*` about what a miner has to prove.

use super::{error::ToRpc, rooms::Rooms};
use crate::post::Tried;
use damocles_api::{
    code::{FAILED, error},
    proving::{
        CheckView, DamoclesProvingServer, DeadlinesView, FaultsView, OrderedView, RecoveryView,
        SimulatedView, WinningView,
    },
};
use damocles_types::{ActorId, Randomness, SectorId};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesProvingServer for Rooms {
    async fn faults(&self, miner: ActorId) -> RpcResult<FaultsView> {
        let faults = self.asked.faults(miner).await;
        faults.map_err(ToRpc::to_operator)
    }

    async fn check_partition(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        strict: bool,
    ) -> RpcResult<CheckView> {
        let asked = &self.asked;
        let checked = asked
            .check_partition(miner, deadline, partition, strict)
            .await;
        checked.map_err(ToRpc::to_operator)
    }

    async fn deadlines(&self, miner: ActorId) -> RpcResult<DeadlinesView> {
        let deadlines = self.asked.deadlines(miner).await;
        deadlines.map_err(ToRpc::to_operator)
    }

    async fn simulate_window_post(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        faulty: bool,
        challenge: Option<String>,
    ) -> RpcResult<SimulatedView> {
        let challenge = challenge.map(|text| {
            let mut bytes = [0; 32];
            let read = hex::decode_to_slice(text.trim_start_matches("0x"), &mut bytes);
            read.map(|()| Randomness(bytes))
                .map_err(|_| error(FAILED, "a challenge is 64 hexadecimal digits"))
        });
        let tried = Tried::Due { faulty };
        let made = self
            .asked
            .simulate(miner, deadline, partition, tried, challenge.transpose()?);
        made.await.map_err(ToRpc::to_operator)
    }

    async fn winning_vanilla(
        &self,
        sector: SectorId,
        sealed_file: Option<String>,
        cache_dir: Option<String>,
    ) -> RpcResult<WinningView> {
        let files = match (sealed_file, cache_dir) {
            (Some(sealed), Some(cache)) => Some((sealed.into(), cache.into())),
            (None, None) => None,
            _ => {
                let why = "a sealed file and a cache directory belong together; name both, or none";
                return Err(error(FAILED, why));
            }
        };
        let read = self.asked.winning(sector, files).await;
        read.map_err(ToRpc::to_operator)
    }

    async fn recover_faults(&self, miner: ActorId, deadline: u64) -> RpcResult<RecoveryView> {
        let ordered = self.asked.recover(miner, deadline).await;
        ordered.map_err(ToRpc::to_operator)
    }

    async fn compact_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        partitions: Vec<u64>,
    ) -> RpcResult<OrderedView> {
        let ordered = self.asked.compact(miner, deadline, &partitions).await;
        ordered.map_err(ToRpc::to_operator)
    }
}
