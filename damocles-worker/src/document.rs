//! The document of the sector that a thread works on: where it stands, by name, and what its
//! finished steps found out. Values only; `metadb` keeps it.
//!
//! Large outputs (PC1, C1) are kept beside it, so that a transition does not write them anew.

use damocles_api::sector::{AllocatedSector, SectorPiece};
use damocles_flow::{PlanName, State};
use damocles_processor::task::Pc2Output;
use damocles_types::{Base64, Failure, PieceInfo, SectorId, Seed, Ticket};
use serde::{Deserialize, Serialize};

/// Version that this program writes. A document of a higher one is not touched.
pub const VERSION: u32 = 1;

/// An output that is kept beside the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum Output {
    Pc1,
    C1,
}

impl Output {
    /// Key in the database.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Pc1 => "pc1",
            Self::C1 => "c1",
        }
    }
}

/// A sector on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub version: u32,
    /// The plan that the sector began with; it holds until the sector's end.
    pub plan: PlanName,
    pub state: State,
    pub prev_state: State,
    pub allocated: AllocatedSector,
    /// Failed attempts at the step of the present state; progress clears them.
    pub tries: u32,
    /// Why the thread waits for a person, if it does.
    pub stopped: Option<Stopped>,
    /// Why the sector is given up.
    pub abort_reason: Option<String>,
    pub phases: Phases,
}

/// A failure that paused the thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Milliseconds since the Unix epoch.
    pub since: u64,
    pub failure: Failure,
}

/// What the steps found out; each is there after its step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Pieces of the sector's deals; empty for a CC sector.
    pub deals: Option<Vec<SectorPiece>>,
    pub piece_infos: Option<Vec<PieceInfo>>,
    pub ticket: Option<Ticket>,
    /// When the ticket was drawn, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub ticket_at: Option<u64>,
    pub pc2: Option<Pc2Output>,
    /// The precommit failed on chain: ask for a new message.
    pub pc2_re_submit: bool,
    pub persist_instance: Option<String>,
    pub seed: Option<Seed>,
    pub proof: Option<Base64>,
    /// The same for the proof.
    pub c2_re_submit: bool,
    /// Precommits given up for another one since one landed or a person looked.
    #[serde(default)]
    pub precommits_failed: u32,
    /// The same for the proof.
    #[serde(default)]
    pub proofs_failed: u32,
}

impl Document {
    /// The document of a sector that was just allocated.
    pub fn new(plan: PlanName, allocated: AllocatedSector) -> Self {
        Self {
            version: VERSION,
            plan,
            state: State::Allocated,
            prev_state: State::Empty,
            allocated,
            tries: 0,
            stopped: None,
            abort_reason: None,
            phases: Phases::default(),
        }
    }

    pub fn sector(&self) -> SectorId {
        self.allocated.id
    }

    /// Whether the sector holds clients' data.
    pub fn has_deals(&self) -> bool {
        let deals = self.phases.deals.iter().flatten();
        deals.into_iter().any(SectorPiece::has_deal)
    }

    /// A person has looked: messages may fail as often as at first. False: none had.
    pub fn forgive(&mut self) -> bool {
        let phases = &mut self.phases;
        let counts = [&mut phases.precommits_failed, &mut phases.proofs_failed];
        let before: u32 = counts.into_iter().map(std::mem::take).sum();
        before > 0
    }

    /// Moves on. Whatever counted for the state that is left counts no more.
    pub fn advance(&mut self, next: State) {
        self.prev_state = self.state;
        self.state = next;
        self.tries = 0;
        self.stopped = None;
    }
    /// Goes to another state because a person says so. What steps behind that state found
    /// out is forgotten, since it may not hold any more; returns the outputs to drop.
    pub fn rewind(&mut self, to: State) -> Vec<Output> {
        use State as S;
        let mut drop = Vec::new();
        let phases = &mut self.phases;
        let (forget_ticket, forget_pc1, forget_pc2, forget_seed, forget_c1, forget_proof) = match to
        {
            S::Empty | S::Allocated | S::DealsAcquired | S::PieceAdded | S::TreeDBuilt => {
                (true, true, true, true, true, true)
            }
            S::TicketAssigned => (false, true, true, true, true, true),
            S::PC1Done => (false, false, true, true, true, true),
            S::SyntheticPoRepNeeded
            | S::PC2Done
            | S::PCSubmitted
            | S::PCLanded
            | S::Persisted
            | S::PersistanceSubmitted => (false, false, false, true, true, true),
            S::SeedAssigned => (false, false, false, false, true, true),
            S::C1Done => (false, false, false, false, false, true),
            S::C2Done | S::ProofSubmitted | S::Finished | S::Aborted => return self.go(to),
            S::SnapEncoded
            | S::SnapProved
            | S::SealedChecked
            | S::SnapPieceAdded
            | S::SnapTreeDBuilt
            | S::SnapDone
            | S::Unsealed => return self.go(to),
        };
        if forget_ticket {
            phases.ticket = None;
        }
        if forget_pc1 {
            drop.push(Output::Pc1);
        }
        if forget_pc2 && phases.pc2.take().is_some() {
            // the manager may hold another precommit of this sector
            phases.pc2_re_submit = true;
        }
        if forget_seed {
            phases.seed = None;
        }
        if forget_c1 {
            drop.push(Output::C1);
        }
        if forget_proof && phases.proof.take().is_some() {
            phases.c2_re_submit = true;
        }
        self.go(to);
        drop
    }

    fn go(&mut self, to: State) -> Vec<Output> {
        self.forgive();
        self.advance(to);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::{Randomness, SealProof, SectorSize};

    #[test]
    fn going_back_forgets_what_came_after() {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        let mut whole = Document::new(PlanName::Sealer, allocated);
        whole.state = State::ProofSubmitted;
        whole.tries = 3;
        whole.phases.ticket = Some(Ticket {
            ticket: Randomness([1; 32]),
            epoch: 5,
        });
        whole.phases.pc2 = Some(Pc2Output {
            registered_proof: allocated.proof_type,
            comm_r: Default::default(),
            comm_d: Default::default(),
        });
        whole.phases.seed = Some(Seed {
            seed: Randomness([2; 32]),
            epoch: 9,
        });
        whole.phases.proof = Some(Base64(vec![1]));
        whole.phases.proofs_failed = 4;

        let mut doc = whole.clone();
        assert!(doc.forgive() && !doc.forgive());
        whole.phases.proofs_failed = 0;

        let mut doc = whole.clone();
        doc.phases.precommits_failed = 2;
        assert_eq!(doc.rewind(State::TreeDBuilt), [Output::Pc1, Output::C1]);
        assert_eq!(
            (doc.state, doc.prev_state, doc.tries),
            (State::TreeDBuilt, State::ProofSubmitted, 0)
        );
        assert_eq!(
            (doc.phases.ticket, doc.phases.pc2, doc.phases.seed),
            (None, None, None)
        );
        assert!(doc.phases.pc2_re_submit && doc.phases.c2_re_submit);
        assert_eq!(doc.phases.precommits_failed, 0);

        let mut doc = whole.clone();
        assert_eq!(doc.rewind(State::SeedAssigned), [Output::C1]);
        assert!(doc.phases.seed.is_some() && doc.phases.proof.is_none());
        assert!(!doc.phases.pc2_re_submit && doc.phases.c2_re_submit);

        let mut doc = whole.clone();
        assert_eq!(doc.rewind(State::C2Done), []);
        assert_eq!(doc.phases, whole.phases);
    }
}
