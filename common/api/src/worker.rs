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
}

/// A sign of life of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// In the child's words: `layer 3 of 11`, `no sign of it for 5 min`.
    pub text: String,
    /// Seconds since it was said.
    pub ago: u64,
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

    /// Begins or ends draining: no new sector is begun. The threads that have one. New.
    #[method(name = "WorkerDrain")]
    async fn worker_drain(&self, on: bool) -> RpcResult<Vec<ThreadInfo>>;

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
