//! The sealer plan: from nothing to a proven sector. Which step belongs to which state; the
//! way through the states is the table in `damocles-flow`.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{
    Have, Plan,
    step::{Step, Stop},
    steps::{allocate, c1, c2, pc1, pc2, persist, pieces, precommit, prove, seed, ticket, tree_d},
};
use crate::event::Event;
use damocles_flow::{PlanName, State};
use damocles_types::Failure;

/// The plan has no data of its own.
#[derive(Clone, Copy, Debug)]
pub struct Sealer;

impl Plan for Sealer {
    fn name(&self) -> PlanName {
        PlanName::Sealer
    }

    fn step(&self, state: State, step: &mut Step<'_>) -> Result<Event, Stop> {
        match state {
            State::Empty => allocate::sector(step),
            State::Allocated => allocate::deals(step),
            State::DealsAcquired => pieces::add(step),
            State::PieceAdded => tree_d::build(step),
            State::TreeDBuilt => ticket::assign(step),
            State::TicketAssigned => pc1::run(step),
            State::PC1Done => pc2::run(step),
            State::SyntheticPoRepNeeded => pc2::synthetic(step),
            State::PC2Done => precommit::submit(step),
            State::PCSubmitted => precommit::wait_landed(step),
            State::PCLanded => persist::run(step),
            State::Persisted => persist::submit(step),
            State::PersistanceSubmitted => seed::wait(step),
            State::SeedAssigned => c1::run(step),
            State::C1Done => c2::run(step),
            State::C2Done => prove::submit(step),
            State::ProofSubmitted => prove::wait_landed(step),
            State::Finished | State::Aborted => Err(no_step(state)),
            State::SnapEncoded
            | State::SnapProved
            | State::SealedChecked
            | State::SnapPieceAdded
            | State::SnapTreeDBuilt
            | State::SnapDone
            | State::Unsealed => Err(no_step(state)),
        }
    }

    fn lacks(&self, state: State, have: &Have<'_>) -> Option<&'static str> {
        let phases = &have.document.phases;
        let deals = (phases.deals.is_none(), "the answer about deals");
        let pieces = (phases.piece_infos.is_none(), "the pieces");
        let ticket = (phases.ticket.is_none(), "the ticket");
        let pc1 = (!have.pc1, "the output of PC1");
        let pc2 = (phases.pc2.is_none(), "the output of PC2");
        let persisted = (
            phases.persist_instance.is_none(),
            "the name of the persist store",
        );
        let seed = (phases.seed.is_none(), "the seed");
        let c1 = (!have.c1, "the output of C1");
        let proof = (phases.proof.is_none(), "the output of C2");
        let foreign = (true, "everything: the state belongs to another plan");
        let needs: &[(bool, &'static str)] = match state {
            State::Empty => &[(
                true,
                "nothing: a sector has been allocated already (give it up with Aborted)",
            )],
            State::Allocated | State::Aborted => &[],
            State::DealsAcquired => &[deals],
            State::PieceAdded | State::TreeDBuilt => &[pieces],
            State::TicketAssigned => &[pieces, ticket],
            State::PC1Done => &[pieces, ticket, pc1],
            State::SyntheticPoRepNeeded | State::PC2Done | State::PCSubmitted | State::PCLanded => {
                &[pieces, ticket, pc2]
            }
            State::Persisted | State::PersistanceSubmitted => &[pieces, ticket, pc2, persisted],
            State::SeedAssigned => &[pieces, ticket, pc2, persisted, seed],
            State::C1Done => &[persisted, seed, c1],
            State::C2Done | State::ProofSubmitted | State::Finished => &[persisted, seed, proof],
            State::SnapEncoded
            | State::SnapProved
            | State::SealedChecked
            | State::SnapPieceAdded
            | State::SnapTreeDBuilt
            | State::SnapDone
            | State::Unsealed => &[foreign],
        };
        needs
            .iter()
            .find(|(missing, _)| *missing)
            .map(|(_, what)| *what)
    }
}

/// A state in which this plan has nothing to do; a document cannot come here by the table.
fn no_step(state: State) -> Stop {
    Stop::Failed(Failure::critical(format!(
        "the sealer plan has no step in state {state}"
    )))
}
