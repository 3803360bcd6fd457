//! The life of a WindowPoSt in the manager: one record per miner, opening of a deadline, and
//! batch of partitions that are proven by one message.
//!
//! ```text
//! Waiting ──challenge──► Challenged ──start──► Proving ──prove──► Proved ──send──► Submitted ──land──► Landed
//!    ▲                                            │                 │ ▲               │
//!    └────────────────── again ───────────────────┴─────────────────┘ └────resend─────┤
//!                                                                                     └──fail──► Failed
//! ```
//! Before the deadline closes nothing is given up: a failed attempt leads back to `Waiting`, a
//! failed message back to `Proved`. What is stored is never done twice for the same challenge.

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
pub enum PostState {
    /// The batch is known; its challenge is not drawn, or the last attempt failed.
    Waiting,
    /// The challenge is stored.
    Challenged,
    /// A prover has it.
    Proving,
    /// The proof is verified and stored.
    Proved,
    /// The message engine has it.
    Submitted,
    /// The message is deep enough on chain, exit code 0.
    Landed,
    /// The chain took a proof of these partitions from somebody else.
    Covered,
    /// The message failed, and the deadline is closed.
    Failed,
    /// The deadline closed before a message could be sent.
    Expired,
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
pub enum PostEvent {
    Challenge,
    Start,
    Prove,
    Send,
    Land,
    /// The attempt failed, or the chain drew another challenge.
    Again,
    /// The message failed, and there is time for another one.
    Resend,
    Cover,
    Fail,
    Expire,
    /// Its message left the chain again while the deadline is open.
    Reopen,
}

/// The table of a WindowPoSt's life.
#[derive(Clone, Copy, Debug)]
pub struct PostFlow;

impl Table for PostFlow {
    type State = PostState;
    type Event = PostEvent;
    const START: PostState = PostState::Waiting;

    fn edges(state: PostState) -> &'static [(PostEvent, PostState)] {
        use PostEvent as E;
        use PostState as S;
        match state {
            S::Waiting => &[
                (E::Challenge, S::Challenged),
                (E::Again, S::Waiting),
                (E::Cover, S::Covered),
                (E::Expire, S::Expired),
            ],
            S::Challenged => &[
                (E::Start, S::Proving),
                (E::Again, S::Waiting),
                (E::Cover, S::Covered),
                (E::Expire, S::Expired),
            ],
            S::Proving => &[
                (E::Prove, S::Proved),
                (E::Again, S::Waiting),
                (E::Cover, S::Covered),
                (E::Expire, S::Expired),
            ],
            S::Proved => &[
                (E::Send, S::Submitted),
                (E::Again, S::Waiting),
                (E::Cover, S::Covered),
                (E::Expire, S::Expired),
            ],
            S::Submitted => &[
                (E::Land, S::Landed),
                (E::Resend, S::Proved),
                (E::Cover, S::Covered),
                (E::Fail, S::Failed),
            ],
            S::Landed => &[(E::Reopen, S::Submitted)],
            S::Covered | S::Failed | S::Expired => &[],
        }
    }
}

impl PostState {
    /// Whether nothing more is to be done for the proof, unless a reorganisation opens it again.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Landed | Self::Covered | Self::Failed | Self::Expired
        )
    }

    /// One sentence on what the poster does with a proof in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Waiting => "draw the challenge, when it is deep enough",
            Self::Challenged => "look which sectors can be read",
            Self::Proving => "wait for the prover, verify what it gives",
            Self::Proved => "send it, when the deadline is open",
            Self::Submitted => "wait for the message",
            Self::Landed => {
                "done; opened again if its message leaves the chain while there is time"
            }
            Self::Covered => "done by another poster",
            Self::Failed | Self::Expired => {
                "the deadline was missed: its sectors are faulty until they are declared recovered"
            }
        }
    }
}
