//! Plans: for every state of a sector, the step that is done there. The table of states and
//! events is in `damocles-flow`; here is what is done, and nothing about when or what next
//! (that is `threads`).
//!
//! A step is called with the sector's document and answers with an [`Event`]. It may be
//! called again after any interruption and must come to the same end (law 3).

pub mod sealer;
pub mod step;
pub mod steps;

pub use step::{Programs, Step, Stop, World};

use crate::{document::Document, event::Event};
use damocles_flow::{PlanName, State};

/// Does the steps of one plan.
pub trait Plan: Send + Sync + std::fmt::Debug {
    fn name(&self) -> PlanName;

    /// Does the step of a state. `Finished` and `Aborted` are ends: the thread clears up there.
    fn step(&self, state: State, step: &mut Step<'_>) -> Result<Event, Stop>;

    /// What a sector lacks to go on from a state, if anything: an operator may send a paused
    /// sector only where it can go on.
    fn lacks(&self, state: State, have: &Have<'_>) -> Option<&'static str>;
}

/// What there is of a sector.
#[derive(Clone, Copy, Debug)]
pub struct Have<'a> {
    pub document: &'a Document,
    pub pc1: bool,
    pub c1: bool,
}

/// The plan of that name.
pub fn plan(name: PlanName) -> &'static dyn Plan {
    match name {
        PlanName::Sealer => &sealer::Sealer,
    }
}
