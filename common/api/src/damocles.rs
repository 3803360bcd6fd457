//! `Damocles.*`: what is new of ours. Old shapes are never changed; news comes here.

use crate::{post::WindowPostRecord, sector::CidJson, timeline::TimelineEntry};
use damocles_types::{ActorId, Epoch, SectorId};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// A chain message of this manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageView {
    /// Our own id, given before anything is pushed; the node's MsgUuid.
    pub id: String,
    /// `PreCommit`, `ProveCommit`, `WindowPost` …
    pub kind: String,
    /// `Wanted`, `Pushed`, `Landed`, `Failed` …
    pub state: String,
    pub cid: Option<CidJson>,
    pub nonce: Option<u64>,
    pub epoch: Option<Epoch>,
    pub exit_code: Option<i64>,
    pub sectors: Vec<SectorId>,
    /// Attempts at pushing, and what the last failed one said.
    pub tries: u32,
    pub last_error: Option<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait Damocles {
    /// Stores entries of a sector's timeline; entries with a known `Seq` replace the old ones.
    #[method(name = "ReportTimeline")]
    async fn report_timeline(
        &self,
        sector: SectorId,
        instance: String,
        entries: Vec<TimelineEntry>,
    ) -> RpcResult<()>;

    /// The timeline of a sector as far as reported, by `Seq`.
    #[method(name = "Timeline")]
    async fn timeline(&self, sector: SectorId) -> RpcResult<Vec<TimelineEntry>>;

    /// Messages that carry the sector, oldest first.
    #[method(name = "SectorMessages")]
    async fn sector_messages(&self, sector: SectorId) -> RpcResult<Vec<MessageView>>;

    /// WindowPoSts of a miner, newest deadline first, at most `limit`.
    #[method(name = "WindowPosts")]
    async fn window_posts(&self, miner: ActorId, limit: u32) -> RpcResult<Vec<WindowPostRecord>>;
}
