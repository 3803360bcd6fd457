//! `Damocles.MinerOverview`.

use super::{error::ToRpc, rooms::Rooms};
use crate::overview;
use damocles_api::overview::{DamoclesOverviewServer, MinerOverview};
use damocles_types::ActorId;
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesOverviewServer for Rooms {
    async fn miner_overview(&self, miner: ActorId) -> RpcResult<MinerOverview> {
        let seen = overview::of(&*self.chain, miner).await;
        seen.map_err(ToRpc::to_operator)
    }
}
