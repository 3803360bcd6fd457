//! What a worker tells the manager of itself.

use serde::{Deserialize, Serialize};

/// A ping (upstream `core.WorkerInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerPing {
    pub name: String,
    /// `ip:port` of the worker's own RPC.
    pub dest: String,
    #[serde(default)]
    pub version: String,
    pub summary: WorkerSummary,
}

/// How many sealing threads are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WorkerSummary {
    pub threads: u32,
    pub empty: u32,
    pub paused: u32,
    pub running: u32,
    pub waiting: u32,
    pub errors: u32,
}

/// A worker as the manager last heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerPingInfo {
    pub info: WorkerPing,
    /// Unix seconds.
    pub last_ping: i64,
    /// Of ours: it said that it stops, and was not heard of since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// Of ours: another living worker of the same name, by its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
}
