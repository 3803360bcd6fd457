//! Why a task of the pool has no output, and what that means for its sector.

use crate::kind::Stage;
use damocles_types::{Failure, Level};

/// Why a task has no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorError {
    #[error("called off while it waited")]
    Cancelled,
    /// The stage itself failed and said so.
    #[error("{stage} failed: {message}")]
    Task {
        stage: Stage,
        message: String,
        level: Level,
        hint: Option<String>,
    },
    /// The process ended under the task: killed, out of memory, or it talked nonsense.
    #[error("the {stage} process {child} (pid {pid}) was lost: {reason}")]
    ChildDied {
        stage: Stage,
        child: String,
        pid: u32,
        reason: String,
        /// What a person can do, where it is known what ended it.
        hint: Option<String>,
    },
    /// `name` is a stage or a sealing daemon.
    #[error("no {name} process can be started: {reason}")]
    NotStartable { name: String, reason: String },
    #[error("the {stage} process answered with something else than its output: {reason}")]
    BadOutput { stage: Stage, reason: String },
    #[error("no {stage} process is configured here")]
    NoStage { stage: Stage },
}

impl ProcessorError {
    /// What it means for the sector; none when the task was only called off.
    pub fn failure(&self) -> Option<Failure> {
        let failure = |level| Failure::new(level, self);
        Some(match self {
            Self::Cancelled => return None,
            Self::Task { level, hint, .. } => Failure {
                hint: hint.clone(),
                ..failure(*level)
            },
            Self::ChildDied { hint, .. } => Failure {
                hint: hint.clone(),
                ..failure(Level::Temporary)
            },
            Self::NotStartable { name, .. } => failure(Level::Temporary).hint(format!(
                "check the program of [[processors.{name}]] by running it by hand"
            )),
            Self::BadOutput { stage, .. } => failure(Level::Permanent).hint(format!(
                "the program of [[processors.{stage}]] may be of another version"
            )),
            Self::NoStage { .. } => failure(Level::Permanent),
        })
    }
}
