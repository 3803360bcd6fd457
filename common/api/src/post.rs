//! WindowPoSt as the manager keeps it: one record per (miner, deadline opening, partition batch).

use crate::sector::CidJson;
use damocles_types::{ActorId, Epoch};
use serde::{Deserialize, Serialize};

/// A WindowPoSt of this manager, for `Damocles.WindowPosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WindowPostRecord {
    pub miner: ActorId,
    pub deadline: u64,
    pub partitions: Vec<u64>,
    /// Epoch at which the deadline opened.
    pub open: Epoch,
    pub close: Epoch,
    pub challenge: Epoch,
    /// `Waiting`, `Proving`, `Proved`, `Submitted`, `Landed`, `Failed`, `Expired` …
    pub state: String,
    pub message: Option<CidJson>,
    /// Epoch of the block that carried the message.
    pub landed_at: Option<Epoch>,
    /// Sector numbers left out of the proof, with the reason.
    pub skipped: Vec<(u64, String)>,
    /// Milliseconds that proving took.
    pub proving_ms: Option<u64>,
    pub error: Option<String>,
    /// Heads at which it was known to be due, its challenge was drawn, it was known which sectors
    /// can be read, its proof was verified, and the message engine had it; each the last time.
    #[serde(default)]
    pub seen_at: Option<Epoch>,
    #[serde(default)]
    pub challenged_at: Option<Epoch>,
    #[serde(default)]
    pub read_at: Option<Epoch>,
    #[serde(default)]
    pub proven_at: Option<Epoch>,
    #[serde(default)]
    pub submitted_at: Option<Epoch>,
    /// The manager that took the last step.
    #[serde(default)]
    pub by: Option<String>,
}

/// A sector as upstream's prover is told of it; what the chain has of it is not needed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExtSector {
    pub sector_number: u64,
}
