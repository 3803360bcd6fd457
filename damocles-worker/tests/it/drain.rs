//! A worker that drains begins no sector, and takes the one that it has as far as was chosen; never
//! does it leave one behind whose precommit may be on chain.

use crate::{
    rig::{Rig, done},
    until,
};
use damocles_flow::{Ev, State};
use damocles_processor::Stage;
use damocles_worker::{
    draining::{DrainTo, Order},
    metadb::MetaDb,
    threads::{Point, drain::Drain},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use strum::IntoEnumIterator;

/// Orders follow each other.
fn order(to: Option<DrainTo>) -> Order {
    static AT: AtomicU64 = AtomicU64::new(1);
    Order {
        to,
        at: AT.fetch_add(1, Ordering::SeqCst),
    }
}

impl Rig {
    /// As the worker's RPC gives an order, with the thread's database open or not.
    fn give(&self, to: Option<DrainTo>, meta: Option<&MetaDb>) {
        self.drain.order(order(to), meta).unwrap();
    }
}

#[test]
fn the_sector_in_work_is_finished_and_none_is_begun_until_the_drain_ends() {
    let rig = Rig::new(2);
    let running = rig.start();
    until("a sector in work", || rig.manager.script().given == 1);
    let meta = running.board.database().unwrap();
    rig.give(Some(DrainTo::End), Some(&meta));
    until("its end", || rig.manager.script().done.len() == 1);
    let says = || running.board.info().waiting_for.unwrap_or_default();
    until("a thread that drains", || {
        says().contains("draining: no new sector")
    });
    assert_eq!(rig.manager.script().given, 1);
    rig.give(None, Some(&meta));
    running.control.nudge(false);
    until("the next sector", || rig.manager.script().done.len() == 2);
    running.stop();
}

#[test]
fn a_sector_stands_where_the_drain_goes_to_and_goes_on_when_it_ends() {
    for (to, state, before, behind) in [
        (DrainTo::Ticket, State::TreeDBuilt, Stage::TreeD, Stage::Pc1),
        (DrainTo::Precommit, State::PC2Done, Stage::Pc2, Stage::C1),
    ] {
        let rig = Rig::new(1);
        let dies = Point::AfterCommit {
            state: State::Empty,
            event: Ev::Allocate,
        };
        rig.start_probed(Arc::new(move |here| here == dies)).ended();
        rig.give(Some(to), None);
        let running = rig.start();
        running.waits_for(&format!("draining: stands at {state}"));
        let shown = running.board.draining(to, 0).unwrap();
        assert!(shown.stands, "{shown:?}");
        assert_eq!((rig.runs(before), rig.runs(behind)), (1, 0), "{to}");
        assert!(rig.manager.script().resets.is_empty(), "{to}: no precommit");

        let meta = running.board.database().unwrap();
        rig.give(None, Some(&meta));
        running.control.nudge(false);
        rig.wait_done(&running, 1);
        running.stop();
        assert_eq!(rig.runs(before), 1, "{to}: nothing is done twice");
    }
}

#[test]
fn a_sector_that_waits_in_a_queue_leaves_it_and_a_running_stage_is_not_cut_off() {
    let rig = Rig::new(1);
    let go = rig.orders.join("go");
    rig.order_once(Stage::AddPieces, &format!("wait {}", go.display()));
    let running = rig.start();
    until("a running stage", || rig.runs(Stage::AddPieces) == 1);
    let meta = running.board.database().unwrap();
    rig.give(Some(DrainTo::Step), Some(&meta));
    running.control.nudge(true);
    assert!(!running.board.draining(DrainTo::Step, 0).unwrap().stands);
    std::fs::write(&go, "").unwrap();
    running.waits_for("draining: stands at PieceAdded");
    assert_eq!(rig.runs(Stage::AddPieces), 1, "its output was kept");
    running.stop();
}

#[test]
fn a_precommit_whose_answer_was_lost_is_taken_to_its_proof_whatever_the_drain_says() {
    for to in DrainTo::iter() {
        let rig = Rig::new(1);
        // killed between the manager's "yes" and its being written down
        let (state, event) = (State::PC2Done, Ev::SubmitPC);
        let dies = Point::BeforeCommit { state, event };
        rig.start_probed(Arc::new(move |here| here == dies)).ended();
        let sent = rig.manager.script().resets.clone();
        assert_eq!(sent, [("precommit", false)]);
        rig.give(Some(to), None);
        let running = rig.start();
        rig.wait_done(&running, 1);
        running.stop();
        let timeline = rig.timeline();
        for state in [State::TreeDBuilt, State::PC1Done, State::C1Done] {
            assert_eq!(done(&timeline, state), 1, "{to}: {state}");
        }
    }
}

#[test]
fn a_worker_that_was_killed_while_it_drained_goes_on_draining() {
    let mut rig = Rig::new(1);
    let running = rig.start();
    until("its database", || running.board.database().is_some());
    rig.wait_done(&running, 1);
    let meta = running.board.database().unwrap();
    rig.give(Some(DrainTo::End), Some(&meta));
    drop(meta);
    running.stop();

    rig.manager.script().sectors = 2;
    rig.drain = Drain::default();
    let running = rig.start();
    running.waits_for("draining: no new sector");
    assert_eq!(rig.drain.to(), Some(DrainTo::End));
    assert_eq!(rig.manager.script().given, 1);
    // an older order that is found later changes nothing
    let meta = running.board.database().unwrap();
    meta.give_order(&Order { to: None, at: 0 }).unwrap();
    rig.drain.meet(&meta).unwrap();
    assert_eq!(rig.drain.to(), Some(DrainTo::End));
    // the last word holds, also over the next start, where the clock was put back meanwhile
    let back = Order { to: None, at: 1 };
    rig.drain.order(back, [&meta]).unwrap();
    assert_eq!(rig.drain.to(), None);
    assert_eq!(Drain::found([&meta]).to(), None);
    drop(meta);
    running.stop();
}
