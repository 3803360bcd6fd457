//! `Damocles.*`: what is new of ours. Old shapes are never changed; news comes here.

use crate::{caller::Caller, post::WindowPostRecord, sector::CidJson, timeline::TimelineEntry};
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
    /// The miner's actor that it is for.
    #[serde(default)]
    pub miner: ActorId,
    /// Unix seconds; 0: it was not said.
    #[serde(default)]
    pub wanted_at: i64,
    /// What its gas cost, in FIL, once it has ended on chain.
    #[serde(default)]
    pub paid: Option<String>,
    /// Attempts at pushing, and what the last failed one said.
    pub tries: u32,
    pub last_error: Option<String>,
}

/// Which manager answers. Two answers of one `database` come from one memory; any other may
/// know less of a sector, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManagerIdentity {
    /// Id of the manager's database, made with it and never changed.
    pub database: String,
    /// The genesis block's CID of the network that the manager works on, once it knows.
    pub network: Option<String>,
    pub version: String,
    /// Whose sectors it seals.
    #[serde(default)]
    pub miners: Vec<ActorId>,
}

/// Who ended a sector before it was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortedBy {
    /// An operator, at the manager or at the worker.
    Person,
    /// The worker that had it.
    Worker,
    /// A record of a version that did not note it.
    Unknown,
}

/// What the manager's record says of a sector: asked before anything of it is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorFate {
    /// False: there is no record; nothing follows from the rest.
    pub known: bool,
    pub online: bool,
    pub finalized: bool,
    pub aborted_by: Option<AbortedBy>,
    pub abort_reason: String,
    /// Who has it, as far as known.
    pub owner: Option<Caller>,
    /// Grows each time that the sector goes to another owner.
    pub fence: u64,
}

/// What is left of a sector's ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TicketLeft {
    /// The epoch from which it was drawn.
    pub epoch: Epoch,
    /// Epochs in which a precommit with it may still land; none any more when this is not above 0.
    pub epochs: Epoch,
    /// The same in seconds, as this chain's blocks come.
    pub seconds: u64,
}

/// A role of a manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleView {
    /// `commit`, `messages` or `post`.
    pub role: String,
    /// Of what: for `post` the miner; else empty.
    pub scope: String,
    /// Host and port of the manager that has it, and a name of its process. None: it was given
    /// back, and nobody has taken it yet.
    pub by: Option<String>,
    /// Grows each time that the role goes to another process.
    pub fence: u64,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait Damocles {
    /// Which manager this is.
    #[method(name = "Identity")]
    async fn identity(&self) -> RpcResult<ManagerIdentity>;

    /// What each of the managers on one database does.
    #[method(name = "Roles")]
    async fn roles(&self) -> RpcResult<Vec<RoleView>>;

    /// What became of a sector, as far as the manager's own record tells.
    #[method(name = "SectorFate")]
    async fn sector_fate(&self, sector: SectorId) -> RpcResult<SectorFate>;

    /// How long a precommit with the ticket that the sector was given last may still land. None: it has none.
    #[method(name = "TicketLeft")]
    async fn ticket_left(&self, sector: SectorId) -> RpcResult<Option<TicketLeft>>;

    /// A person gives a sector up. What of it is on chain stays there.
    #[method(name = "AbortSector")]
    async fn abort_sector(&self, sector: SectorId, reason: String) -> RpcResult<SectorFate>;

    /// A person takes a sector from its owner: the next worker that calls about it owns it.
    #[method(name = "HandOverSector")]
    async fn hand_over_sector(&self, sector: SectorId) -> RpcResult<SectorFate>;

    /// A worker stops in order: its threads are not counted any more.
    #[method(name = "WorkerLeaves")]
    async fn worker_leaves(&self, name: String) -> RpcResult<()>;

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
