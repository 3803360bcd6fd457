//! `Damocles.*` lists, a page at a time.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::{
    damocles::MessageView,
    lists::{DamoclesListsServer, MessageFilter, Page, SectorFilter, Want},
    sector::SectorState,
    timeline::TimelineEntry,
    workers::WorkerPingInfo,
};
use damocles_types::SectorId;
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesListsServer for Rooms {
    async fn sectors(&self, filter: SectorFilter, want: Want) -> RpcResult<Page<SectorState>> {
        let page = self.sealing.sectors_page(filter, want).await;
        page.map_err(ToRpc::to_operator)
    }

    async fn messages(&self, filter: MessageFilter, want: Want) -> RpcResult<Page<MessageView>> {
        let page = self.messages.page(filter, want).await;
        page.map_err(ToRpc::to_operator)
    }

    async fn workers(&self, want: Want) -> RpcResult<Page<WorkerPingInfo>> {
        let page = self.sealing.workers_page(want).await;
        page.map_err(ToRpc::to_operator)
    }

    async fn timeline_page(&self, sector: SectorId, want: Want) -> RpcResult<Page<TimelineEntry>> {
        let page = self.sealing.timeline_page(sector, want).await;
        page.map_err(ToRpc::to_operator)
    }
}
