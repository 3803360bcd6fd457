//! Law 1: the daemon is killed just before and just after every transition; started again,
//! the sector comes to the same end and no finished step runs twice.

use crate::rig::{Rig, Running, done, pool};
use damocles_api::timeline::Ending;
use damocles_flow::{Ev, State};
use damocles_processor::Pool;
use damocles_types::{Randomness, SectorId, Ticket};
use damocles_worker::threads::Point;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The straight road: a state and what happens in it.
const ROAD: [(State, Ev); 16] = [
    (State::Empty, Ev::Allocate),
    (State::Allocated, Ev::AcquireDeals),
    (State::DealsAcquired, Ev::AddPiece),
    (State::PieceAdded, Ev::BuildTreeD),
    (State::TreeDBuilt, Ev::AssignTicket),
    (State::TicketAssigned, Ev::PC1),
    (State::PC1Done, Ev::PC2),
    (State::PC2Done, Ev::SubmitPC),
    (State::PCSubmitted, Ev::CheckPC),
    (State::PCLanded, Ev::Persist),
    (State::Persisted, Ev::SubmitPersistance),
    (State::PersistanceSubmitted, Ev::AssignSeed),
    (State::SeedAssigned, Ev::C1),
    (State::C1Done, Ev::C2),
    (State::C2Done, Ev::SubmitProof),
    (State::ProofSubmitted, Ev::Finish),
];

fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for (state, event) in ROAD {
        points.push(Point::BeforeCommit { state, event });
        points.push(Point::AfterCommit { state, event });
    }
    let state = State::Finished;
    points.extend([Point::BeforeClear { state }, Point::Cleared { state }]);
    points
}

fn start_until(rig: &Rig, point: Point) -> Running {
    let died = AtomicBool::new(false);
    rig.start_probed(Arc::new(move |here| {
        here == point && !died.swap(true, Ordering::Relaxed)
    }))
}

fn killed_at(point: Point, pool: &Pool, orders: &Path) {
    let rig = Rig::with(2, Some((pool, orders)), "");
    start_until(&rig, point).ended();
    // the second number is for the one case in which the first was never written down
    let lost = matches!(
        point,
        Point::BeforeCommit {
            state: State::Empty,
            ..
        }
    );
    rig.manager.script().sectors = 1 + u64::from(lost);

    // told of the end twice, if the daemon died between telling and clearing
    let told_before = rig.manager.script().done.len();
    let running = rig.start();
    rig.wait_done(&running, told_before + 1);
    running.stop();

    let sector = SectorId::new(1000, 1 + u64::from(lost));
    let told = rig.manager.script().done.clone();
    assert!(
        !told.is_empty() && told.iter().all(|s| *s == sector),
        "{point:?}: {told:?}"
    );
    assert_eq!(rig.persisted(sector).len(), 4, "{point:?}");
    assert_eq!(rig.document(), None, "{point:?}");
    let timeline = rig.timeline();
    for (state, _) in ROAD {
        assert_eq!(
            done(&timeline, state),
            1,
            "{point:?}: the step of {state} ended well once"
        );
    }
    // What was running when the daemon died is the only thing that was begun twice.
    for (state, _) in ROAD {
        let begun = timeline
            .iter()
            .filter(|e| e.state == state.to_string())
            .count();
        let cut = matches!(point, Point::BeforeCommit { state: at, .. } if at == state && at != State::Empty);
        assert_eq!(
            begun,
            1 + usize::from(cut),
            "{point:?}: the step of {state}"
        );
    }
    let interrupted: Vec<_> = timeline
        .iter()
        .filter(|e| e.ending == Some(Ending::Interrupted))
        .map(|e| e.state.clone())
        .collect();
    match point {
        Point::BeforeCommit { state, .. } if state != State::Empty => {
            assert_eq!(interrupted, [state.to_string()]);
        }
        Point::BeforeClear { state } | Point::Cleared { state } => {
            assert_eq!(interrupted, [state.to_string()]);
        }
        _ => assert!(interrupted.is_empty(), "{point:?}: {interrupted:?}"),
    }
    let script = rig.manager.script();
    let told: Vec<_> = script
        .timeline
        .range((sector, 0)..=(sector, u64::MAX))
        .map(|(_, e)| e.clone())
        .collect();
    assert_eq!(
        told, timeline,
        "{point:?}: the manager has the same timeline in the end"
    );
}

#[test]
fn killed_at_every_transition() {
    let orders = tempfile::tempdir().unwrap();
    let pool = pool(orders.path(), "");
    let points = points();
    assert_eq!(points.len(), 2 * ROAD.len() + 2);
    // side by side: each has a store, a manager and a database of its own
    std::thread::scope(|scope| {
        for batch in points.chunks(points.len().div_ceil(6)) {
            let (pool, orders) = (&pool, orders.path());
            scope.spawn(move || {
                batch
                    .iter()
                    .for_each(|point| killed_at(*point, pool, orders))
            });
        }
    });
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
