//! Lists of `Damocles.*`, a page at a time: however much there is, an answer has an end, and the
//! next page begins where it ended.

use crate::{
    damocles::MessageView, sector::SectorState, timeline::TimelineEntry, workers::WorkerPingInfo,
};
use damocles_types::{ActorId, SectorId};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// The most items of a page; who asks for more gets so many.
pub const MOST: u32 = 1000;

/// Which page is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Want {
    /// `Next` of the page before; None: the first.
    pub cursor: Option<String>,
    /// So many items at most; 0: 100.
    pub limit: u32,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The cursor of the next page; None: that was the last one. A page with a filter may have
    /// no items and a next one.
    pub next: Option<String>,
}

/// Which sectors are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SectorFilter {
    pub miner: Option<ActorId>,
    /// Those in work, or those that are finished or given up.
    pub in_work: bool,
    /// Only those that their worker last reported in this state.
    pub state: Option<String>,
    /// Only those that this worker reported last.
    pub worker: Option<String>,
}

impl Default for SectorFilter {
    fn default() -> Self {
        Self {
            miner: None,
            in_work: true,
            state: None,
            worker: None,
        }
    }
}

/// Which messages are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MessageFilter {
    pub miner: Option<ActorId>,
    /// Only those that are on their way.
    pub open: bool,
    /// `PreCommit`, `ProveCommit`, `WindowPost` …
    pub kind: Option<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesLists {
    /// Sectors, by miner and number.
    #[method(name = "Sectors")]
    async fn sectors(&self, filter: SectorFilter, want: Want) -> RpcResult<Page<SectorState>>;

    /// Messages, newest first.
    #[method(name = "Messages")]
    async fn messages(&self, filter: MessageFilter, want: Want) -> RpcResult<Page<MessageView>>;

    /// Workers, by name.
    #[method(name = "Workers")]
    async fn workers(&self, want: Want) -> RpcResult<Page<WorkerPingInfo>>;

    /// The timeline of a sector, by `Seq`.
    #[method(name = "TimelinePage")]
    async fn timeline_page(&self, sector: SectorId, want: Want) -> RpcResult<Page<TimelineEntry>>;
}
