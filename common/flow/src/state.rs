//! States and events of the worker's plans. Names are the contract: they are what is
//! stored, reported, and typed by operators, `PersistanceSubmitted` with its spelling.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Where a sector stands on a worker, named after what is finished.
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
    IntoStaticStr,
)]
pub enum State {
    Empty,
    Allocated,
    DealsAcquired,
    PieceAdded,
    TreeDBuilt,
    TicketAssigned,
    PC1Done,
    PC2Done,
    SyntheticPoRepNeeded,
    PCSubmitted,
    PCLanded,
    Persisted,
    PersistanceSubmitted,
    SeedAssigned,
    C1Done,
    C2Done,
    ProofSubmitted,
    Finished,
    Aborted,
    SnapEncoded,
    SnapProved,
    SealedChecked,
    SnapPieceAdded,
    SnapTreeDBuilt,
    SnapDone,
    Unsealed,
}

/// What happened to a sector: the outcome of a step.
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
    IntoStaticStr,
)]
pub enum Ev {
    Allocate,
    AcquireDeals,
    AddPiece,
    BuildTreeD,
    AssignTicket,
    PC1,
    PC2,
    PC2NeedSyntheticProof,
    SyntheticPoRep,
    SubmitPC,
    CheckPC,
    ReSubmitPC,
    /// The precommit can no longer be made with this ticket: draw a new one and label anew.
    TicketExpired,
    Persist,
    SubmitPersistance,
    AssignSeed,
    /// The proof does not answer the seed that the chain has now (reorganisation).
    SeedChanged,
    C1,
    C2,
    SubmitProof,
    ReSubmitProof,
    /// The proof does not verify: compute it again before anything else.
    ProofInvalid,
    /// The precommit is not on chain any more (reorganisation): hand it in again.
    PreCommitGone,
    Finish,
    /// The sector is given up; allowed in every state with a sector that is not an end.
    Abort,
}

impl State {
    /// Numbers that upstream 0.13 stores, frozen: read them through this list, never write
    /// them. (Upstream once inserted 8 in the middle; older numbers are ambiguous.)
    pub const UPSTREAM_NUMBERS: [(u8, Self); 26] = [
        (0, Self::Empty),
        (1, Self::Allocated),
        (2, Self::DealsAcquired),
        (3, Self::PieceAdded),
        (4, Self::TreeDBuilt),
        (5, Self::TicketAssigned),
        (6, Self::PC1Done),
        (7, Self::PC2Done),
        (8, Self::SyntheticPoRepNeeded),
        (9, Self::PCSubmitted),
        (10, Self::PCLanded),
        (11, Self::Persisted),
        (12, Self::PersistanceSubmitted),
        (13, Self::SeedAssigned),
        (14, Self::C1Done),
        (15, Self::C2Done),
        (16, Self::ProofSubmitted),
        (17, Self::Finished),
        (18, Self::Aborted),
        (19, Self::SnapEncoded),
        (20, Self::SnapProved),
        (21, Self::SealedChecked),
        (22, Self::SnapPieceAdded),
        (23, Self::SnapTreeDBuilt),
        (24, Self::SnapDone),
        (25, Self::Unsealed),
    ];

    /// The state behind a number that upstream 0.13 stored.
    pub fn from_upstream_number(number: u8) -> Option<Self> {
        Self::UPSTREAM_NUMBERS
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, s)| *s)
    }
}
