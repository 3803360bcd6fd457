//! The sealer plan: from nothing to a proven sector. Which step belongs to which state; the
//! way through the states is the table in `damocles-flow`.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{
    Plan, Step, Stop,
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
}

/// A state in which this plan has nothing to do; a document cannot come here by the table.
fn no_step(state: State) -> Stop {
    Stop::Failed(Failure::critical(format!(
        "the sealer plan has no step in state {state}"
    )))
}
