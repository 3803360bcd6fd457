//! What becomes of the sectors in work when a worker is to begin nothing new: how far each is taken.
//! Pure; threads and lists ask here.
//!
//! From the moment when the manager may have a sector's precommit, a deposit is at stake and the
//! chain counts down to the precommit's expiry. So nothing holds such a sector: it goes on to its
//! proof, whatever was chosen.

use crate::document::Document;
use damocles_flow::State;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// How far sectors are taken that may stop earlier.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum DrainTo {
    /// To the end of the step that runs.
    Step,
    /// To where a ticket would be drawn: what waits there grows no older.
    Ticket,
    /// To where the precommit would be handed in: nothing is on chain, but the ticket ages.
    Precommit,
    /// To the sector's end.
    End,
}

impl DrainTo {
    /// The state in which a sector stands then, if it is the same for all.
    const fn state(self) -> Option<State> {
        match self {
            Self::Step | Self::End => None,
            Self::Ticket => Some(State::TreeDBuilt),
            Self::Precommit => Some(State::PC2Done),
        }
    }
}

/// What was ordered last. Kept by every thread's database, so that it outlasts the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// None: the worker works.
    pub to: Option<DrainTo>,
    /// Milliseconds since the Unix epoch; the later of two orders holds.
    pub at: u64,
}

impl Order {
    /// The one that holds.
    pub fn later(self, other: Option<Self>) -> Self {
        other.filter(|other| other.at > self.at).unwrap_or(self)
    }
}

/// What becomes of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on to its end.
    Ends(Why),
    /// It goes on to this state, and stands there.
    GoesTo(State),
    /// It stands where it is until the drain ends.
    Stands,
}

/// Why a sector goes on to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Ordered,
    /// The manager may have its precommit.
    Precommit,
    /// It has a ticket, which would grow too old while it stands.
    Ticket,
    /// It is at its end.
    Over,
}

/// The rule.
pub fn fate(to: DrainTo, document: &Document) -> Fate {
    let state = document.state;
    if matches!(state, State::Finished | State::Aborted) {
        return Fate::Ends(Why::Over);
    }
    if document.precommit_sent() {
        return Fate::Ends(Why::Precommit);
    }
    match (to, to.state()) {
        (DrainTo::End, _) => Fate::Ends(Why::Ordered),
        (DrainTo::Step, _) => Fate::Stands,
        (_, Some(place)) if place == state => Fate::Stands,
        (DrainTo::Ticket, _) if document.phases.ticket.is_some() => Fate::Ends(Why::Ticket),
        (_, Some(place)) => Fate::GoesTo(place),
        (_, None) => Fate::Stands,
    }
}

/// Older tickets than this are named with their age: the chain takes one for about a day.
const TOLD_FROM_MS: u64 = 3_600_000;

impl Fate {
    /// As an operator reads it. `now`: milliseconds since the Unix epoch.
    pub fn words(self, document: &Document, now: u64) -> String {
        match self {
            Self::Ends(Why::Ordered) => "goes on to its end".to_owned(),
            Self::Ends(Why::Over) => "is at its end".to_owned(),
            Self::Ends(Why::Precommit) => {
                "goes on to its end: its precommit may be on chain, and expires there without a proof"
                    .to_owned()
            }
            Self::Ends(Why::Ticket) => {
                "goes on to its end: its ticket would grow too old".to_owned()
            }
            Self::GoesTo(state) => format!("goes on to {state}"),
            Self::Stands => {
                let age = document.phases.ticket_at.map(|at| now.saturating_sub(at));
                match age.filter(|age| *age >= TOLD_FROM_MS) {
                    Some(age) => format!(
                        "stands at {}; its ticket is {} h old, and after about a day its layers must be made anew",
                        document.state,
                        age / 3_600_000
                    ),
                    None => format!("stands at {}", document.state),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::sector::AllocatedSector;
    use damocles_flow::PlanName;
    use damocles_types::{Randomness, SealProof, SectorId, SectorSize, Ticket};
    use strum::IntoEnumIterator;

    /// As it is when it has come to the state on the straight road.
    fn at(state: State) -> Document {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        let mut document = Document::new(PlanName::Sealer, allocated, None);
        document.state = state;
        let needs = PlanName::Sealer.needs(state).unwrap();
        if needs.contains(&damocles_flow::Finding::Ticket) {
            document.phases.ticket = Some(Ticket {
                ticket: Randomness([1; 32]),
                epoch: 5,
            });
        }
        document
    }

    #[test]
    fn how_far_a_sector_is_taken_from_every_state() {
        use {DrainTo as D, Fate::*, State as S};
        for state in PlanName::Sealer.states() {
            if state == S::Empty {
                continue;
            }
            let expected = |to| match (to, state) {
                (_, S::Finished | S::Aborted) => Ends(Why::Over),
                (
                    D::Step | D::Ticket | D::Precommit,
                    S::Allocated | S::DealsAcquired | S::PieceAdded,
                ) => match to {
                    D::Step => Stands,
                    D::Ticket => GoesTo(S::TreeDBuilt),
                    _ => GoesTo(S::PC2Done),
                },
                (D::Step | D::Ticket, S::TreeDBuilt) => Stands,
                (D::Precommit, S::TreeDBuilt) => GoesTo(S::PC2Done),
                (
                    D::Step,
                    S::TicketAssigned | S::PC1Done | S::SyntheticPoRepNeeded | S::PC2Done,
                ) => Stands,
                (
                    D::Ticket,
                    S::TicketAssigned | S::PC1Done | S::SyntheticPoRepNeeded | S::PC2Done,
                ) => Ends(Why::Ticket),
                (D::Precommit, S::TicketAssigned | S::PC1Done | S::SyntheticPoRepNeeded) => {
                    GoesTo(S::PC2Done)
                }
                (D::Precommit, S::PC2Done) => Stands,
                (
                    D::End,
                    S::Allocated
                    | S::DealsAcquired
                    | S::PieceAdded
                    | S::TreeDBuilt
                    | S::TicketAssigned
                    | S::PC1Done
                    | S::SyntheticPoRepNeeded
                    | S::PC2Done,
                ) => Ends(Why::Ordered),
                // from PCSubmitted on
                _ => Ends(Why::Precommit),
            };
            for to in DrainTo::iter() {
                assert_eq!(fate(to, &at(state)), expected(to), "{to} {state}");
            }
        }
    }

    #[test]
    fn a_precommit_that_was_asked_for_or_sent_is_held_by_nothing() {
        for to in DrainTo::iter() {
            for state in [State::PC2Done, State::TreeDBuilt] {
                let mut asked = at(state);
                asked.phases.precommit_asked = true;
                let mut sent = at(state);
                sent.phases.precommit_sent = true;
                for document in [asked, sent] {
                    assert_eq!(fate(to, &document), Fate::Ends(Why::Precommit), "{to}");
                }
            }
        }
    }

    #[test]
    fn whoever_stands_with_a_ticket_is_told_what_that_costs() {
        let mut document = at(State::PC2Done);
        document.phases.ticket_at = Some(0);
        let words = |now| Fate::Stands.words(&document, now);
        assert_eq!(words(60_000), "stands at PC2Done");
        let hours = words(5 * 3_600_000);
        assert!(
            hours.contains("5 h old") && hours.contains("anew"),
            "{hours}"
        );
    }

    #[test]
    fn the_later_order_holds() {
        let order = |to, at| Order { to, at };
        let on = order(Some(DrainTo::End), 5);
        assert_eq!(on.later(None), on);
        assert_eq!(on.later(Some(order(None, 4))), on);
        assert_eq!(on.later(Some(order(None, 6))), order(None, 6));
    }

    #[test]
    fn names_are_those_that_people_type() {
        let names: Vec<String> = DrainTo::iter().map(|to| to.to_string()).collect();
        assert_eq!(names, ["step", "ticket", "precommit", "end"]);
        for name in names {
            let to: DrainTo = name.parse().unwrap();
            assert_eq!(serde_json::to_value(to).unwrap(), name);
        }
    }
}
