//! How a child is started and kept: what the pool has made of its config.

use crate::parent::placement::Environment;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// How a child is started and kept.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Stage name, as in the ready line.
    pub stage: String,
    /// For people: `pc1-0`.
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub environment: Environment,
    pub stable_wait: Duration,
    pub auto_restart: bool,
    /// Started by the first request, ended after this long without work.
    pub on_demand: Option<Duration>,
    /// Its cgroup, removed after its end.
    pub cgroup: Option<String>,
}
