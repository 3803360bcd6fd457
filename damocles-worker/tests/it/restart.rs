//! Law 1: the daemon is killed just before and just after every transition; started again,
//! the sector comes to the same end and no finished step runs twice.

use crate::{
    fake_manager::{Script, fate, poll, resp},
    rig::{Rig, Running, done, pool},
    until,
};
use damocles_api::{
    damocles::AbortedBy,
    reason::Reason,
    submit::{OnChainState, SubmitResult},
    timeline::{Ending, TimelineEntry},
};
use damocles_flow::{Ev, State, seal::Seal, table::Table};
use damocles_processor::{Pool, Stage};
use damocles_types::{Randomness, SealProof, SectorId, SectorSize, Ticket, proof::SealVersion};
use damocles_worker::threads::Point;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// How an edge of the table is made to happen. What is arranged lasts until it has had its
/// effect, so that it happens again when the daemon died before it was written down.
struct Way {
    synthetic: bool,
    prepare: Box<dyn Fn(&mut Script) + Sync>,
    /// A stage that does not come to an end.
    stuck: Option<Stage>,
    /// What the first task of a stage is told.
    once: Option<(Stage, &'static str)>,
    sealing: &'static str,
}

impl Way {
    fn straight() -> Self {
        Self::with(|_| ())
    }

    fn with(prepare: impl Fn(&mut Script) + Sync + 'static) -> Self {
        Self {
            synthetic: false,
            prepare: Box::new(prepare),
            stuck: None,
            once: None,
            sealing: "",
        }
    }

    fn synthetic() -> Self {
        Self {
            synthetic: true,
            ..Self::straight()
        }
    }

    fn refused(what: &'static str, reason: Reason) -> Self {
        Self::with(move |script| {
            let mut answer = resp(SubmitResult::Rejected, "as told");
            answer.reason = Some(reason);
            script.submit_until_reset.insert(what, answer);
        })
    }

    fn failed(what: &'static str, reason: Option<Reason>) -> Self {
        Self::with(move |script| {
            let mut answer = poll(OnChainState::Failed, "as told");
            answer.reason = reason;
            script.poll_until_reset.insert(what, answer);
        })
    }

    /// A person gives the sector up while the step asks for this.
    fn given_up_at(method: &'static str) -> Self {
        Self::with(move |script| {
            script.over_at = Some(method);
            given_up_by_a_person(script);
        })
    }

    /// The same while a stage computes, which asks no manager.
    fn given_up_in(state: State, stage: Stage) -> Self {
        Self {
            stuck: Some(stage),
            sealing: "max_retries = 1000000\n",
            synthetic: state == State::SyntheticPoRepNeeded,
            ..Self::with(move |script| {
                script.over_at_state = Some(state.to_string());
                given_up_by_a_person(script);
            })
        }
    }

    /// The way on which an edge is taken.
    fn of(state: State, event: Ev) -> Option<Self> {
        use State as S;
        Some(match (state, event) {
            (S::PC1Done, Ev::PC2NeedSyntheticProof) | (_, Ev::SyntheticPoRep) => Self::synthetic(),
            // PC1 ends with a layer made, and goes on too late
            (S::TicketAssigned, Ev::TicketExpired) => Self {
                once: Some((Stage::Pc1, "half")),
                ..Self::with(|script| script.ticket_lasts = Some(1))
            },
            // the question before PC1 is the first one
            (S::PC1Done, Ev::TicketExpired) => Self::with(|script| script.ticket_lasts = Some(1)),
            (S::PC2Done, Ev::TicketExpired) => Self::refused("precommit", Reason::TicketExpired),
            (S::PCSubmitted, Ev::TicketExpired) => {
                Self::failed("precommit", Some(Reason::TicketExpired))
            }
            (S::PCSubmitted, Ev::ReSubmitPC) => Self::failed("precommit", None),
            (S::C2Done, Ev::SeedChanged) => Self::refused("proof", Reason::SeedChanged),
            (S::C2Done, Ev::ProofInvalid) => Self::refused("proof", Reason::ProofInvalid),
            (S::C2Done, Ev::PreCommitGone) => Self::refused("proof", Reason::PreCommitGone),
            (S::ProofSubmitted, Ev::SeedChanged) => {
                Self::failed("proof", Some(Reason::SeedChanged))
            }
            (S::ProofSubmitted, Ev::ProofInvalid) => {
                Self::failed("proof", Some(Reason::ProofInvalid))
            }
            (S::ProofSubmitted, Ev::PreCommitGone) => {
                Self::failed("proof", Some(Reason::PreCommitGone))
            }
            (S::ProofSubmitted, Ev::ReSubmitProof) => Self::failed("proof", None),
            (S::Allocated, Ev::Abort) => Self {
                sealing: "enable_deals = true\n",
                ..Self::given_up_at("AcquireDeals")
            },
            (S::TreeDBuilt, Ev::Abort) => Self::given_up_at("AssignTicket"),
            (S::PC2Done, Ev::Abort) => Self::given_up_at("SubmitPreCommit"),
            (S::PCSubmitted, Ev::Abort) => Self::given_up_at("PollPreCommitState"),
            (S::PCLanded, Ev::Abort) => Self::given_up_at("StoreReserveSpace"),
            (S::Persisted, Ev::Abort) => Self::given_up_at("SubmitPersistedEx"),
            (S::PersistanceSubmitted, Ev::Abort) => Self::given_up_at("WaitSeed"),
            (S::C2Done, Ev::Abort) => Self::given_up_at("SubmitProof"),
            (S::ProofSubmitted, Ev::Abort) => Self::given_up_at("PollProofState"),
            (S::DealsAcquired, Ev::Abort) => Self::given_up_in(state, Stage::AddPieces),
            (S::PieceAdded, Ev::Abort) => Self::given_up_in(state, Stage::TreeD),
            (S::TicketAssigned, Ev::Abort) => Self::given_up_in(state, Stage::Pc1),
            (S::PC1Done, Ev::Abort) => Self::given_up_in(state, Stage::Pc2),
            (S::SyntheticPoRepNeeded, Ev::Abort) => Self::given_up_in(state, Stage::SynthProof),
            (S::SeedAssigned, Ev::Abort) => Self::given_up_in(state, Stage::C1),
            (S::C1Done, Ev::Abort) => Self::given_up_in(state, Stage::C2),
            // the first edge of a state is the straight road
            (state, event) if Seal::edges(state).first().map(|(e, _)| *e) == Some(event) => {
                Self::straight()
            }
            _ => return None,
        })
    }

    /// The states on this way from first to last, when nothing goes back.
    fn road(&self) -> Vec<State> {
        let mut road = vec![State::Empty];
        while let Some(state) = road.last() {
            let edges = Seal::edges(*state);
            let synthetic = edges
                .iter()
                .find(|(e, _)| self.synthetic && *e == Ev::PC2NeedSyntheticProof);
            match synthetic.or(edges.first()) {
                Some((_, next)) => road.push(*next),
                None => break,
            }
        }
        road
    }

    fn rig(&self, pool: &Pool, orders: &Path) -> Rig {
        let mut rig = match (self.stuck, self.once) {
            // its order is for no other rig
            (Some(stage), _) => {
                let rig = Rig::new(1);
                std::fs::write(rig.orders.join(stage.name()), "temporary as told").unwrap();
                rig
            }
            (None, Some((stage, order))) => {
                let rig = Rig::new(1);
                rig.order_once(stage, order);
                rig
            }
            (None, None) => Rig::with(1, Some((pool, orders)), ""),
        };
        rig.programs.synthetic = self.synthetic;
        let mut script = rig.manager.script();
        script.kind = self.synthetic.then_some(SealProof {
            version: SealVersion::V1_1Synthetic,
            size: SectorSize::KiB2,
        });
        (self.prepare)(&mut script);
        drop(script);
        rig
    }
}

fn given_up_by_a_person(script: &mut Script) {
    let by_person = fate(Some(AbortedBy::Person), false);
    script.fates.insert(SectorId::new(1000, 1), by_person);
}

/// A place to die at, and the edge that leads there.
#[derive(Clone, Copy, Debug)]
struct Death {
    point: Point,
    state: State,
    event: Ev,
}

/// Every edge of the table, before and after it is written down; and the two ends, before and
/// after they are cleared.
fn deaths() -> Vec<Death> {
    let mut deaths = Vec::new();
    for state in Seal::reachable() {
        for &(event, _) in Seal::edges(state) {
            let points = [
                Point::BeforeCommit { state, event },
                Point::AfterCommit { state, event },
            ];
            deaths.extend(points.map(|point| Death {
                point,
                state,
                event,
            }));
        }
    }
    for (end, state, event) in [
        (State::Finished, State::ProofSubmitted, Ev::Finish),
        (State::Aborted, State::PersistanceSubmitted, Ev::Abort),
    ] {
        let points = [
            Point::BeforeClear { state: end },
            Point::Cleared { state: end },
        ];
        deaths.extend(points.map(|point| Death {
            point,
            state,
            event,
        }));
    }
    deaths
}

fn start_until(rig: &Rig, point: Point) -> Running {
    start_until_with(rig, point, "")
}

fn start_until_with(rig: &Rig, point: Point, sealing: &str) -> Running {
    let died = AtomicBool::new(false);
    let probe = move |here| here == point && !died.swap(true, Ordering::Relaxed);
    rig.start_with(Some(Arc::new(probe)), sealing)
}

/// How often the step of each state ends well on a way that takes the edge once.
fn expected(road: &[State], death: &Death, at: State) -> usize {
    let place = |state: State| road.iter().position(|s| *s == state);
    let next = Seal::next(death.state, death.event).unwrap();
    let (from, at) = (place(death.state).unwrap(), place(at).unwrap());
    if next == State::Aborted {
        return usize::from(at < from);
    }
    let back_to = place(next).unwrap();
    1 + usize::from(back_to <= at && at <= from)
}

fn killed_at(death: &Death, pool: &Pool, orders: &Path) {
    let way = Way::of(death.state, death.event).unwrap();
    let rig = way.rig(pool, orders);
    start_until_with(&rig, death.point, way.sealing).ended();

    let running = rig.start_with(None, way.sealing);
    let sector = SectorId::new(1000, 1);
    let end = match death.event {
        Ev::Abort => State::Aborted,
        _ => State::Finished,
    };
    let ended = |e: &&TimelineEntry| {
        e.state == end.to_string() && matches!(e.ending, Some(Ending::Done { .. }))
    };
    until("the sector's end", || {
        let script = rig.manager.script();
        script.timeline.values().any(|e| ended(&e))
    });
    until("the last report", || running.reports.quiet());
    running.stop();

    let told = rig.manager.script().done.clone();
    match end {
        State::Aborted => assert_eq!(told, [], "{death:?}"),
        _ => {
            assert!(
                !told.is_empty() && told.iter().all(|s| *s == sector),
                "{death:?}: {told:?}"
            );
            assert_eq!(rig.persisted(sector).len(), 4, "{death:?}");
        }
    }
    assert_eq!(rig.document(), None, "{death:?}");
    assert_eq!(rig.sealing_files(), 0, "{death:?}");
    assert_eq!(rig.manager.script().given, 1, "{death:?}: one number");
    let timeline = rig.timeline();
    let road = way.road();
    for state in road.iter().filter(|s| **s != State::Finished) {
        assert_eq!(
            done(&timeline, *state),
            expected(&road, death, *state),
            "{death:?}: the step of {state} ended well so often: {timeline:#?}"
        );
    }
    // What was running when the daemon died is the only thing that was begun once more.
    let interrupted: Vec<_> = timeline
        .iter()
        .filter(|e| e.ending == Some(Ending::Interrupted))
        .map(|e| e.state.clone())
        .collect();
    match death.point {
        Point::BeforeCommit { state, .. } if state != State::Empty => {
            assert_eq!(interrupted, [state.to_string()], "{death:?}");
        }
        Point::BeforeClear { state } | Point::Cleared { state } => {
            assert_eq!(interrupted, [state.to_string()], "{death:?}");
        }
        _ => assert!(interrupted.is_empty(), "{death:?}: {interrupted:?}"),
    }
    let script = rig.manager.script();
    let told: Vec<_> = script.timeline.values().cloned().collect();
    assert_eq!(
        told, timeline,
        "{death:?}: the manager has the same timeline in the end"
    );
}

#[test]
fn killed_at_every_transition() {
    let orders = tempfile::tempdir().unwrap();
    let pool = pool(orders.path(), "");
    let deaths = deaths();
    // side by side: each has a store, a manager and a database of its own
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(death) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    killed_at(death, &pool, orders.path());
                }
            });
        }
    });
}

#[test]
fn every_edge_of_the_table_has_a_way_on_which_it_is_taken() {
    let mut without = Vec::new();
    for state in Seal::reachable() {
        for &(event, _) in Seal::edges(state) {
            if Way::of(state, event).is_none() {
                without.push((state, event));
            }
        }
    }
    assert_eq!(without, []);
}

#[test]
fn a_ticket_that_grew_old_is_drawn_anew_unless_pc1_has_begun_with_it() {
    for (aged, begun, tickets) in [(false, false, 1), (true, false, 2), (true, true, 1)] {
        let rig = Rig::new(1);
        let (state, event) = (State::TreeDBuilt, Ev::AssignTicket);
        start_until(&rig, Point::AfterCommit { state, event }).ended();
        if aged {
            rig.change_document(|document| document["phases"]["ticket_at"] = 1.into());
        }
        if begun {
            let cache = rig.location().join("data/cache/s-t01000-1");
            std::fs::write(cache.join("sc-02-data-layer-1.dat"), b"x").unwrap();
        }
        // written down before PC1 begins, and kept after it has ended
        for (state, event) in [(State::TicketAssigned, Ev::PC1), (State::PC1Done, Ev::PC2)] {
            start_until(&rig, Point::BeforeCommit { state, event }).ended();
            let mut found = serde_json::Value::Null;
            rig.change_document(|document| found = document["phases"]["ticket"].clone());
            let expected = Ticket {
                ticket: Randomness([tickets; 32]),
                epoch: 5,
            };
            assert_eq!(found, serde_json::to_value(expected).unwrap());
        }
        assert_eq!(rig.manager.script().tickets, u64::from(tickets));
    }
}
