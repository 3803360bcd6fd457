//! `Damocles.*` about a miner's actor: who may act for it, what it has, and orders to it.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::actor::{ActorOrder, ActorOrderView, AddressesView, DamoclesActorServer};
use damocles_types::ActorId;
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesActorServer for Rooms {
    async fn miner_addresses(&self, miner: ActorId) -> RpcResult<AddressesView> {
        let seen = self.actors.addresses(miner).await;
        seen.map_err(ToRpc::to_operator)
    }

    async fn order_actor(
        &self,
        miner: ActorId,
        order: ActorOrder,
        really: bool,
        id: Option<String>,
    ) -> RpcResult<ActorOrderView> {
        let ordered = self.actors.order(miner, order, really, id).await;
        ordered.map_err(ToRpc::to_operator)
    }
}
