//! `Damocles.*`: what is new of ours.

use super::{caller, error::ToRpc, rooms::Rooms};
use crate::{db::Db, post, sealing::SealingError};
use damocles_api::{
    damocles::{DamoclesServer, ManagerIdentity, MessageView, RoleView, SectorFate, TicketLeft},
    post::WindowPostRecord,
    timeline::TimelineEntry,
};
use damocles_types::{ActorId, SectorId};
use jsonrpsee::core::{RpcResult, async_trait};

/// Most WindowPoSts in one answer: some weeks of a miner with every deadline in use.
const MOST_POSTS: u32 = 2000;

#[async_trait]
impl DamoclesServer for Rooms {
    async fn identity(&self) -> RpcResult<ManagerIdentity> {
        self.sealing.identity().await.map_err(ToRpc::to_operator)
    }

    async fn roles(&self) -> RpcResult<Vec<RoleView>> {
        let roles = self.db.call(Db::roles).await.map_err(ToRpc::to_operator)?;
        let view = |held: damocles_kv::Held| RoleView {
            by: (held.until_ms > 0).then_some(held.by),
            role: held.role,
            scope: held.scope,
            fence: held.fence,
        };
        Ok(roles.into_iter().map(view).collect())
    }

    async fn sector_fate(&self, sector: SectorId) -> RpcResult<SectorFate> {
        self.sealing.fate(sector).await.map_err(ToRpc::to_operator)
    }

    async fn ticket_left(&self, sector: SectorId) -> RpcResult<Option<TicketLeft>> {
        let left = self.called().commit.ticket_left(sector).await;
        self.settle(sector, left).await
    }

    async fn abort_sector(&self, sector: SectorId, reason: String) -> RpcResult<SectorFate> {
        let fate = self.sealing.abort_by_person(sector, reason).await;
        let fate = fate.map_err(ToRpc::to_operator)?;
        self.stores
            .release(sector)
            .await
            .map_err(ToRpc::to_operator)?;
        Ok(fate)
    }

    async fn hand_over_sector(&self, sector: SectorId) -> RpcResult<SectorFate> {
        let fate = self.sealing.hand_over(sector).await;
        fate.map_err(ToRpc::to_operator)
    }

    async fn worker_leaves(&self, name: String) -> RpcResult<()> {
        caller::may_speak_for(&name)?;
        let left = self.sealing.worker_leaves(name).await;
        left.map_err(ToRpc::to_worker)
    }

    async fn report_timeline(
        &self,
        sector: SectorId,
        instance: String,
        entries: Vec<TimelineEntry>,
    ) -> RpcResult<()> {
        caller::may_speak_for(&instance)?;
        let sealing = self.called().sealing;
        let reported = sealing.report_timeline(sector, instance, entries).await;
        self.settle(sector, reported).await
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
        let posts = post::window_posts(&self.db, miner, limit).await;
        let posts = posts.map_err(ToRpc::to_operator)?;
        // those of a miner that was taken from the config are still told
        if posts.is_empty() && !self.sealing.knows(miner) {
            return Err(SealingError::NoMiner(miner).to_operator());
        }
        Ok(posts)
    }
}
