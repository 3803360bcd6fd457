//! `VenusWorker.*`: what the worker answers to its own CLI and to the manager's.

use crate::timeline::TimelineEntry;
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// What a sealing thread is doing. JSON: tagged by `state`, `elapsed` in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state")]
pub enum ThreadState {
    Idle,
    Paused {
        elapsed: u64,
    },
    Running {
        elapsed: u64,
        /// `ext(pid: N)` while a child computes.
        proc: Option<String>,
    },
    Waiting {
        elapsed: u64,
    },
}

/// A sealing thread (upstream's keys, and new ones of ours after them).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadInfo {
    /// The sealing store's path, `-` when the plan needs none.
    pub location: String,
    pub plan: String,
    /// The sector being worked on, `s-t01000-7`.
    pub job_id: Option<String>,
    /// Position in the config file.
    pub index: u64,
    pub thread_state: ThreadState,
    /// State name; empty when unset.
    pub job_state: String,
    pub job_stage: Option<String>,
    pub last_error: Option<String>,
    /// What a waiting thread waits for, in words. New; absent from upstream workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// What a person can do about `last_error`. New.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A pause was asked for, which takes effect when the running step ends. New.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_asked: bool,
    /// What the computing child last said of its task. New.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What becomes of its sector while the worker drains. New.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
}

/// How far a sector is taken by a worker that begins nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// In words: `goes on to PC2Done`, `stands at TreeDBuilt`.
    pub fate: String,
    /// It has come there: nothing of it runs before the drain ends.
    pub stands: bool,
}

/// A sign of life of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// In the child's words: `layer 3 of 11`, `no sign of it for 5 min`.
    pub text: String,
    /// Seconds since it was said.
    pub ago: u64,
}

/// A stage: its queue and its children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageInfo {
    /// As in the config: `pc1`.
    pub stage: String,
    /// Tasks that wait for their turn.
    pub waiting: u64,
    /// Tasks that run.
    pub running: u64,
    pub children: Vec<ChildInfo>,
}

/// A child process that computes a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildInfo {
    /// `pc1-0`.
    pub name: String,
    /// `on demand`, `starting`, `up`, `down` or `ended`.
    pub phase: String,
    pub pid: Option<u32>,
    /// Why it is down or ended.
    pub reason: Option<String>,
    /// How often it was started again.
    pub restarts: u64,
    /// The directory where its bad answers are kept, if they are.
    pub dump: Option<String>,
}

/// A place that the worker works in, as it was at the last look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// `sealing` or `persist`.
    pub kind: String,
    /// A persist store's name; a sealing store's path.
    pub name: String,
    pub path: String,
    /// Bytes of the file system behind it, and those of them that are free. 0 while it is away.
    pub total: u64,
    pub free: u64,
    /// Bytes that the sector of a sealing store takes.
    pub used: Option<u64>,
    /// Why it could not be looked at.
    pub problem: Option<String>,
}

#[rpc(server, client, namespace = "VenusWorker", namespace_separator = ".")]
pub trait Worker {
    /// The sealing threads: what each does, since when, what it waits for, and its last error.
    #[method(name = "WorkerList")]
    async fn worker_list(&self) -> RpcResult<Vec<ThreadInfo>>;

    /// Pauses a thread at its next step boundary or wait; true unless a pause was asked for already.
    #[method(name = "WorkerPause")]
    async fn worker_pause(&self, index: u64) -> RpcResult<bool>;

    /// Lets a paused thread go on, from `state` if given. True only when it was paused.
    #[method(name = "WorkerResume")]
    async fn worker_resume(&self, index: u64, state: Option<String>) -> RpcResult<bool>;

    /// Gives the sector of a paused thread up, for a reason that is told to the manager. True only when
    /// the thread was paused. New.
    #[method(name = "WorkerAbort")]
    async fn worker_abort(&self, index: u64, reason: String) -> RpcResult<bool>;

    /// Ends the process that computes for a thread, with all that runs in it; the stage is tried again, or
    /// the thread pauses if that was asked for before. False when nothing computes for it. New.
    #[method(name = "WorkerKill")]
    async fn worker_kill(&self, index: u64) -> RpcResult<bool>;

    /// Begins or ends draining: no new sector is begun, and those in work go on to `to` (`step`, `ticket`,
    /// `precommit`; `end` when left out) or, once a precommit may be on chain, to their end. Lasts until
    /// it is ended, over restarts. The threads that have a sector. New.
    #[method(name = "WorkerDrain")]
    async fn worker_drain(&self, on: bool, to: Option<String>) -> RpcResult<Vec<ThreadInfo>>;

    /// The stages: what waits, what runs, and the child processes. New.
    #[method(name = "WorkerProcessors")]
    async fn worker_processors(&self) -> RpcResult<Vec<StageInfo>>;

    /// How full the sealing and persist stores are. New.
    #[method(name = "WorkerDisks")]
    async fn worker_disks(&self) -> RpcResult<Vec<DiskInfo>>;

    /// Keeps what a child (by name, or by the id of its present process) says that is no answer in files of
    /// a directory of the worker's host; no more when `dir` is left out. Holds for its successors, until
    /// the worker's restart. New.
    #[method(name = "WorkerDump")]
    async fn worker_dump(&self, child: String, dir: Option<String>) -> RpcResult<bool>;

    /// The worker's version.
    #[method(name = "WorkerVersion")]
    async fn worker_version(&self) -> RpcResult<String>;

    /// Timeline of the sector a thread works on. New; upstream workers do not have it.
    #[method(name = "WorkerTimeline")]
    async fn worker_timeline(&self, index: u64) -> RpcResult<Vec<TimelineEntry>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_states_have_upstreams_tagged_form() {
        let running = ThreadState::Running {
            elapsed: 3,
            proc: Some("ext(pid: 7)".into()),
        };
        assert_eq!(
            serde_json::to_string(&running).unwrap(),
            r#"{"state":"Running","elapsed":3,"proc":"ext(pid: 7)"}"#
        );
        assert_eq!(
            serde_json::to_string(&ThreadState::Idle).unwrap(),
            r#"{"state":"Idle"}"#
        );
    }
}
