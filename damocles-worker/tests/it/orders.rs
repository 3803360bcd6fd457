//! What a person orders in the middle of a sector: to end what computes, and to give the sector up.

use crate::{
    rig::{Rig, done},
    until,
};
use damocles_api::timeline::Ending;
use damocles_flow::State;
use damocles_processor::Stage;
use damocles_types::Level;
use damocles_worker::control::Command;

#[test]
fn a_stage_that_runs_is_killed_and_begun_again_only_when_the_thread_goes_on() {
    let rig = Rig::new(1);
    rig.order_once(Stage::C2, "silent");
    let running = rig.start();
    until("a C2 at work", || rig.runs(Stage::C2) == 1);
    until("its process on the board", || {
        running.board.computes_in().is_some()
    });
    running.control.command(Command::Pause).unwrap();
    let pid = running.board.computes_in().unwrap();
    assert!(
        rig.pool()
            .kill(pid, "its process was killed by the operator")
    );
    running.paused();
    assert_eq!(
        (rig.runs(Stage::C2), running.board.computes_in()),
        (1, None)
    );
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    let timeline = rig.timeline();
    let failed: Vec<_> = timeline
        .iter()
        .filter_map(|e| match &e.ending {
            Some(Ending::Failed { level, message }) => Some((e.state.as_str(), *level, message)),
            _ => None,
        })
        .collect();
    assert!(
        matches!(failed.as_slice(), [("C1Done", Level::Temporary, why)] if why.contains("killed by the operator")),
        "{failed:?}"
    );
    for state in [State::PC1Done, State::SeedAssigned, State::C1Done] {
        assert_eq!(done(&timeline, state), 1, "{state}");
    }
}

#[test]
fn why_a_sector_is_given_up_reaches_the_manager() {
    let rig = Rig::new(1);
    rig.order_once(Stage::TreeD, "error the disk is full of holes");
    let running = rig.start();
    running.paused();
    running.control.abort("its disk fails".into()).unwrap();
    until("the sector's end", || {
        !rig.manager.script().aborted.is_empty()
    });
    let (_, reason) = rig.manager.script().aborted[0].clone();
    assert!(
        reason.contains("by the operator (its disk fails)"),
        "{reason}"
    );
    running.stop();
}
