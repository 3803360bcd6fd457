//! The whole plan, and what an operator may do meanwhile.

use crate::{
    fake_manager::{poll, resp},
    rig::{Rig, done},
    until,
};
use damocles_api::{
    reason::Reason,
    submit::{OnChainState, SubmitResult},
    timeline::Ending,
    worker::ThreadState,
};
use damocles_flow::{Finding, State};
use damocles_processor::{Cancel, Stage, task::C2};
use damocles_types::SectorId;
use damocles_worker::control::{Closed, Command, Refused, Standing};

const ROAD: [State; 17] = [
    State::Empty,
    State::Allocated,
    State::DealsAcquired,
    State::PieceAdded,
    State::TreeDBuilt,
    State::TicketAssigned,
    State::PC1Done,
    State::PC2Done,
    State::PCSubmitted,
    State::PCLanded,
    State::Persisted,
    State::PersistanceSubmitted,
    State::SeedAssigned,
    State::C1Done,
    State::C2Done,
    State::ProofSubmitted,
    State::Finished,
];

#[test]
fn a_sector_from_nothing_to_proven() {
    let rig = Rig::new(1);
    std::fs::write(rig.orders.join("pc2.once"), "kernel avx512-ifma").unwrap();
    rig.manager
        .script()
        .poll_precommit
        .push_back(poll(OnChainState::Pending, ""));
    rig.manager
        .script()
        .poll_proof
        .push_back(poll(OnChainState::Packed, ""));
    rig.run(1);

    let sector = SectorId::new(1000, 1);
    assert_eq!(rig.manager.script().done, [sector]);
    assert_eq!(
        rig.persisted(sector),
        [
            "cache/s-t01000-1/p_aux",
            "cache/s-t01000-1/sc-02-data-tree-r-last.dat",
            "cache/s-t01000-1/t_aux",
            "sealed/s-t01000-1"
        ]
    );
    assert_eq!(
        std::fs::read_dir(rig.location().join("data"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(rig.document(), None);

    let timeline = rig.timeline();
    let states: Vec<_> = timeline.iter().map(|e| e.state.clone()).collect();
    assert_eq!(states, ROAD.map(|s| s.to_string()));
    for entry in &timeline {
        assert!(
            matches!(entry.ending, Some(Ending::Done { .. })),
            "{entry:?}"
        );
        assert!(
            entry.queued_at <= entry.started_at.unwrap() && entry.started_at <= entry.ended_at,
            "{entry:?}"
        );
        let computes = [
            "AddPieces",
            "TreeD",
            "PC1",
            "PC2",
            "PersistFiles",
            "C1",
            "C2",
        ]
        .contains(&entry.stage.as_str());
        assert_eq!(entry.child.is_some(), computes, "{entry:?}");
        // only PC2's child has told what it computes with
        let kernel = (entry.stage == "PC2").then_some("avx512-ifma");
        assert_eq!(entry.kernel.as_deref(), kernel, "{entry:?}");
    }
    let script = rig.manager.script();
    let told: Vec<_> = script.timeline.values().cloned().collect();
    assert_eq!(told, timeline, "the manager has the same timeline");
    let events: Vec<_> = script
        .reports
        .iter()
        .map(|(_, r)| r.state_change.event.clone())
        .collect();
    assert_eq!(
        events,
        [
            "Allocate",
            "AcquireDeals",
            "AddPiece",
            "BuildTreeD",
            "AssignTicket",
            "PC1",
            "PC2",
            "SubmitPC",
            "CheckPC",
            "Persist",
            "SubmitPersistance",
            "AssignSeed",
            "C1",
            "C2",
            "SubmitProof",
            "Finish"
        ]
    );
    let first = &script.reports[0].1;
    assert_eq!(
        (
            first.state_change.prev.as_str(),
            first.state_change.next.as_str()
        ),
        ("Empty", "Allocated")
    );
    assert_eq!(script.resets, [("precommit", false), ("proof", false)]);
}

#[test]
fn sectors_follow_each_other_and_then_the_thread_is_idle() {
    let rig = Rig::new(2);
    let running = rig.start();
    rig.wait_done(&running, 2);
    until("an idle thread", || running.is_idle());
    assert_eq!(running.board.info().thread_state, ThreadState::Idle);
    running.stop();
    assert_eq!(rig.runs(Stage::C2), 2);
    assert_eq!(
        rig.timeline().len(),
        ROAD.len(),
        "the last sector's timeline only"
    );
}

#[test]
fn a_pause_takes_effect_while_waiting_for_a_processor() {
    let rig = Rig::with(1, None, "[limitation.concurrent]\nc2 = 1\n");
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::C2, &format!("wait {}", gate.display()));
    // somebody else's C2 holds the only place
    let pool = rig.pool().clone();
    let other = std::thread::spawn(move || {
        let task = C2 {
            c1out: damocles_processor::Opaque::from_text("{}").unwrap(),
            prover_id: [0; 32],
            sector_id: 99,
            miner_id: 1,
        };
        pool.run(&task, &Cancel::new(), &mut |_| ()).unwrap();
    });
    until("the other C2", || rig.runs(Stage::C2) == 1);
    let pc1_gate = rig.orders.join("pc1-gate");
    rig.order_once(Stage::Pc1, &format!("wait {}", pc1_gate.display()));

    let running = rig.start();
    // a running step is in the timeline with its child, before it has ended
    until("PC1", || rig.runs(Stage::Pc1) == 1);
    let entries = running.board.database().unwrap().timeline().unwrap();
    let pc1 = entries.last().unwrap();
    assert_eq!(
        (pc1.stage.as_str(), &pc1.ending, pc1.ended_at),
        ("PC1", &None, None)
    );
    assert!(pc1.started_at.is_some() && pc1.child.is_some(), "{pc1:?}");
    std::fs::write(&pc1_gate, "").unwrap();
    until("waiting for c2", || {
        let info = running.board.info();
        info.job_stage.as_deref() == Some("C2")
            && matches!(info.thread_state, ThreadState::Waiting { .. })
    });
    let info = running.board.info();
    assert!(
        info.waiting_for
            .as_deref()
            .is_some_and(|w| w.contains("c2")),
        "{info:?}"
    );
    running.control.command(Command::Pause).unwrap();
    running.paused();
    assert!(matches!(
        running.board.info().thread_state,
        ThreadState::Paused { .. }
    ));

    std::fs::write(&gate, "").unwrap();
    other.join().unwrap();
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.runs(Stage::C1), 1);
    assert_eq!(rig.runs(Stage::C2), 2, "one of the other's, one of ours");
    let interrupted = rig
        .timeline()
        .iter()
        .filter(|e| e.ending == Some(Ending::Interrupted))
        .count();
    assert_eq!(interrupted, 1);
}

#[test]
fn resume_goes_only_where_the_sector_can_go_on() {
    let rig = Rig::new(1);
    rig.manager.script().no_seed = true;
    let running = rig.start();
    running.waits_for("the seed");
    assert_eq!(
        running.control.command(Command::Resume),
        Err(Refused::NotPaused)
    );
    running.control.command(Command::Pause).unwrap();
    running.paused();
    let refusal = |state| {
        running
            .control
            .command(Command::ResumeAt(state))
            .unwrap_err()
    };
    assert!(matches!(
        refusal(State::Unsealed),
        Refused::ForeignState { .. }
    ));
    for (state, why) in [
        (State::Empty, Closed::Begun),
        (State::TreeDBuilt, Closed::Precommitted),
        (State::PC1Done, Closed::Precommitted),
        (State::SeedAssigned, Closed::Lacks(Finding::Seed)),
        (State::C1Done, Closed::Lacks(Finding::Seed)),
        (State::Finished, Closed::Lacks(Finding::Seed)),
    ] {
        let refused = refusal(state);
        assert_eq!(refused, Refused::Closed { state, why });
        let said = refused.to_string();
        assert!(said.contains(&state.to_string()), "{said}");
    }
    assert_eq!(running.control.standing(), Standing::Paused);

    // back to the move of the files: the same replica, the same precommit
    rig.manager.script().no_seed = false;
    running
        .control
        .command(Command::ResumeAt(State::PCLanded))
        .unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    let script = rig.manager.script();
    assert_eq!(script.tickets, 1);
    assert_eq!(script.resets, [("precommit", false), ("proof", false)]);
    assert!(
        script
            .reports
            .iter()
            .any(|(_, r)| r.state_change.event == "SetState")
    );
    assert_eq!((rig.runs(Stage::Pc2), rig.runs(Stage::Transfer)), (1, 2));
    let timeline = rig.timeline();
    assert!(
        timeline.iter().any(|e| e.stage == "SetState"),
        "a person's jump is in the timeline"
    );
    let told: Vec<_> = script.timeline.values().cloned().collect();
    assert_eq!(told, timeline);
}

#[test]
fn before_its_precommit_a_sector_may_be_sealed_anew_from_a_fresh_ticket() {
    let rig = Rig::new(1);
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::Pc2, &format!("wait {}", gate.display()));
    let running = rig.start();
    until("PC2", || rig.runs(Stage::Pc2) == 1);
    running.control.command(Command::Pause).unwrap();
    std::fs::write(&gate, "").unwrap();
    running.paused();
    running
        .control
        .command(Command::ResumeAt(State::TreeDBuilt))
        .unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    let script = rig.manager.script();
    assert_eq!(script.tickets, 2);
    assert_eq!(
        script.resets,
        [("precommit", true), ("proof", false)],
        "the manager may hold another precommit"
    );
    assert_eq!((rig.runs(Stage::TreeD), rig.runs(Stage::Pc1)), (1, 2));
}

#[test]
fn an_operator_gives_a_sector_up() {
    let rig = Rig::new(1);
    rig.manager.script().full = true;
    let running = rig.start();
    running.waits_for("space in one of the stores hdd");
    running.control.command(Command::Pause).unwrap();
    running.paused();
    running
        .control
        .command(Command::ResumeAt(State::Aborted))
        .unwrap();
    until("the sector's end", || running.board.info().job_id.is_none());
    running.stop();
    assert_eq!(rig.document(), None);
    let script = rig.manager.script();
    let [(sector, reason)] = script.aborted.as_slice() else {
        panic!("{:?}", script.aborted)
    };
    assert_eq!(*sector, SectorId::new(1000, 1));
    assert!(
        reason.starts_with("given up by the operator; its precommit and the deposit"),
        "a person learns what stays: {reason}"
    );
    assert_eq!(
        std::fs::read_dir(rig.location().join("data"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn messages_that_fail_are_asked_for_anew() {
    let rig = Rig::new(1);
    {
        let mut script = rig.manager.script();
        script
            .poll_precommit
            .push_back(poll(OnChainState::Failed, "out of gas"));
        script
            .poll_proof
            .push_back(poll(OnChainState::Failed, "out of gas"));
    }
    rig.run(1);
    assert_eq!(
        rig.manager.script().resets,
        [
            ("precommit", false),
            ("precommit", true),
            ("proof", false),
            ("proof", true)
        ]
    );
    assert_eq!((rig.runs(Stage::Pc2), rig.runs(Stage::C2)), (1, 1));
}

#[test]
fn an_expired_ticket_and_a_changed_seed_lead_back_instead_of_losing_the_sector() {
    let rig = Rig::new(1);
    {
        let mut script = rig.manager.script();
        let expired = resp(
            SubmitResult::Rejected,
            "ticket expired: seal height: 5, head: 9000",
        );
        script.submit_precommit.push_back(expired);
        script
            .submit_proof
            .push_back(resp(SubmitResult::Rejected, "bad seed: it changed"));
    }
    rig.run(1);
    let timeline = rig.timeline();
    assert_eq!(done(&timeline, State::TicketAssigned), 2);
    assert_eq!(done(&timeline, State::DealsAcquired), 1);
    assert_eq!(done(&timeline, State::SeedAssigned), 2);
    let script = rig.manager.script();
    assert_eq!(script.tickets, 2);
    assert_eq!(script.given, 1);
    assert_eq!(
        script.resets,
        [
            ("precommit", false),
            ("precommit", true),
            ("proof", false),
            ("proof", true)
        ]
    );
}

#[test]
fn a_proof_that_does_not_hold_is_computed_again_and_not_sent_again() {
    let rig = Rig::new(1);
    {
        let mut script = rig.manager.script();
        let mut wrong = resp(SubmitResult::Rejected, "not on curve");
        wrong.reason = Some(Reason::ProofInvalid);
        script.submit_proof.push_back(wrong);
        let mut later = poll(OnChainState::Failed, "x");
        later.reason = Some(Reason::ProofInvalid);
        script.poll_proof.push_back(later);
    }
    rig.run(1);
    assert_eq!((rig.runs(Stage::C1), rig.runs(Stage::C2)), (1, 3));
    assert_eq!(
        rig.manager.script().resets,
        [
            ("precommit", false),
            ("proof", false),
            ("proof", true),
            ("proof", true)
        ]
    );
}

#[test]
fn a_precommit_that_left_the_chain_is_handed_in_again_without_sealing_anew() {
    let rig = Rig::new(1);
    {
        let mut script = rig.manager.script();
        let mut gone = resp(SubmitResult::Rejected, "x");
        gone.reason = Some(Reason::PreCommitGone);
        script.submit_proof.push_back(gone);
    }
    rig.run(1);
    assert_eq!(
        (
            rig.runs(Stage::Pc1),
            rig.runs(Stage::Pc2),
            rig.runs(Stage::C2)
        ),
        (1, 1, 2)
    );
    assert_eq!(
        rig.manager.script().resets,
        [
            ("precommit", false),
            ("proof", false),
            ("precommit", true),
            ("proof", true)
        ]
    );
}

#[test]
fn an_answer_to_a_submission_that_says_not_now_is_waited_for() {
    let rig = Rig::new(1);
    {
        let mut script = rig.manager.script();
        for _ in 0..9 {
            let mut wait = resp(SubmitResult::Rejected, "the wallet is empty");
            wait.reason = Some(Reason::NotNow);
            script.submit_precommit.push_back(wait);
        }
    }
    let running = rig.start_with(None, "max_retries = 0\nmax_resubmits = 0\n");
    rig.wait_done(&running, 1);
    running.stop();
    let timeline = rig.timeline();
    assert_eq!(done(&timeline, State::PC2Done), 1);
    assert_eq!(timeline.len(), ROAD.len(), "one attempt, no failure");
}

#[test]
fn an_interrupted_look_at_the_sealed_sector_costs_no_second_pc2() {
    let rig = Rig::new(1);
    // the look is a C1 of its own
    rig.order_once(Stage::C1, "die");
    let running = rig.start_with(None, "verify_after_pc2 = true\n");
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!((rig.runs(Stage::Pc2), rig.runs(Stage::C1)), (1, 3));
    assert_eq!(done(&rig.timeline(), State::PC1Done), 1);
}

#[test]
fn nothing_to_seal_takes_no_sector_number() {
    let rig = Rig::new(1);
    let running = rig.start_with(
        None,
        "disable_cc = true\nenable_deals = false\nrequest_task_max_retries = 0\n",
    );
    until("the reason", || {
        let waits = running.board.info().waiting_for;
        waits.is_some_and(|w| w.contains("there is nothing to seal"))
    });
    running.stop();
    assert_eq!(rig.manager.script().allocations_asked, 0);
}

#[test]
fn a_lost_answer_costs_no_sector_number_over_restarts_either() {
    let rig = Rig::new(9);
    rig.manager.script().lost_answers = 3;
    let running = rig.start();
    until("the lost answers", || rig.manager.script().lost_answers < 2);
    running.stop();
    rig.run(1);
    let script = rig.manager.script();
    assert_eq!(script.done[0], SectorId::new(1000, 1));
    assert!(script.allocations_asked > 3);
    assert_eq!(
        script.given,
        script.requests.len() as u64,
        "one number for each question"
    );
}

#[test]
fn a_manager_that_takes_reports_and_never_answers_delays_nothing() {
    let rig = Rig::new(1);
    rig.manager.script().mute_to_reports = true;
    let running = rig.start();
    until("the sector's end", || {
        rig.manager.script().done.len() == 1 && running.board.info().job_id.is_none()
    });
    assert!(rig.manager.script().reports.is_empty());
    rig.manager.script().mute_to_reports = false;
    running.stop();

    // what was not told is on disk, and is told after the next start
    let running = rig.start();
    until("the reports", || {
        rig.manager.script().reports.len() == ROAD.len() - 1
    });
    until("the last of them", || running.reports.quiet());
    running.stop();
    let timeline = rig.timeline();
    let script = rig.manager.script();
    let told: Vec<_> = script
        .timeline
        .range((SectorId::new(1000, 1), 0)..=(SectorId::new(1000, 1), u64::MAX))
        .map(|(_, e)| e.clone())
        .collect();
    assert_eq!(told, timeline);
}

#[test]
fn an_upstream_manager_seals_too_and_is_asked_once_for_what_it_has_not() {
    let rig = Rig::new(1);
    rig.manager.script().upstream = true;
    rig.run(1);
    let script = rig.manager.script();
    assert_eq!((script.timelines_asked, script.identities_asked), (1, 1));
    assert_eq!(script.reports.len(), ROAD.len() - 1);
}

#[test]
fn the_manager_is_the_one_that_the_document_names() {
    let rig = Rig::new(1);
    rig.manager.script().database = "a".into();
    rig.manager.script().no_seed = true;
    let running = rig.start();
    running.waits_for("the seed");
    running.stop();
    let named = |rig: &Rig| {
        let mut found = serde_json::Value::Null;
        rig.change_document(|document| found = document["manager"].clone());
        found
    };
    assert_eq!(named(&rig), "a");

    // one that is older than the question learns it from the next good answer
    rig.change_document(|document| {
        document.as_object_mut().unwrap().remove("manager");
    });
    rig.manager.script().no_seed = false;
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::C2, &format!("wait {}", gate.display()));
    let running = rig.start();
    until("C2", || rig.runs(Stage::C2) == 1);
    std::fs::write(&gate, "").unwrap();
    running.control.command(Command::Pause).unwrap();
    running.paused();
    running.stop();
    assert_eq!(named(&rig), "a");
}
