//! Persist stores, known to manager and workers by name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A store as the manager names it to a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StoreBasicInfo {
    pub name: String,
    pub path: String,
    pub strict: bool,
    pub read_only: bool,
    pub weight: u64,
    pub meta: Option<BTreeMap<String, String>>,
}

/// Space kept for a sector on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreReserved {
    pub by: String,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub at: i64,
}

/// A store with its space, as `util storage list` shows it. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreDetailedInfo {
    pub name: String,
    pub path: String,
    pub strict: bool,
    pub read_only: bool,
    pub weight: u64,
    pub meta: Option<BTreeMap<String, String>>,
    #[serde(rename = "Type")]
    pub kind: String,
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that the manager may still fill.
    pub free: u64,
    /// Bytes of the file system that are taken.
    pub used: u64,
    /// `used` in percent of `total`.
    pub used_percent: f64,
    /// Bytes kept for sectors on their way here.
    pub reserved: u64,
    pub reserved_by: Vec<StoreReserved>,
    /// Of ours: why nothing is put there or read from there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Names of the stores that a replica lies in; empty: it is in none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorAccessStores {
    pub sealed_file: String,
    pub cache_dir: String,
}

/// What the index knows of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FoundInstance {
    pub found: bool,
    pub instance: SectorAccessStores,
}
