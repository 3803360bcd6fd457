//! What a manager says of a sector, and what it may destroy: nothing, but where it is certain.

use crate::{
    fake_manager::{fate, poll, resp},
    rig::{Rig, Running, done},
    until,
};
use damocles_api::{
    damocles::{AbortedBy, SectorFate},
    submit::{OnChainState, SubmitResult},
    timeline::Ending,
};
use damocles_flow::State;
use damocles_processor::Stage;
use damocles_types::{Level, SectorId};
use damocles_worker::control::{Command, Standing};

const SECTOR: SectorId = SectorId {
    miner: 1000,
    number: 1,
};

/// A thread whose sector is precommitted and waits for its seed.
fn precommitted(rig: &Rig) -> Running {
    rig.manager.script().no_seed = true;
    let running = rig.start();
    running.waits_for("the seed");
    until("the reports", || running.reports.quiet());
    running
}

/// The thread stands, says what a person can do, and has kept everything.
fn is_kept(rig: &Rig, running: &Running, case: &str) {
    running.paused();
    let info = running.board.info();
    let error = info.last_error.unwrap_or_default();
    assert!(error.starts_with("permanent: "), "{case}: {error}");
    assert!(
        info.hint
            .as_deref()
            .is_some_and(|h| h.contains("--state Aborted")),
        "{case}: {:?}",
        info.hint
    );
    assert_eq!(info.job_id.as_deref(), Some("s-t01000-1"), "{case}");
    assert_eq!(rig.sealing_files(), 1, "{case}: the sealed file is there");
}

fn online() -> SectorFate {
    SectorFate {
        online: true,
        ..fate(None, false)
    }
}

fn missing() -> SectorFate {
    SectorFate {
        known: false,
        ..fate(None, false)
    }
}

#[test]
fn a_precommitted_sector_outlasts_whatever_one_manager_says() {
    for (case, record) in [
        ("there is no record", Some(missing())),
        ("the record is online", Some(online())),
        ("the record says finished", Some(fate(None, true))),
        (
            "a worker gave it up",
            Some(fate(Some(AbortedBy::Worker), false)),
        ),
        (
            "nobody knows who gave it up",
            Some(fate(Some(AbortedBy::Unknown), false)),
        ),
        ("an upstream manager", None),
    ] {
        let rig = Rig::new(1);
        rig.manager.script().upstream = record.is_none();
        let running = precommitted(&rig);
        rig.manager
            .script()
            .fates
            .extend(record.map(|r| (SECTOR, r)));
        rig.manager.script().over = true;
        is_kept(&rig, &running, case);
        // over a restart as well, and without asking anybody
        running.stop();
        let asked = rig.manager.script().asked;
        let running = rig.start();
        is_kept(&rig, &running, case);
        assert_eq!(rig.manager.script().asked, asked, "{case}");
        assert!(rig.manager.script().aborted.is_empty(), "{case}");
        running.stop();
    }
}

#[test]
fn a_sector_that_the_manager_has_no_record_of_waits_for_a_person_who_may_give_it_up() {
    let rig = Rig::new(1);
    let running = precommitted(&rig);
    rig.manager.script().forgetful = true;
    is_kept(&rig, &running, "unknown");
    running
        .control
        .command(Command::ResumeAt(State::Aborted))
        .unwrap();
    until("the sector's end", || running.board.info().job_id.is_none());
    running.stop();
    assert_eq!(rig.document(), None);
    assert_eq!(rig.sealing_files(), 0);
}

#[test]
fn a_person_at_the_manager_ends_a_precommitted_sector() {
    let rig = Rig::new(1);
    let running = precommitted(&rig);
    {
        let mut script = rig.manager.script();
        script
            .fates
            .insert(SECTOR, fate(Some(AbortedBy::Person), false));
        script.over = true;
    }
    until("the sector's end", || running.board.info().job_id.is_none());
    until("the reports", || running.reports.quiet());
    running.stop();
    assert_eq!(rig.document(), None);
    assert_eq!(rig.sealing_files(), 0);
    let timeline = rig.timeline();
    let given_up = timeline.iter().find(
        |e| matches!(&e.ending, Some(Ending::Failed { level, .. }) if *level == Level::Abort),
    );
    assert_eq!(
        given_up.map(|e| e.state.as_str()),
        Some("PersistanceSubmitted")
    );
}

#[test]
fn a_report_that_is_answered_with_finalized_clears_nothing_that_is_not_finished() {
    for (case, reason, record) in [
        ("finalized", "", fate(None, true)),
        (
            "given up, says the report only",
            "given up at the manager",
            online(),
        ),
    ] {
        let rig = Rig::new(1);
        // a step that asks no manager, and is reported again and again
        std::fs::write(rig.orders.join("c2"), "temporary busy").unwrap();
        let running = rig.start_with(None, "max_retries = 1000000\n");
        until("C2", || rig.runs(Stage::C2) > 0);
        {
            let mut script = rig.manager.script();
            script.fates.insert(SECTOR, record);
            script.finalized = Some(reason.to_owned());
        }
        is_kept(&rig, &running, case);
        running.stop();
    }
}

#[test]
fn a_report_ends_a_sector_that_a_person_gave_up_at_the_manager() {
    let rig = Rig::new(1);
    // a step that asks no manager
    std::fs::write(rig.orders.join("c1"), "temporary busy").unwrap();
    let running = rig.start_with(None, "max_retries = 1000000\n");
    until("C1", || rig.runs(Stage::C1) > 0);
    {
        let mut script = rig.manager.script();
        script
            .fates
            .insert(SECTOR, fate(Some(AbortedBy::Person), false));
        script.finalized = Some("given up".to_owned());
        script.over = true;
    }
    until("the sector's end", || running.board.info().job_id.is_none());
    running.stop();
    assert_eq!(rig.document(), None);
    assert!(
        rig.manager.script().aborted.is_empty(),
        "the manager knows it already"
    );
}

#[test]
fn another_manager_is_asked_nothing_and_told_nothing_until_the_right_one_answers() {
    let rig = Rig::new(1);
    rig.manager.script().database = "ours".into();
    let running = precommitted(&rig);
    running.stop();
    let (asked, reports) = {
        let mut script = rig.manager.script();
        script.database = "another".into();
        script.over = true;
        script.finalized = Some("never heard of it".to_owned());
        script.no_seed = false;
        (script.asked, script.reports.len())
    };
    let running = rig.start();
    running.waits_for("is not the one that allocated s-t01000-1");
    assert!(
        running
            .board
            .info()
            .hint
            .is_some_and(|h| h.contains("rpc_client.addr")),
        "a person is told what to do"
    );
    {
        let mut script = rig.manager.script();
        assert_eq!((script.asked, script.reports.len()), (asked, reports));
        script.over = false;
        script.finalized = None;
        script.database = "ours".into();
    }
    // the manager takes back its place without a word; the worker asks again by and by
    running.stop();
    let running = rig.start();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.runs(Stage::Pc1), 1);
}

#[test]
fn somebody_who_says_of_everything_that_it_is_over_is_waited_out() {
    let rig = Rig::new(1);
    let running = precommitted(&rig);
    running.stop();
    {
        let mut script = rig.manager.script();
        (script.stranger, script.over, script.no_seed) = (true, true, false);
    }
    let running = rig.start();
    running.waits_for("cannot be read");
    let info = running.board.info();
    assert!(info.hint.is_some() && info.last_error.is_some(), "{info:?}");
    assert_eq!(rig.sealing_files(), 1);
    {
        let mut script = rig.manager.script();
        (script.stranger, script.over) = (false, false);
    }
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(rig.runs(Stage::Pc1), 1);
}

#[test]
fn a_person_may_give_up_a_sector_whose_manager_is_lost_without_telling_another() {
    let rig = Rig::new(1);
    rig.manager.script().database = "lost".into();
    let running = precommitted(&rig);
    running.stop();
    rig.manager.script().database = "new".into();
    let running = rig.start();
    running.waits_for("is not the one that allocated");
    running.control.command(Command::Pause).unwrap();
    running.paused();
    running
        .control
        .command(Command::ResumeAt(State::Aborted))
        .unwrap();
    until("the sector's end", || running.board.info().job_id.is_none());
    running.stop();
    assert_eq!(rig.document(), None);
    assert!(rig.manager.script().aborted.is_empty());
}

#[test]
fn a_precommit_that_is_refused_twice_gives_the_sector_up_and_the_next_one_begins() {
    let rig = Rig::new(2);
    let refused = || resp(SubmitResult::Rejected, "invalid deals");
    rig.manager
        .script()
        .submit_precommit
        .extend([refused(), refused()]);
    rig.run(1);
    let script = rig.manager.script();
    let reason = "the precommit was rejected: invalid deals".to_owned();
    assert_eq!(script.aborted, [(SECTOR, reason)]);
    assert_eq!(script.done, [SectorId::new(1000, 2)]);
    let told = script.timeline.get(&(SECTOR, 7)).unwrap();
    assert!(
        matches!(
            &told.ending,
            Some(Ending::Failed {
                level: Level::Abort,
                ..
            })
        ),
        "{told:?}"
    );
}

#[test]
fn a_precommit_that_is_refused_once_is_asked_for_again() {
    let rig = Rig::new(1);
    rig.manager
        .script()
        .submit_precommit
        .push_back(resp(SubmitResult::Rejected, "invalid deals"));
    rig.run(1);
    let script = rig.manager.script();
    assert_eq!(script.done, [SECTOR]);
    assert!(script.aborted.is_empty());
    assert_eq!(rig.runs(Stage::Pc1), 1);
}

#[test]
fn a_sector_that_should_be_aborted_after_its_precommit_waits_for_a_person() {
    let rig = Rig::new(1);
    rig.manager
        .script()
        .poll_precommit
        .push_back(poll(OnChainState::ShouldAbort, "no such deal"));
    let running = rig.start();
    is_kept(&rig, &running, "should abort");
    assert!(
        running
            .board
            .info()
            .last_error
            .unwrap()
            .contains("no such deal")
    );
    // the person sees that it was nothing
    running.control.command(Command::Resume).unwrap();
    rig.wait_done(&running, 1);
    running.stop();
    assert_eq!(done(&rig.timeline(), State::PCSubmitted), 1);
}

#[test]
fn before_its_precommit_an_upstream_manager_has_to_say_it_twice() {
    let rig = Rig::new(1);
    rig.manager.script().upstream = true;
    let gate = rig.orders.join("gate");
    rig.order_once(Stage::TreeD, &format!("wait {}", gate.display()));
    let running = rig.start_with(None, "recover_interval = \"1h\"\n");
    until("TreeD", || rig.runs(Stage::TreeD) == 1);
    rig.manager.script().over = true;
    std::fs::write(&gate, "").unwrap();
    running.waits_for("the manager to say again that the sector is over");
    assert_eq!(running.control.standing(), Standing::Working);
    assert_eq!(rig.manager.script().aborted, []);
    running.stop();
    assert!(
        rig.document().is_some(),
        "nothing is destroyed on one answer"
    );

    let asked = rig.manager.script().asked;
    let running = rig.start();
    // the ticket twice, and the end
    until("the second question", || {
        rig.manager.script().asked >= asked + 3
    });
    until("the sector's end", || running.board.info().job_id.is_none());
    running.stop();
    assert_eq!(rig.document(), None);
}
