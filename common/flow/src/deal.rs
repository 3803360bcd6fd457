//! The life of a deal in the manager's own queue: a client's data that is to be sealed.
//!
//! ```text
//! Waiting ──take──► InSector ──finish──► Sealed
//!   │  ▲               │
//!   │  └────release────┴──────────────┘   (the sector was given up, or left the chain and was)
//!   ├──cancel──► Cancelled
//!   └──expire──► Expired   (nobody sealed it in time)
//!
//!                InSector ──give back──► Returning ──given back──► Returned
//! ```
//! A deal is in one sector at most. What is in a sector stays with it to the end of that: a deal
//! goes back only when its sector is given up. One that a market assigned goes back to the market, in
//! the place of `release`: it never waits here.

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
pub enum DealState {
    /// For a sector with room for it.
    Waiting,
    /// A sector that is being sealed has it.
    InSector,
    /// Its sector is proven and finished.
    Sealed,
    /// A person took it back.
    Cancelled,
    /// It had to be on chain before now.
    Expired,
    /// The market that assigned it is to have it back.
    Returning,
    /// The market has it back.
    Returned,
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
pub enum DealEvent {
    Take,
    Release,
    Finish,
    Cancel,
    Expire,
    GiveBack,
    GivenBack,
}

/// The table of a deal's life.
#[derive(Clone, Copy, Debug)]
pub struct DealFlow;

impl Table for DealFlow {
    type State = DealState;
    type Event = DealEvent;
    const START: DealState = DealState::Waiting;

    fn edges(state: DealState) -> &'static [(DealEvent, DealState)] {
        use DealEvent as E;
        use DealState as S;
        match state {
            S::Waiting => &[
                (E::Take, S::InSector),
                (E::Cancel, S::Cancelled),
                (E::Expire, S::Expired),
            ],
            S::InSector => &[
                (E::Release, S::Waiting),
                (E::Finish, S::Sealed),
                (E::GiveBack, S::Returning),
            ],
            S::Sealed => &[(E::Release, S::Waiting), (E::GiveBack, S::Returning)],
            S::Returning => &[(E::GivenBack, S::Returned)],
            S::Cancelled | S::Expired | S::Returned => &[],
        }
    }
}

impl DealState {
    /// One sentence on what is done with a deal in this state.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Waiting => "put it into the next sector that has room, and whose life suits it",
            Self::InSector => {
                "seal the sector; look again on chain before its precommit and its proof"
            }
            Self::Sealed => "done",
            Self::Cancelled => "nothing; it may be added again",
            Self::Expired => "nothing; the chain does not take it any more",
            Self::Returning => {
                "tell the market that assigned it that it is free, until it has heard"
            }
            Self::Returned => "nothing; the market may assign it again",
        }
    }
}
