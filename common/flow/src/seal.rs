//! The sealer plan: from nothing to a proven sector.
//!
//! ```text
//! Empty → Allocated → DealsAcquired → PieceAdded → TreeDBuilt → TicketAssigned → PC1Done
//!       → PC2Done (or SyntheticPoRepNeeded → PC2Done) → PCSubmitted → PCLanded → Persisted
//!       → PersistanceSubmitted → SeedAssigned → C1Done → C2Done → ProofSubmitted → Finished
//! ```
//! Beside the straight road: a message that failed is submitted again (`ReSubmit…`), an
//! expired ticket leads back to `TreeDBuilt`, a changed seed back to `PersistanceSubmitted`, a
//! proof that does not hold back to `C1Done`, a precommit that left the chain back to `PC2Done`,
//! and every state with a sector that is not an end may lead to `Aborted`.
//!
//! `needs` is the other half of the table: what was found out on the way to a state. What a
//! state lacks, and what is forgotten on the way back to it, both follow from it.

use crate::{
    state::{Ev, State},
    table::Table,
};
use strum::EnumIter;

/// The table of the sealer plan.
#[derive(Clone, Copy, Debug)]
pub struct Seal;

impl Table for Seal {
    type State = State;
    type Event = Ev;
    const START: State = State::Empty;

    fn edges(state: State) -> &'static [(Ev, State)] {
        use Ev::Abort;
        use State as S;
        match state {
            S::Empty => &[(Ev::Allocate, S::Allocated)],
            S::Allocated => &[(Ev::AcquireDeals, S::DealsAcquired), (Abort, S::Aborted)],
            S::DealsAcquired => &[(Ev::AddPiece, S::PieceAdded), (Abort, S::Aborted)],
            S::PieceAdded => &[(Ev::BuildTreeD, S::TreeDBuilt), (Abort, S::Aborted)],
            S::TreeDBuilt => &[(Ev::AssignTicket, S::TicketAssigned), (Abort, S::Aborted)],
            S::TicketAssigned => &[
                (Ev::PC1, S::PC1Done),
                (Ev::TicketExpired, S::TreeDBuilt),
                (Abort, S::Aborted),
            ],
            S::PC1Done => &[
                (Ev::PC2, S::PC2Done),
                (Ev::PC2NeedSyntheticProof, S::SyntheticPoRepNeeded),
                (Ev::TicketExpired, S::TreeDBuilt),
                (Abort, S::Aborted),
            ],
            S::SyntheticPoRepNeeded => &[(Ev::SyntheticPoRep, S::PC2Done), (Abort, S::Aborted)],
            S::PC2Done => &[
                (Ev::SubmitPC, S::PCSubmitted),
                (Ev::TicketExpired, S::TreeDBuilt),
                (Abort, S::Aborted),
            ],
            S::PCSubmitted => &[
                (Ev::CheckPC, S::PCLanded),
                (Ev::ReSubmitPC, S::PC2Done),
                (Ev::TicketExpired, S::TreeDBuilt),
                (Abort, S::Aborted),
            ],
            S::PCLanded => &[(Ev::Persist, S::Persisted), (Abort, S::Aborted)],
            S::Persisted => &[
                (Ev::SubmitPersistance, S::PersistanceSubmitted),
                (Abort, S::Aborted),
            ],
            S::PersistanceSubmitted => &[(Ev::AssignSeed, S::SeedAssigned), (Abort, S::Aborted)],
            S::SeedAssigned => &[(Ev::C1, S::C1Done), (Abort, S::Aborted)],
            S::C1Done => &[(Ev::C2, S::C2Done), (Abort, S::Aborted)],
            S::C2Done => &[
                (Ev::SubmitProof, S::ProofSubmitted),
                (Ev::SeedChanged, S::PersistanceSubmitted),
                (Ev::ProofInvalid, S::C1Done),
                (Ev::PreCommitGone, S::PC2Done),
                (Abort, S::Aborted),
            ],
            S::ProofSubmitted => &[
                (Ev::Finish, S::Finished),
                (Ev::ReSubmitProof, S::C2Done),
                (Ev::SeedChanged, S::PersistanceSubmitted),
                (Ev::ProofInvalid, S::C1Done),
                (Ev::PreCommitGone, S::PC2Done),
                (Abort, S::Aborted),
            ],
            S::Finished | S::Aborted => &[],
            // Foreign to this plan.
            S::SnapEncoded
            | S::SnapProved
            | S::SealedChecked
            | S::SnapPieceAdded
            | S::SnapTreeDBuilt
            | S::SnapDone
            | S::Unsealed => &[],
        }
    }
}

/// Something that a step finds out and that later steps stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter)]
pub enum Finding {
    Deals,
    Pieces,
    Ticket,
    Pc1,
    Pc2,
    Persisted,
    Seed,
    C1,
    Proof,
}

impl Finding {
    /// As an operator reads it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Deals => "the answer about deals",
            Self::Pieces => "the pieces",
            Self::Ticket => "the ticket",
            Self::Pc1 => "the output of PC1",
            Self::Pc2 => "the output of PC2",
            Self::Persisted => "the name of the persist store",
            Self::Seed => "the seed",
            Self::C1 => "the output of C1",
            Self::Proof => "the output of C2",
        }
    }
}

/// What an event brings with it.
pub const fn finds(event: Ev) -> Option<Finding> {
    match event {
        Ev::AcquireDeals => Some(Finding::Deals),
        Ev::AddPiece => Some(Finding::Pieces),
        Ev::AssignTicket => Some(Finding::Ticket),
        Ev::PC1 => Some(Finding::Pc1),
        Ev::PC2 | Ev::PC2NeedSyntheticProof => Some(Finding::Pc2),
        Ev::Persist => Some(Finding::Persisted),
        Ev::AssignSeed => Some(Finding::Seed),
        Ev::C1 => Some(Finding::C1),
        Ev::C2 => Some(Finding::Proof),
        Ev::Allocate
        | Ev::BuildTreeD
        | Ev::SyntheticPoRep
        | Ev::SubmitPC
        | Ev::CheckPC
        | Ev::ReSubmitPC
        | Ev::TicketExpired
        | Ev::SubmitPersistance
        | Ev::SeedChanged
        | Ev::ProofInvalid
        | Ev::PreCommitGone
        | Ev::SubmitProof
        | Ev::ReSubmitProof
        | Ev::Finish
        | Ev::Abort => None,
    }
}

/// What has been found out when a sector stands in a state. A sector that lacks some of it
/// cannot go on from there; what it has beyond it does not hold there any more. None: the state
/// belongs to another plan. The two ends keep whatever there is.
pub const fn needs(state: State) -> Option<&'static [Finding]> {
    use Finding as F;
    use State as S;
    Some(match state {
        S::Empty | S::Allocated | S::Aborted => &[],
        S::DealsAcquired => &[F::Deals],
        S::PieceAdded | S::TreeDBuilt => &[F::Deals, F::Pieces],
        S::TicketAssigned => &[F::Deals, F::Pieces, F::Ticket],
        S::PC1Done => &[F::Deals, F::Pieces, F::Ticket, F::Pc1],
        S::SyntheticPoRepNeeded | S::PC2Done | S::PCSubmitted | S::PCLanded => {
            &[F::Deals, F::Pieces, F::Ticket, F::Pc1, F::Pc2]
        }
        S::Persisted | S::PersistanceSubmitted => {
            &[F::Deals, F::Pieces, F::Ticket, F::Pc1, F::Pc2, F::Persisted]
        }
        S::SeedAssigned => &[
            F::Deals,
            F::Pieces,
            F::Ticket,
            F::Pc1,
            F::Pc2,
            F::Persisted,
            F::Seed,
        ],
        S::C1Done => &[
            F::Deals,
            F::Pieces,
            F::Ticket,
            F::Pc1,
            F::Pc2,
            F::Persisted,
            F::Seed,
            F::C1,
        ],
        S::C2Done | S::ProofSubmitted | S::Finished => &[
            F::Deals,
            F::Pieces,
            F::Ticket,
            F::Pc1,
            F::Pc2,
            F::Persisted,
            F::Seed,
            F::C1,
            F::Proof,
        ],
        S::SnapEncoded
        | S::SnapProved
        | S::SealedChecked
        | S::SnapPieceAdded
        | S::SnapTreeDBuilt
        | S::SnapDone
        | S::Unsealed => return None,
    })
}

/// The stage that a state leads into, as `worker list` shows it (upstream's labels).
pub const fn stage_label(state: State) -> &'static str {
    use State as S;
    match state {
        S::Empty => "Allocate",
        S::Allocated => "AcquireDeals",
        S::DealsAcquired => "AddPieces",
        S::PieceAdded => "TreeD",
        S::TreeDBuilt => "AssignTicket",
        S::TicketAssigned => "PC1",
        S::PC1Done => "PC2",
        S::SyntheticPoRepNeeded => "SyntheticPoRep",
        S::PC2Done => "SubmitPreCommit",
        S::PCSubmitted => "WaitPCLanded",
        S::PCLanded => "PersistFiles",
        S::Persisted => "SubmitPersisted",
        S::PersistanceSubmitted => "WaitSeed",
        S::SeedAssigned => "C1",
        S::C1Done => "C2",
        S::C2Done => "SubmitProof",
        S::ProofSubmitted => "WaitProofLanded",
        S::Finished => "Finalize",
        S::Aborted => "Abort",
        S::SnapEncoded
        | S::SnapProved
        | S::SealedChecked
        | S::SnapPieceAdded
        | S::SnapTreeDBuilt
        | S::SnapDone
        | S::Unsealed => "-",
    }
}

/// One sentence on what the step of a state does.
pub const fn step_sentence(state: State) -> &'static str {
    use State as S;
    match state {
        S::Empty => "ask the manager for a sector number",
        S::Allocated => "ask the manager for deals, if the thread takes deals",
        S::DealsAcquired => {
            "write the pieces into the staged file, or an empty one for a CC sector"
        }
        S::PieceAdded => "build tree D over the staged file",
        S::TreeDBuilt => "ask the manager for a ticket",
        S::TicketAssigned => "label the layers (PC1)",
        S::PC1Done => "build the trees and encode the replica (PC2)",
        S::SyntheticPoRepNeeded => "make the synthetic proofs and drop the layers",
        S::PC2Done => "hand CommR and CommD to the manager",
        S::PCSubmitted => "wait until the precommit has landed",
        S::PCLanded => "move sealed file and cache into a persist store, verified",
        S::Persisted => "tell the manager where they are",
        S::PersistanceSubmitted => "wait for the seed",
        S::SeedAssigned => "answer the challenges (C1)",
        S::C1Done => "make the SNARK (C2)",
        S::C2Done => "hand the proof to the manager",
        S::ProofSubmitted => "wait until the proof has landed",
        S::Finished => "report, and clear the sealing store for the next sector",
        S::Aborted => "report, and clear the sealing store",
        S::SnapEncoded
        | S::SnapProved
        | S::SealedChecked
        | S::SnapPieceAdded
        | S::SnapTreeDBuilt
        | S::SnapDone
        | S::Unsealed => "foreign to this plan",
    }
}
