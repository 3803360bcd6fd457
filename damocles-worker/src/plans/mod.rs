//! Plans: for every state of a sector, the step that is done there. The table of states and
//! events is in `damocles-flow`; here is what is done, and nothing about when or what next
//! (that is `threads`).
//!
//! A step is called with the sector's document and answers with an [`Event`]. It may be
//! called again after any interruption and must come to the same end (law 3).

pub mod stop;
pub mod step;
pub mod steps;
pub mod sealer;

pub use step::{Heard, Programs, Step, World};
pub use stop::Stop;

use crate::{
    control::Closed,
    document::{Document, Output},
    event::Event,
};
use damocles_flow::{Finding, PlanName, State};

/// Does the steps of one plan.
pub trait Plan: Send + Sync + std::fmt::Debug {
    fn name(&self) -> PlanName;

    /// Does the step of a state. `Finished` and `Aborted` are ends: the thread clears up there.
    fn step(&self, state: State, step: &mut Step<'_>) -> Result<Event, Stop>;
}

/// Why a sector cannot go on from a state, if it cannot: an operator may send a paused sector
/// only where it can. `beside`: which outputs lie beside the document.
pub fn closed(
    state: State,
    document: &Document,
    beside: impl Fn(Output) -> bool,
) -> Option<Closed> {
    if state == State::Empty {
        return Some(Closed::Begun);
    }
    let needs = document.plan.needs(state)?;
    let behind_pc2 = needs.contains(&Finding::Pc2) && state != State::SyntheticPoRepNeeded;
    if document.precommit_sent() && !behind_pc2 && state != State::Aborted {
        return Some(Closed::Precommitted);
    }
    let lacks = needs.iter().find(|f| !document.has(**f, &beside));
    lacks.map(|finding| Closed::Lacks(*finding))
}

/// The plan of that name.
pub fn plan(name: PlanName) -> &'static dyn Plan {
    match name {
        PlanName::Sealer => &sealer::Sealer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::sector::AllocatedSector;
    use damocles_processor::task::Pc2Output;
    use damocles_types::{Randomness, SealProof, SectorId, SectorSize, Ticket};

    #[test]
    fn a_precommit_that_was_sent_closes_the_way_to_another_replica() {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        let mut document = Document::new(PlanName::Sealer, allocated, None);
        let phases = &mut document.phases;
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
        let open = |document: &Document| -> Vec<State> {
            let states = PlanName::Sealer.states().into_iter();
            states
                .filter(|state| closed(*state, document, |_| true).is_none())
                .collect()
        };
        document.state = State::PC2Done;
        assert!(open(&document).contains(&State::TreeDBuilt));

        for sent in [
            State::PCSubmitted,
            State::PCLanded,
            State::C1Done,
            State::ProofSubmitted,
        ] {
            document.state = sent;
            assert_eq!(
                open(&document),
                [
                    State::Aborted,
                    State::PC2Done,
                    State::PCSubmitted,
                    State::PCLanded
                ],
                "{sent}: the same precommit may be handed in again, another replica not be made"
            );
        }
        assert_eq!(
            closed(State::TreeDBuilt, &document, |_| true),
            Some(Closed::Precommitted)
        );
        // back at PC2Done with a message that failed: it may be on chain nevertheless
        document.state = State::PC2Done;
        document.phases.precommit_sent = true;
        assert!(!open(&document).contains(&State::TreeDBuilt));
    }
}
