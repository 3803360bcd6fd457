//! WindowPoSts that workers of ours prove: with a wait instead of questions, and with attempts, so
//! that a worker that comes late ends nobody else's work. Jobs are those of `wdpost`.

use crate::wdpost::{AllocatePoStSpec, AllocatedWdPoStJob, WdPoStOutput};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// What a worker of ours takes, and how long it waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TakeWindowPosts {
    pub worker: String,
    pub spec: AllocatePoStSpec,
    /// Stores that it can read; a job with a sector elsewhere is not for it.
    pub stores: Vec<String>,
    /// So many jobs at most.
    pub count: u32,
    /// Milliseconds; the manager may answer earlier.
    pub wait_ms: u64,
}

/// An attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attempt {
    pub id: String,
    pub attempt: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptEnd {
    Output(WdPoStOutput),
    /// Why there is none.
    Failed(String),
    /// It stops or is paused: let another worker have it at once.
    GivenBack,
}

/// What a worker of ours asks and says of jobs.
#[rpc(client, server, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesAttempts {
    /// Jobs for a worker, as soon as there are some; none after its wait.
    #[method(name = "TakeWindowPosts")]
    async fn take_window_posts(&self, want: TakeWindowPosts) -> RpcResult<Vec<AllocatedWdPoStJob>>;

    /// A worker is at these attempts. Those of them that are not wanted any more, which it leaves off.
    #[method(name = "WindowPostsLive")]
    async fn window_posts_live(
        &self,
        worker: String,
        attempts: Vec<Attempt>,
    ) -> RpcResult<Vec<Attempt>>;

    /// How an attempt ended. False: it is not the last one, or nobody wants its end any more.
    #[method(name = "WindowPostEnded")]
    async fn window_post_ended(
        &self,
        worker: String,
        attempt: Attempt,
        end: AttemptEnd,
    ) -> RpcResult<bool>;
}
