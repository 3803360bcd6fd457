//! The life of a job in the manager: a WindowPoSt that a worker is to prove, one for everything
//! that a proof covers.
//!
//! ```text
//!          ┌──────────── lose ───────────┐
//!          ▼                             │
//! Ready ──take──► Running ──finish──► Finished     (a proof, or sectors that cannot be read)
//!   ▲ ▲             │  └──fail──► Failed  │
//!   │ └────retry────┼───────────────┘ ◄───┘ refuse
//!   └────reset──────┴── from everywhere, by a person
//! ```
//! Each `take` begins an attempt with a number of its own, and only the last one is listened to.
//! An attempt whose worker is silent is lost, and the job waits for another worker; the last one
//! may come back before that. When the deadline closes, or other sectors are to be proven, it is
//! over.

use crate::table::Table;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
)]
pub enum JobState {
    /// It waits for a worker.
    Ready,
    /// A worker has it, and says so again and again.
    Running,
    /// A worker gave an answer.
    Finished,
    /// The last attempt failed, or its proof does not verify.
    Failed,
    /// Nobody wants its proof any more.
    Over,
}

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
)]
pub enum JobEvent {
    /// A worker takes it: a new attempt.
    Take,
    /// The worker of the last attempt lives.
    Beat,
    Finish,
    Fail,
    /// Its worker is silent, or gives it back.
    Lose,
    /// What the worker answered is not believed.
    Refuse,
    Retry,
    /// A person wants it done anew.
    Reset,
    /// The deadline closed, or it was proven otherwise.
    End,
}

/// The table of a job's life.
#[derive(Clone, Copy, Debug)]
pub struct JobFlow;

impl Table for JobFlow {
    type State = JobState;
    type Event = JobEvent;
    const START: JobState = JobState::Ready;

    fn edges(state: JobState) -> &'static [(JobEvent, JobState)] {
        use JobEvent as E;
        use JobState as S;
        match state {
            // the last three are of the attempt before, as long as there is no other
            S::Ready => &[
                (E::Take, S::Running),
                (E::Reset, S::Ready),
                (E::End, S::Over),
                (E::Beat, S::Running),
                (E::Finish, S::Finished),
                (E::Fail, S::Failed),
            ],
            S::Running => &[
                (E::Beat, S::Running),
                (E::Finish, S::Finished),
                (E::Fail, S::Failed),
                (E::Lose, S::Ready),
                (E::Reset, S::Ready),
                (E::End, S::Over),
            ],
            S::Finished => &[
                (E::Refuse, S::Failed),
                (E::Reset, S::Ready),
                (E::End, S::Over),
            ],
            S::Failed => &[
                (E::Retry, S::Ready),
                (E::Reset, S::Ready),
                (E::End, S::Over),
            ],
            S::Over => &[],
        }
    }
}

impl JobState {
    /// Whether it may still be given to a worker, or is at one.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }

    /// One sentence on what the manager does with a job in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Ready => "give it to the next worker that asks; prove it here before it is late",
            Self::Running => "watch that its worker lives; prove it here before it is late",
            Self::Finished => "verify the proof, read the sectors that it names, and use it",
            Self::Failed => "let another worker try, or prove it here",
            Self::Over => "done; forgotten after JobLifetime",
        }
    }
}
