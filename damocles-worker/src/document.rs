//! The document of the sector that a thread works on: where it stands, by name, and what its
//! finished steps found out. Values only; `metadb` keeps it.
//!
//! Large outputs (PC1, C1) are kept beside it, so that a transition does not write them anew.

use damocles_api::sector::{AllocatedSector, SectorPiece};
use damocles_flow::{Finding, PlanName, State};
use damocles_processor::task::Pc2Output;
use damocles_types::{Base64, Failure, PieceInfo, SectorId, Seed, Ticket};
use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator;

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
    /// A person gave it up, here at the worker.
    #[serde(default)]
    pub given_up_by_person: bool,
    /// The database of the manager that allocated the sector, as it names itself. None: it does
    /// not say (upstream's), or the sector is older than the question.
    #[serde(default)]
    pub manager: Option<String>,
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
    /// The sealed sector has answered challenges, where `verify_after_pc2` wants that.
    #[serde(default)]
    pub verified: bool,
    /// A precommit with this ticket was handed to the manager.
    #[serde(default)]
    pub precommit_sent: bool,
    /// It is being handed in: whether the manager has it is not known before it answers.
    #[serde(default)]
    pub precommit_asked: bool,
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
    /// Tickets that layers were built upon and that were too old before a message was made.
    #[serde(default)]
    pub tickets_spent: u32,
}

impl Document {
    /// The document of a sector that was just allocated.
    pub fn new(plan: PlanName, allocated: AllocatedSector, manager: Option<String>) -> Self {
        Self {
            version: VERSION,
            plan,
            state: State::Allocated,
            prev_state: State::Empty,
            allocated,
            tries: 0,
            stopped: None,
            abort_reason: None,
            given_up_by_person: false,
            manager,
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

    /// A person has looked: messages may fail, and tickets grow old, as often as at first. False:
    /// none had.
    pub fn forgive(&mut self) -> bool {
        let phases = &mut self.phases;
        let counts = [
            &mut phases.precommits_failed,
            &mut phases.proofs_failed,
            &mut phases.tickets_spent,
        ];
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

    /// Whether the manager may have put this sector's precommit on chain: from then on another
    /// replica would never be taken, and a deposit is at stake.
    pub fn precommit_sent(&self) -> bool {
        use State as S;
        let by_state = match self.state {
            S::PCSubmitted
            | S::PCLanded
            | S::Persisted
            | S::PersistanceSubmitted
            | S::SeedAssigned
            | S::C1Done
            | S::C2Done
            | S::ProofSubmitted
            | S::Finished => true,
            S::Empty
            | S::Allocated
            | S::DealsAcquired
            | S::PieceAdded
            | S::TreeDBuilt
            | S::TicketAssigned
            | S::PC1Done
            | S::PC2Done
            | S::SyntheticPoRepNeeded
            | S::Aborted
            | S::SnapEncoded
            | S::SnapProved
            | S::SealedChecked
            | S::SnapPieceAdded
            | S::SnapTreeDBuilt
            | S::SnapDone
            | S::Unsealed => false,
        };
        // a document of an older version has only its state
        by_state || self.phases.precommit_sent || self.phases.precommit_asked
    }

    /// Whether the finding is there; the large ones lie beside the document.
    pub fn has(&self, finding: Finding, beside: impl Fn(Output) -> bool) -> bool {
        let phases = &self.phases;
        match finding {
            Finding::Deals => phases.deals.is_some(),
            Finding::Pieces => phases.piece_infos.is_some(),
            Finding::Ticket => phases.ticket.is_some(),
            Finding::Pc1 => beside(Output::Pc1),
            Finding::Pc2 => phases.pc2.is_some(),
            Finding::Persisted => phases.persist_instance.is_some(),
            Finding::Seed => phases.seed.is_some(),
            Finding::C1 => beside(Output::C1),
            Finding::Proof => phases.proof.is_some(),
        }
    }

    /// Goes to another state because a person says so. What steps behind that state found
    /// out is forgotten, since it may not hold any more; returns the outputs to drop.
    pub fn rewind(&mut self, to: State) -> Vec<Output> {
        let ends = matches!(to, State::Finished | State::Aborted);
        let keeps = self.plan.needs(to).filter(|_| !ends);
        let behind = Finding::iter().filter(|f| keeps.is_some_and(|keeps| !keeps.contains(f)));
        let drop = behind.filter_map(|finding| self.forget(finding)).collect();
        self.forgive();
        self.advance(to);
        drop
    }

    /// Forgets what a step found out; the output to drop, if it lies beside the document.
    fn forget(&mut self, finding: Finding) -> Option<Output> {
        let phases = &mut self.phases;
        match finding {
            Finding::Deals => phases.deals = None,
            Finding::Pieces => phases.piece_infos = None,
            Finding::Ticket => (phases.ticket, phases.ticket_at) = (None, None),
            Finding::Pc1 => return Some(Output::Pc1),
            Finding::Pc2 => {
                // the manager may hold another precommit of this sector
                phases.pc2_re_submit |= phases.pc2.take().is_some();
                phases.verified = false;
            }
            Finding::Persisted => phases.persist_instance = None,
            Finding::Seed => phases.seed = None,
            Finding::C1 => return Some(Output::C1),
            Finding::Proof => phases.c2_re_submit |= phases.proof.take().is_some(),
        }
        None
    }

    /// What of a sector that is given up stays elsewhere, for a person to know.
    pub fn remains(&self) -> Option<String> {
        let mut stays = Vec::new();
        if self.precommit_sent() {
            stays.push(
                "its precommit and the deposit for it stay on chain until they expire there"
                    .to_owned(),
            );
        }
        if let Some(store) = &self.phases.persist_instance {
            let sector = self.sector();
            stays.push(format!(
                "its files stay in the persist store {store:?} (sealed/{sector}, cache/{sector})"
            ));
        }
        (!stays.is_empty()).then(|| stays.join("; "))
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
        let mut whole = Document::new(PlanName::Sealer, allocated, None);
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
        whole.phases.persist_instance = Some("hdd".into());
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
        assert_eq!(
            doc.phases.persist_instance, None,
            "the files there are those of the replica before"
        );

        let mut doc = whole.clone();
        assert_eq!(doc.rewind(State::SeedAssigned), [Output::C1]);
        assert!(doc.phases.seed.is_some() && doc.phases.proof.is_none());
        assert!(!doc.phases.pc2_re_submit && doc.phases.c2_re_submit);

        let mut doc = whole.clone();
        assert_eq!(doc.rewind(State::C2Done), []);
        assert_eq!(doc.phases, whole.phases);
    }
    #[test]
    fn what_is_behind_a_state_is_forgotten_and_nothing_else() {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        let mut whole = Document::new(PlanName::Sealer, allocated, None);
        whole.state = State::ProofSubmitted;
        let phases = &mut whole.phases;
        (phases.deals, phases.piece_infos) = (Some(Vec::new()), Some(Vec::new()));
        phases.ticket = Some(Ticket {
            ticket: Randomness([1; 32]),
            epoch: 5,
        });
        phases.pc2 = Some(Pc2Output {
            registered_proof: allocated.proof_type,
            comm_r: Default::default(),
            comm_d: Default::default(),
        });
        phases.persist_instance = Some("hdd".into());
        phases.seed = Some(Seed {
            seed: Randomness([2; 32]),
            epoch: 9,
        });
        phases.proof = Some(Base64(vec![1]));
        for to in PlanName::Sealer.states() {
            let mut doc = whole.clone();
            let dropped = doc.rewind(to);
            let ends = matches!(to, State::Finished | State::Aborted);
            let kept = PlanName::Sealer.needs(to).unwrap();
            for finding in Finding::iter() {
                assert_eq!(
                    doc.has(finding, |output| !dropped.contains(&output)),
                    ends || kept.contains(&finding),
                    "{to}: {finding:?}"
                );
            }
        }
    }

    #[test]
    fn a_document_of_the_first_version_knows_what_was_sent_by_its_state() {
        let text = r#"{"version":1,"plan":"sealer","state":"PCLanded","prev_state":"PCSubmitted",
            "allocated":{"ID":{"Miner":1000,"Number":7},"ProofType":5},"tries":0,"stopped":null,
            "abort_reason":null,"phases":{"deals":[],"piece_infos":[],"ticket":null,"pc2":null,
            "pc2_re_submit":false,"persist_instance":null,"seed":null,"proof":null,
            "c2_re_submit":false}}"#;
        let mut doc: Document = serde_json::from_str(text).unwrap();
        assert!(doc.precommit_sent() && doc.manager.is_none() && !doc.given_up_by_person);
        assert!(doc.remains().is_some_and(|r| r.contains("deposit")));
        doc.state = State::PC2Done;
        assert!(!doc.precommit_sent());
        assert_eq!(doc.remains(), None);
    }
}
