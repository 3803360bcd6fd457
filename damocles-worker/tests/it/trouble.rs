//! Failures: which heal by themselves, which wait for a person, and what is lost (nothing).

use crate::{
    fake_manager::{FakeManager, poll},
    rig::{Rig, done, runtime},
    until,
};
use damocles_api::{submit::OnChainState, timeline::Ending, worker::ThreadState};
use damocles_flow::State;
use damocles_processor::Stage;
use damocles_types::{Level, SealProof, SectorId, SectorSize};
use damocles_worker::{
    control::{Command, Standing},
    manager::{Connection, Manager},
    metadb::MetaDb,
    plans::{Stop, stop::call_failed},
    threads::Point,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

fn failures(rig: &Rig, state: State) -> Vec<Level> {
    let timeline = rig.timeline();
    let of_state = timeline
        .into_iter()
        .filter(|e| e.state == state.to_string());
    of_state
        .filter_map(|e| match e.ending {
            Some(Ending::Failed { level, .. }) => Some(level),
            _ => None,
        })
        .collect()
}

#[test]
fn a_child_that_is_killed_in_the_middle_costs_one_attempt() {
    let rig = Rig::new(1);
    rig.order_once(Stage::Pc2, "die");
    rig.run(1);
    assert_eq!(failures(&rig, State::PC1Done), [Level::Temporary]);
    assert_eq!((rig.runs(Stage::Pc1), rig.runs(Stage::Pc2)), (1, 2));
    let script = rig.manager.script();
    let failure = script
        .reports
        .iter()
        .find_map(|(_, r)| r.failure.clone())
        .unwrap();
    assert_eq!(failure.level, "Temporary");
    assert!(failure.desc.contains("was lost"), "{}", failure.desc);
}

#[test]
fn what_a_person_must_look_at_pauses_with_a_hint_and_goes_on_after_resume() {
    let rig = Rig::new(1);
    rig.order_once(Stage::C2, "error no parameters");
    let running = rig.start();
    running.paused();
    let info = running.board.info();
    assert!(matches!(info.thread_state, ThreadState::Paused { .. }));
    assert_eq!(
        info.last_error.as_deref(),
        Some("permanent: c2 failed: no parameters")
    );
    assert_eq!(info.job_state, "C1Done");
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!((rig.runs(Stage::C1), rig.runs(Stage::C2)), (1, 2));
}

#[test]
fn temporary_failures_wait_for_a_person_when_they_are_too_many() {
    let rig = Rig::new(1);
    std::fs::write(rig.orders.join("tree_d"), "temporary disk busy").unwrap();
    let running = rig.start_with(None, "max_retries = 2\n");
    running.paused();
    let error = running.board.info().last_error.unwrap();
    assert_eq!(error, "permanent: failed 3 times: tree_d failed: disk busy");
    assert!(running.board.info().hint.is_some());
    std::fs::remove_file(rig.orders.join("tree_d")).unwrap();
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.runs(Stage::TreeD), 4);
    assert_eq!(done(&rig.timeline(), State::PieceAdded), 1);
}

#[test]
fn a_message_that_fails_again_and_again_waits_for_a_person_over_restarts() {
    let rig = Rig::new(1);
    let failed = || poll(OnChainState::Failed, "out of gas");
    rig.manager
        .script()
        .poll_precommit
        .extend((0..9).map(|_| failed()));
    let limit = "max_resubmits = 2\n";
    let running = rig.start_with(None, limit);
    running.paused();
    let sent = || rig.manager.script().resets.len();
    assert_eq!(sent(), 3);
    let info = running.board.info();
    assert_eq!(
        info.last_error.as_deref(),
        Some(
            "permanent: given up after 3 messages; of the last one: the precommit failed: out of gas"
        )
    );
    assert!(
        info.hint
            .is_some_and(|hint| hint.contains("`worker resume`"))
    );
    running.stop();

    let running = rig.start_with(None, limit);
    running.paused();
    assert_eq!(sent(), 3, "a restart is no permission to go on");
    running.control.command(Command::Resume).unwrap();
    until("the next pause", || sent() == 5);
    running.paused();
    {
        let mut script = rig.manager.script();
        script.poll_precommit.truncate(1);
        script.poll_proof.extend((0..2).map(|_| failed()));
    }
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(sent(), 6 + 3, "a proof has as many tries of its own");
    assert_eq!((rig.runs(Stage::Pc2), rig.runs(Stage::C2)), (1, 1));
}

#[test]
fn a_sector_of_a_kind_that_was_not_asked_for_waits_for_a_person() {
    let rig = Rig::new(2);
    rig.manager.script().kind = Some(SealProof::interactive(SectorSize::MiB8));
    let running = rig.start();
    running.paused();
    let info = running.board.info();
    assert_eq!(
        info.last_error.as_deref(),
        Some(
            "permanent: the manager gave a sector of the kind StackedDrg8MiBV1_1, and this thread takes StackedDrg2KiBV1_1"
        )
    );
    assert!(info.hint.is_some_and(|hint| hint.contains("allowed_sizes")));
    assert_eq!(info.job_id.as_deref(), Some("s-t01000-1"), "it is listed");
    rig.manager.script().kind = None;
    running
        .control
        .command(Command::ResumeAt(State::Aborted))
        .unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    let script = rig.manager.script();
    assert_eq!(script.aborted.len(), 1);
    assert_eq!(script.done, [SectorId::new(1000, 2)]);
}

#[test]
fn a_thread_that_panics_says_so_and_goes_on_from_disk_after_resume() {
    let rig = Rig::new(1);
    let broken = AtomicBool::new(true);
    let running = rig.start_probed(Arc::new(move |point| {
        let here = matches!(
            point,
            Point::AfterCommit {
                state: State::PC1Done,
                ..
            }
        );
        assert!(!here || !broken.swap(false, Ordering::Relaxed), "as told");
        false
    }));
    running.paused();
    let info = running.board.info();
    assert!(matches!(info.thread_state, ThreadState::Paused { .. }));
    assert_eq!(
        info.last_error.as_deref(),
        Some("critical: the sealing thread panicked between two steps")
    );
    assert!(info.hint.is_some());
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!((rig.runs(Stage::Pc1), rig.runs(Stage::Pc2)), (1, 1));
}

#[test]
fn who_waits_for_a_person_does_so_over_a_restart() {
    let rig = Rig::new(1);
    rig.order_once(Stage::C2, "error no parameters");
    let running = rig.start();
    running.paused();
    let before = running.board.info();
    running.stop();
    let running = rig.start();
    running.paused();
    let after = running.board.info();
    assert_eq!(
        after.last_error.as_deref(),
        Some("permanent: c2 failed: no parameters")
    );
    assert_eq!((after.hint, after.job_id), (before.hint, before.job_id));
    assert_eq!(
        rig.runs(Stage::C2),
        1,
        "a restart is no permission to go on"
    );
    running.control.command(Command::Resume).unwrap();
    until("C2 again", || rig.runs(Stage::C2) == 2);
    rig.wait_done(&running, 1);
    running.stop();
}

#[test]
fn a_resumed_thread_shows_no_old_error() {
    let rig = Rig::new(1);
    rig.order_once(Stage::C2, "error no parameters");
    let running = rig.start();
    running.paused();
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::C2, &format!("wait {}", gate.display()));
    running.control.command(Command::Resume).unwrap();
    until("C2 again", || rig.runs(Stage::C2) == 2);
    let info = running.board.info();
    assert_eq!((info.last_error, info.hint), (None, None));
    std::fs::write(&gate, "").unwrap();
    rig.wait_done(&running, 1);
    running.stop();
}

#[test]
fn a_manager_that_says_not_now_is_waited_for_and_nothing_is_counted() {
    let rig = Rig::new(1);
    rig.manager.script().no_seed = true;
    let running = rig.start_with(None, "max_retries = 0\n");
    running.waits_for("the seed");
    let asked = rig.manager.script().asked;
    rig.manager.script().not_now = Some("the node is behind".to_owned());
    until("many questions", || rig.manager.script().asked > asked + 20);
    running.waits_for("the node is behind");
    let info = running.board.info();
    assert!(matches!(info.thread_state, ThreadState::Waiting { .. }));
    assert_eq!(info.last_error, None, "a wait is no failure");
    rig.manager.script().not_now = None;
    rig.manager.script().no_seed = false;
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(failures(&rig, State::PersistanceSubmitted), []);
    assert_eq!(done(&rig.timeline(), State::PersistanceSubmitted), 1);
}

#[test]
fn polls_that_fail_now_and_then_are_never_too_many() {
    let rig = Rig::new(1);
    // one question in two fails, six in all; two in a row would be too many
    rig.manager.script().seeds.extend([false, true].repeat(6));
    let running = rig.start_with(None, "max_retries = 1\n");
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(failures(&rig, State::PersistanceSubmitted).len(), 6);

    let rig = Rig::new(1);
    rig.manager.script().seeds.extend([false, true, true, true]);
    let running = rig.start_with(None, "max_retries = 1\n");
    running.paused();
    let error = running.board.info().last_error.unwrap();
    assert!(error.starts_with("permanent: failed 2 times"), "{error}");
    running.stop();
}

#[test]
fn what_a_proxy_says_in_the_managers_place_is_waited_out() {
    for page in [
        "<html>please wait</html>",
        r#"{"status":"please wait"}"#,
        "",
    ] {
        let address = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let pages = axum::Router::new().fallback(async move || page);
            tokio::spawn(async { axum::serve(listener, pages).await });
            address
        });
        let connection = Connection {
            addr: format!("http://{address}").parse().unwrap(),
            headers: Default::default(),
            token: None,
            tls: None,
            timeout: Duration::from_secs(20),
        };
        let runtime = runtime().handle().clone();
        let manager = Manager::new(&connection, runtime, CancellationToken::new()).unwrap();
        let proof = SealProof::interactive(SectorSize::KiB2);
        let error = manager
            .wait_seed(SectorId::new(1000, 1), proof)
            .unwrap_err();
        assert!(
            matches!(call_failed(error.clone()), Stop::NotNow(f) if f.hint.is_some()),
            "{page:?}: {error}"
        );
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whoever kills a child is no daemon of ours"
)]
fn a_child_that_dies_while_the_daemon_stops_costs_no_attempt() {
    let rig = Rig::new(1);
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::C2, &format!("wait {}", gate.display()));
    let running = rig.start();
    let mut pid = None;
    until("C2's process", || {
        let info = running.board.info();
        if let (Some("C2"), ThreadState::Running { proc: Some(p), .. }) =
            (info.job_stage.as_deref(), info.thread_state)
        {
            pid = p
                .strip_prefix("ext(pid: ")
                .map(|p| p.trim_end_matches(')').to_owned());
        }
        pid.is_some()
    });
    running.control.stop();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid.unwrap()])
        .status();
    assert!(killed.unwrap().success());
    running.ended();
    assert_eq!(failures(&rig, State::C1Done), []);
    rig.change_document(|document| assert_eq!(document["tries"], 0));
    let timeline = rig.timeline();
    assert_eq!(timeline.last().unwrap().ending, Some(Ending::Interrupted));
}

#[test]
fn an_interrupted_pc2_of_another_program_begins_again_from_the_staged_file() {
    let mut rig = Rig::new(1);
    rig.programs.foreign_pc2 = true;
    std::fs::write(rig.orders.join("pc2"), "temporary out of memory").unwrap();
    let running = rig.start_with(None, "max_retries = 0\n");
    running.paused();
    assert_eq!(
        rig.runs(Stage::Transfer),
        0,
        "the first run needs no repair"
    );
    // half encoded, and half a tree
    let data = rig.location().join("data");
    let sealed = data.join("sealed/s-t01000-1");
    let tree = data.join("cache/s-t01000-1/sc-02-data-tree-c-0.dat");
    std::fs::write(&sealed, [7; 2048]).unwrap();
    std::fs::write(&tree, b"half").unwrap();
    std::fs::remove_file(rig.orders.join("pc2")).unwrap();
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::Pc2, &format!("wait {}", gate.display()));
    running.control.command(Command::Resume).unwrap();
    until("the second PC2", || rig.runs(Stage::Pc2) == 2);
    assert_eq!(std::fs::read(&sealed).unwrap(), [0; 2048]);
    assert!(!tree.exists());
    std::fs::write(&gate, "").unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.runs(Stage::Transfer), 2, "the repair and the move");
}

#[test]
fn a_disk_that_cannot_be_cleared_costs_no_sector_number() {
    let rig = Rig::new(0);
    let running = rig.start();
    until("an idle thread", || running.is_idle());
    let data = rig.location().join("data");
    // in one step, so that the thread cannot make it a directory again in between
    let file = rig.location().join("file");
    std::fs::write(&file, "x").unwrap();
    until("a file in its place", || {
        let _ = std::fs::remove_dir(&data);
        std::fs::rename(&file, &data).is_ok()
    });
    running.paused();
    rig.manager.script().sectors = 1;
    let info = running.board.info();
    assert!(info.last_error.unwrap().contains("making room"));
    assert_eq!(rig.manager.script().given, 0);
    std::fs::remove_file(&data).unwrap();
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.manager.script().done, [SectorId::new(1000, 1)]);
}

#[test]
fn waiting_for_deals_is_one_entry_of_the_timeline() {
    let rig = Rig::new(1);
    let running = rig.start_with(
        None,
        "enable_deals = true\ndisable_cc = true\nrequest_task_max_retries = 0\n",
    );
    until("many questions", || rig.manager.script().deals_asked > 5);
    running.stop();
    let states: Vec<_> = rig.timeline().into_iter().map(|e| e.state).collect();
    assert_eq!(states, ["Empty", "Allocated"]);
}

#[test]
fn a_manager_that_is_away_costs_no_attempts() {
    let mut rig = Rig::new(1);
    rig.manager.script().no_seed = true;
    let running = rig.start_with(None, "max_retries = 0\n");
    running.waits_for("the seed");
    let address = rig.manager.address;
    let away = std::mem::replace(
        &mut rig.manager,
        runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0)),
    );
    runtime().block_on(away.stop());
    until("the thread to say so", || {
        running
            .board
            .info()
            .last_error
            .is_some_and(|e| e.contains("cannot be reached"))
    });
    assert!(running.board.info().hint.is_some());
    rig.manager = runtime().block_on(FakeManager::start(address, 0));
    rig.wait_done(&running, 1);
    running.stop();
    let timeline = rig.timeline();
    assert_eq!(failures(&rig, State::PersistanceSubmitted), []);
    assert_eq!(done(&timeline, State::PersistanceSubmitted), 1);
    assert_eq!(rig.runs(Stage::Pc1), 1);
}

#[test]
fn a_document_that_cannot_be_read_pauses_its_thread_and_stays() {
    for (bytes, words) in [
        (
            &br#"{"version":1,"plan":"sealer","state":"PC1D"#[..],
            "is damaged",
        ),
        (
            &br#"{"version":99}"#[..],
            "has version 99; this program knows up to 1",
        ),
    ] {
        let rig = Rig::new(1);
        rig.put_document(bytes);
        let running = rig.start();
        running.paused();
        let info = running.board.info();
        let error = info.last_error.unwrap();
        assert!(
            error.starts_with("critical: ") && error.contains(words),
            "{error}"
        );
        assert!(info.hint.is_some());
        running.control.command(Command::Resume).unwrap();
        running.paused();
        running.stop();
        assert_eq!(rig.document().as_deref(), Some(bytes));
        assert_eq!(
            rig.manager.script().given,
            0,
            "no new sector over an unread one"
        );
    }
}

#[test]
fn a_persons_word_that_cannot_be_written_down_is_not_taken_for_leave_to_go_on() {
    let meta = MetaDb::in_memory();
    let mut rig = Rig::new(1);
    rig.meta = Some(meta.clone());
    rig.order_once(Stage::C2, "error the GPU is gone");
    let running = rig.start();
    running.paused();
    meta.fail_writes(Some("IO error: Input/output error"));
    for command in [Command::ResumeAt(State::Aborted), Command::Resume] {
        running.control.command(command).unwrap();
        until("another pause", || {
            let error = running.board.info().last_error.unwrap_or_default();
            error.contains("Input/output error") && running.control.standing() == Standing::Paused
        });
        let info = running.board.info();
        assert_eq!(info.job_state, "C1Done", "{command:?}");
        assert!(info.hint.is_some());
        // the error before this one is not what the next round waits for
        running.board.error(None);
    }
    assert_eq!(
        rig.runs(Stage::C2),
        1,
        "it did not go on from the old state"
    );
    assert!(rig.manager.script().aborted.is_empty());

    meta.fail_writes(None);
    running
        .control
        .command(Command::ResumeAt(State::Aborted))
        .unwrap();
    until("the sector's end", || {
        rig.manager.script().aborted.len() == 1
    });
    running.stop();
    assert_eq!(rig.runs(Stage::C2), 1);
}

#[test]
fn a_sector_that_outlives_ticket_after_ticket_is_a_persons() {
    let rig = Rig::new(1);
    {
        // PC2 finds every one too old
        let mut script = rig.manager.script();
        script.ticket_lasts = Some(1);
        script.more_expire = 3;
    }
    let running = rig.start();
    running.paused();
    let why = running.board.info().last_error.unwrap();
    assert!(why.contains("3 tickets grew too old"), "{why}");
    assert_eq!((rig.runs(Stage::Pc1), rig.runs(Stage::Pc2)), (3, 0));
    // a person may try it as often again, and here the next but one does it
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.manager.script().tickets, 5);
    assert_eq!((rig.runs(Stage::Pc1), rig.runs(Stage::Pc2)), (5, 1));
}
