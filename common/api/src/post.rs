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
}
