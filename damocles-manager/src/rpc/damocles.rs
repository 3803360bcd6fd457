//! `Damocles.*`: what is new of ours.

use super::{error::ToRpc, rooms::Rooms};
use crate::post;
use damocles_api::{
    damocles::{DamoclesServer, MessageView},
    post::WindowPostRecord,
    timeline::TimelineEntry,
};
use damocles_types::{ActorId, SectorId};
use jsonrpsee::core::{RpcResult, async_trait};

/// Most WindowPoSts in one answer: some weeks of a miner with every deadline in use.
const MOST_POSTS: u32 = 2000;

#[async_trait]
impl DamoclesServer for Rooms {
    async fn report_timeline(
        &self,
        sector: SectorId,
        instance: String,
        entries: Vec<TimelineEntry>,
    ) -> RpcResult<()> {
        self.sealing
            .report_timeline(sector, instance, entries)
            .await
            .map_err(ToRpc::to_worker)
    }

    async fn timeline(&self, sector: SectorId) -> RpcResult<Vec<TimelineEntry>> {
        self.sealing
            .timeline(sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn sector_messages(&self, sector: SectorId) -> RpcResult<Vec<MessageView>> {
        self.messages
            .sector_messages(sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn window_posts(&self, miner: ActorId, limit: u32) -> RpcResult<Vec<WindowPostRecord>> {
        let limit = usize::try_from(limit.min(MOST_POSTS)).unwrap_or(0);
        post::window_posts(&self.db, miner, limit)
            .await
            .map_err(ToRpc::to_operator)
    }
}
