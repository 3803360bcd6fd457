//! The timeline of a sector: one entry per attempt at a step, kept by the worker and
//! reported to the manager. It answers: where did the time go, and did anything run twice?

use damocles_types::Level;
use serde::{Deserialize, Serialize};

/// How an attempt at a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", tag = "Result")]
pub enum Ending {
    /// The step's output is on disk and the sector moved to `Next`.
    #[serde(rename_all = "PascalCase")]
    Done { next: String },
    /// The step failed.
    #[serde(rename_all = "PascalCase")]
    Failed { level: Level, message: String },
    /// The daemon ended while the step ran; found at the next start.
    Interrupted,
}

/// One attempt at a step. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimelineEntry {
    /// Position in the sector's timeline, from 0; with the sector it identifies the entry,
    /// so that reporting twice is harmless.
    pub seq: u64,
    /// The state whose step was attempted, e.g. `PC1Done`.
    pub state: String,
    /// The step's stage label as `worker list` shows it, e.g. `PC2`.
    pub stage: String,
    /// When the sector came to the step.
    pub queued_at: u64,
    /// When the step began to run: after stage token, child's slot and locks were got.
    /// Absent while waiting.
    pub started_at: Option<u64>,
    /// When the attempt ended.
    pub ended_at: Option<u64>,
    /// Who ran it: `ext(pid: N)` for a child process, empty for a step without one.
    pub child: Option<String>,
    /// Which implementation computed it, when the stage has more than one.
    pub kernel: Option<String>,
    /// Absent while the attempt goes on.
    pub ending: Option<Ending>,
}

impl TimelineEntry {
    /// Milliseconds between coming to the step and beginning to run it.
    pub fn waited_ms(&self) -> u64 {
        self.started_at
            .map_or(0, |s| s.saturating_sub(self.queued_at))
    }

    /// Milliseconds the step ran.
    pub fn ran_ms(&self) -> u64 {
        match (self.started_at, self.ended_at) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => 0,
        }
    }
}
