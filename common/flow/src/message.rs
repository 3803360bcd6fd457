//! The life of a chain message in the manager.
//!
//! ```text
//! Wanted ──push──► Pushed ──pack──► Packed ──land──► Landed ──settle──► Final
//!  │   ▲              │  ◄─unpack─────┴───────────────┘  (reorganisation)
//!  │   └──lose────────┤      (another message took the nonce: a new attempt)
//!  │                  └──fail──► Failed ──settle──► FailedFinal    (exit code not 0)
//!  │                     ◄─unpack──┘
//!  └──refuse──► Rejected ◄──refuse── Pushed  (it was never on chain, and never will be; a message
//!                                             of nothing has its nonce)
//! ```
//! The intent is stored (`Wanted`) before anything leaves the process; pushing again with
//! the same id gives the same message, so a kill between any two states costs nothing. Landed
//! is not final, and neither is failed: until the chain has finalised it, a message that leaves
//! the chain is open again.

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
pub enum MessageState {
    /// Stored with its id and parameters; nothing has left the process for certain.
    Wanted,
    /// The node has it, CID and nonce are known; or a messager has it, and will tell them.
    Pushed,
    /// A block has it, but not yet deep enough.
    Packed,
    /// Deep enough, exit code 0; watched until the chain has finalised it.
    Landed,
    /// Deep enough, another exit code; watched as well.
    Failed,
    /// The node refuses it and would again.
    Rejected,
    /// Landed where the chain cannot change any more.
    Final,
    /// Failed where the chain cannot change any more.
    FailedFinal,
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
pub enum MessageEvent {
    Push,
    Refuse,
    Pack,
    Unpack,
    Land,
    Fail,
    Lose,
    Settle,
}

/// The table of a message's life.
#[derive(Clone, Copy, Debug)]
pub struct MessageFlow;

impl Table for MessageFlow {
    type State = MessageState;
    type Event = MessageEvent;
    const START: MessageState = MessageState::Wanted;

    fn edges(state: MessageState) -> &'static [(MessageEvent, MessageState)] {
        use MessageEvent as E;
        use MessageState as S;
        match state {
            S::Wanted => &[(E::Push, S::Pushed), (E::Refuse, S::Rejected)],
            S::Pushed => &[
                (E::Pack, S::Packed),
                (E::Land, S::Landed),
                (E::Fail, S::Failed),
                (E::Lose, S::Wanted),
                (E::Refuse, S::Rejected),
            ],
            S::Packed => &[
                (E::Unpack, S::Pushed),
                (E::Land, S::Landed),
                (E::Fail, S::Failed),
            ],
            S::Landed => &[
                (E::Settle, S::Final),
                (E::Unpack, S::Pushed),
                (E::Fail, S::Failed),
            ],
            S::Failed => &[
                (E::Settle, S::FailedFinal),
                (E::Unpack, S::Pushed),
                (E::Land, S::Landed),
            ],
            S::Final | S::FailedFinal | S::Rejected => &[],
        }
    }
}

impl MessageState {
    /// Whether it is on chain, deep enough, with exit code 0.
    pub fn has_landed(self) -> bool {
        matches!(self, Self::Landed | Self::Final)
    }

    /// Whether it is on chain, deep enough, with another exit code.
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::FailedFinal)
    }

    /// Whether it ended on chain where the chain may still change.
    pub fn is_watched(self) -> bool {
        matches!(self, Self::Landed | Self::Failed)
    }

    /// Whether it is not on its way any more, on chain or without having come there.
    pub fn has_ended(self) -> bool {
        self.is_final() || self.is_watched()
    }

    /// Whether nothing more will happen to the message.
    pub fn is_final(self) -> bool {
        MessageFlow::edges(self).is_empty()
    }

    /// One sentence on what the engine does with a message in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Wanted => "push it to the node, with its own id",
            Self::Pushed => {
                "look for it on chain; while its nonce is free, push its signed bytes again, make it dearer, or withdraw it"
            }
            Self::Packed => "wait until enough epochs lie on top",
            Self::Landed => "look again at each new head, until the chain has finalised it",
            Self::Final => "done",
            Self::Failed => {
                "ended on chain with an error; whoever wanted it decides; look again at each new head, until the chain has finalised it"
            }
            Self::FailedFinal => "ended on chain with an error; whoever wanted it decides",
            Self::Rejected => "never went on chain; whoever wanted it decides",
        }
    }
}
