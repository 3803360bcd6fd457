//! The life of a block that a miner won the right to make: one record per miner and epoch.
//!
//! ```text
//! Won ──ask──► Signing ──sign──► Signed ──send──► Sent ──include──► Included
//!  │              │                │  │             └────orphan────► Orphaned
//!  └─────lose─────┴──────lose──────┘  └─refuse──► Refused
//! ```
//! Two blocks of one epoch, or two on the same parents, cost a miner its collateral. So that a block
//! is to be signed is written down before anybody is asked for the signature: from `Signing` on the
//! epoch is used up, whatever becomes of it. What was signed is sent as it is, or not at all.

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
pub enum BlockState {
    /// The election is won; the proof is being made.
    Won,
    /// The node may be asked to make the block and sign it.
    Signing,
    /// The signed block is stored.
    Signed,
    /// The node has taken it.
    Sent,
    /// It is in the chain.
    Included,
    /// The chain went on without it.
    Orphaned,
    /// The node refuses it.
    Refused,
    /// It was not there in time, or must not be made.
    Lost,
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
pub enum BlockEvent {
    Ask,
    Sign,
    Send,
    Include,
    Orphan,
    Refuse,
    Lose,
}

/// The table of a block's life.
#[derive(Clone, Copy, Debug)]
pub struct BlockFlow;

impl Table for BlockFlow {
    type State = BlockState;
    type Event = BlockEvent;
    const START: BlockState = BlockState::Won;

    fn edges(state: BlockState) -> &'static [(BlockEvent, BlockState)] {
        use BlockEvent as E;
        use BlockState as S;
        match state {
            S::Won => &[(E::Ask, S::Signing), (E::Lose, S::Lost)],
            S::Signing => &[(E::Sign, S::Signed), (E::Lose, S::Lost)],
            // it may have arrived although its answer was lost
            S::Signed => &[
                (E::Send, S::Sent),
                (E::Include, S::Included),
                (E::Refuse, S::Refused),
                (E::Lose, S::Lost),
            ],
            S::Sent => &[(E::Include, S::Included), (E::Orphan, S::Orphaned)],
            S::Included | S::Orphaned | S::Refused | S::Lost => &[],
        }
    }
}

impl BlockState {
    /// Whether nothing more is to be done for the block.
    pub fn is_final(self) -> bool {
        BlockFlow::edges(self).is_empty()
    }

    /// One sentence on what is done with a block in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Won => "read the challenged sector, make the WinningPoSt, choose messages",
            Self::Signing => {
                "have the block made and signed; after a restart it is lost, as nobody knows whether it was"
            }
            Self::Signed => "send it while there is time, always the same bytes",
            Self::Sent => "look some epochs later whether the chain has it",
            Self::Included => "done",
            Self::Orphaned => "the network saw it too late, or another block in its place",
            Self::Refused => "the node says why",
            Self::Lost => "the record says where the time went, or why it must not be made",
        }
    }
}
