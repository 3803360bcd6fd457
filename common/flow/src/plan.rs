//! Plans by name, and the one lookup through which every transition goes.

use crate::{
    seal::{Finding, Seal, needs},
    state::{Ev, State},
    table::Table,
};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};

/// A worker's plan, as the config names it. Plans join this list together with their table.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
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
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PlanName {
    #[default]
    Sealer,
}

/// An event that a plan does not allow in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plan {plan} does not allow {event} in state {state}")]
pub struct IllegalStep {
    pub plan: PlanName,
    pub state: State,
    pub event: Ev,
}

impl PlanName {
    /// Where the event leads.
    pub fn next(self, state: State, event: Ev) -> Result<State, IllegalStep> {
        let next = match self {
            Self::Sealer => Seal::next(state, event),
        };
        next.ok_or(IllegalStep {
            plan: self,
            state,
            event,
        })
    }

    /// The event that leads from one state to another; no two do.
    pub fn between(self, from: State, to: State) -> Option<Ev> {
        let edges = match self {
            Self::Sealer => Seal::edges(from),
        };
        edges
            .iter()
            .find(|(_, next)| *next == to)
            .map(|(event, _)| *event)
    }

    /// What has been found out in a state; none for a state of another plan.
    pub const fn needs(self, state: State) -> Option<&'static [Finding]> {
        match self {
            Self::Sealer => needs(state),
        }
    }

    /// States that belong to the plan; an operator may resume a thread only into one of them.
    pub fn states(self) -> Vec<State> {
        match self {
            Self::Sealer => Seal::reachable(),
        }
    }
}
