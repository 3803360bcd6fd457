//! `Damocles.*` about what a miner has to prove.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::proving::{CheckView, DamoclesProvingServer, DeadlinesView, FaultsView};
use damocles_types::ActorId;
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
}
