//! How the faulty sectors of a deadline come to be declared recovered: one record per miner and
//! opening of a deadline that has some. It is made before the deadline's fault cut-off, after
//! which the chain takes no declaration for that opening.
//!
//! ```text
//! Looking ──declare──► Declared ──land──► Landed
//!   │ ▲  └──clear──► Cleared   │
//!   │ └────────again───────────┤
//!   └──pass──► Passed ◄──pass──┘
//! ```
//! Declared is only what was read. What is not stays faulty until the next proving period, whose
//! opening has a record of its own.

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
pub enum RecoveryState {
    /// The deadline has faulty sectors; which of them can be read is not known yet.
    Looking,
    /// The message engine has the declarations.
    Declared,
    /// All of them are on chain: the next WindowPoSt of the deadline must prove the sectors.
    Landed,
    /// The chain knows no faulty sector of the deadline any more that is not recovering.
    Cleared,
    /// The cut-off passed before a declaration was on chain.
    Passed,
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
pub enum RecoveryEvent {
    Declare,
    Land,
    /// A message failed while there is time.
    Again,
    Clear,
    Pass,
}

#[derive(Debug)]
pub struct RecoveryFlow;

impl Table for RecoveryFlow {
    type State = RecoveryState;
    type Event = RecoveryEvent;
    const START: RecoveryState = RecoveryState::Looking;

    fn edges(state: RecoveryState) -> &'static [(RecoveryEvent, RecoveryState)] {
        use RecoveryEvent as E;
        use RecoveryState as S;
        match state {
            S::Looking => &[
                (E::Declare, S::Declared),
                (E::Clear, S::Cleared),
                (E::Pass, S::Passed),
            ],
            S::Declared => &[
                (E::Land, S::Landed),
                (E::Again, S::Looking),
                (E::Pass, S::Passed),
            ],
            S::Landed | S::Cleared | S::Passed => &[],
        }
    }
}

impl RecoveryState {
    /// Whether nothing more is to be done for this opening of the deadline.
    pub fn is_final(self) -> bool {
        RecoveryFlow::edges(self).is_empty()
    }

    /// One sentence on what the poster does in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Looking => "read the faulty sectors; declare those recovered that can be proven",
            Self::Declared => "wait for the messages",
            Self::Landed => {
                "done; the sectors are healthy again with the deadline's next WindowPoSt"
            }
            Self::Cleared => "done by another, or the sectors are no more",
            Self::Passed => {
                "its sectors stay faulty for this proving period; the next one looks again"
            }
        }
    }
}
