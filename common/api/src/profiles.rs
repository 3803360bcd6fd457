//! `Damocles.*` about profiles: files of the worker's keys that the manager keeps for hosts of
//! one kind.

use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// A profile as workers get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerProfile {
    pub name: String,
    /// TOML with the worker's keys.
    pub text: String,
    /// SHA-256 of the text, in hex.
    pub digest: String,
}

/// A profile as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProfileView {
    pub name: String,
    /// Empty where the file cannot be read.
    pub digest: String,
    /// What is wrong with it, one sentence each.
    pub faults: Vec<String>,
    /// Workers that it is assigned to.
    pub assigned: Vec<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesProfiles {
    /// A profile by its name; with the name `assigned` the one that is assigned to the worker.
    /// None: there is no such profile.
    #[method(name = "WorkerProfile")]
    async fn worker_profile(
        &self,
        name: String,
        worker: String,
    ) -> RpcResult<Option<WorkerProfile>>;

    /// All profiles, by name.
    #[method(name = "WorkerProfiles")]
    async fn worker_profiles(&self) -> RpcResult<Vec<ProfileView>>;

    /// Assigns a profile to a worker; no name takes its assignment away. What it had before.
    #[method(name = "AssignProfile")]
    async fn assign_profile(
        &self,
        worker: String,
        profile: Option<String>,
    ) -> RpcResult<Option<String>>;
}
