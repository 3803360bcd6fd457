//! Children that hang, seen by those who have tasks in them. The kernel kills what a test
//! leaves behind when the child's watcher ends.

use super::*;
use crate::parent::{child::Kill, limits::Limits};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);
/// A child that answers nothing but reads everything.
const MUTE: &str = "echo pc2 processor ready; while read x; do :; done";

fn start(spec: ChildSpec) -> Arc<Child> {
    let child = Child::start(spec, Box::new(|_| {})).unwrap();
    child.wait_until_ready(&|| false).unwrap();
    Arc::new(child)
}

fn null() -> Box<RawValue> {
    RawValue::from_string("null".to_owned()).unwrap()
}

/// Far more than a pipe holds.
fn long() -> Box<RawValue> {
    serde_json::value::to_raw_value(&"x".repeat(4 << 20)).unwrap()
}

type Done = Receiver<Result<Response, ChildError>>;

/// Runs a task on a thread of its own: what is heard of it, and how it ends.
fn run(child: &Arc<Child>, task: Box<RawValue>, cancel: &Cancel) -> (Receiver<Heard>, Done) {
    let (child, cancel) = (Arc::clone(child), cancel.clone());
    let (tell, heard): (Sender<Heard>, _) = unbounded();
    let (end, ended) = unbounded();
    thread::spawn(move || {
        let result = child.run(&task, None, &cancel, &mut |note| {
            let _ = tell.send(note);
        });
        let _ = end.send(result);
    });
    (heard, ended)
}

fn pid(heard: &Receiver<Heard>) -> u32 {
    match heard.recv_timeout(LONG).unwrap() {
        Heard::Started { pid } => pid,
        other => panic!("{other:?}"),
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn death(done: &Done) -> Death {
    match done.recv_timeout(LONG).unwrap() {
        Err(ChildError::Died { death, .. }) => death,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_that_does_not_read_is_killed_when_its_task_is_given_up() {
    let child = start(ChildSpec::shell("echo pc2 processor ready; exec sleep 600"));
    let (first, second) = (Cancel::killing(), Cancel::new());
    let (heard, done) = run(&child, long(), &first);
    let dead = pid(&heard);
    // another caller's request stands behind the first, which is never read to its end
    let (heard, other) = run(&child, long(), &second);
    assert_eq!(pid(&heard), dead);
    first.cancel();
    assert!(death(&done).reason.contains(GIVEN_UP));
    assert!(death(&other).reason.contains(GIVEN_UP));
}

#[test]
fn a_child_that_stands_still_and_does_not_read_is_stopped() {
    let child = start(ChildSpec::shell(MUTE));
    let Phase::Up { pid: dead } = child.phase() else {
        panic!("{:?}", child.phase());
    };
    signal(dead, Signal::STOP);
    let (heard, done) = run(&child, long(), &Cancel::new());
    assert_eq!(pid(&heard), dead);
    child.part();
    assert!(death(&done).reason.contains("killed by signal 9"));
}

#[test]
fn a_child_that_cannot_be_killed_holds_up_nobody() {
    let spec = ChildSpec {
        kill: Kill(|_| ()),
        ..ChildSpec::shell("echo pc2 processor ready; exec sleep 600")
    };
    let child = start(spec);
    let cancel = Cancel::killing();
    let (heard, done) = run(&child, null(), &cancel);
    let dead = pid(&heard);
    cancel.cancel();
    assert!(death(&done).reason.contains("has not ended yet"));
    // the next task goes to another process, or is called off while it waits for that
    let waits = Cancel::new();
    let (heard, called_off) = run(&child, null(), &waits);
    assert!(matches!(
        child.phase(),
        Phase::Down { .. } | Phase::Starting
    ));
    waits.cancel();
    assert_eq!(
        called_off.recv_timeout(LONG).unwrap().unwrap_err(),
        ChildError::Cancelled
    );
    drop(heard);
    let (heard, _done) = run(&child, null(), &Cancel::new());
    let next = pid(&heard);
    assert_ne!(next, dead);
    // neither process has been killed; the handle goes all the same
    child.part();
    let (end, ended) = unbounded();
    thread::spawn(move || {
        drop(child);
        end.send(()).unwrap();
    });
    ended.recv_timeout(LONG).unwrap();
}

#[test]
fn a_leader_that_dies_while_its_grandchild_holds_the_pipe_is_noticed() {
    let script = "setsid sleep 120 & echo pc2 processor ready; read x; exit 3";
    let child = start(ChildSpec::shell(script));
    let (heard, done) = run(&child, null(), &Cancel::new());
    pid(&heard);
    let reason = death(&done).reason;
    assert!(reason.contains("holds its stdout"), "{reason}");
    assert!(reason.contains("exit code 3"), "{reason}");
}

#[test]
fn what_was_answered_before_the_leader_died_still_arrives() {
    let script = r#"setsid sleep 120 & echo pc2 processor ready; read x; echo '{"id":1,"output":7}'; exit 0"#;
    let child = start(ChildSpec::shell(script));
    let (_, done) = run(&child, null(), &Cancel::new());
    let answer = done.recv_timeout(LONG).unwrap().unwrap();
    assert_eq!(answer.output.unwrap().get(), "7");
}

#[test]
fn a_task_that_takes_too_long_or_is_silent_too_long_is_ended_with_a_hint() {
    let short = Some(Duration::from_millis(1));
    for (limits, words, key) in [
        (
            Limits {
                longest: short,
                silent: None,
            },
            "took longer than 1 ms",
            "`longest`",
        ),
        (
            Limits {
                longest: None,
                silent: short,
            },
            "no sign of it for 1 ms",
            "`silent`",
        ),
    ] {
        let child = start(ChildSpec {
            limits: limits.into(),
            ..ChildSpec::shell(MUTE)
        });
        let (_, done) = run(&child, null(), &Cancel::new());
        let death = death(&done);
        assert!(death.reason.contains(words), "{death:?}");
        let hint = death.hint.unwrap();
        assert!(hint.contains(key) && hint.contains("[[processors.pc2]]"));
    }
}

#[test]
fn a_stopped_process_is_told_of_while_its_task_waits() {
    let child = start(ChildSpec::shell(MUTE));
    let (heard, _done) = run(&child, null(), &Cancel::new());
    let stopped = pid(&heard);
    signal(stopped, Signal::STOP);
    let Heard::Doubt(text) = heard.recv_timeout(LONG).unwrap() else {
        panic!("something else was heard");
    };
    assert!(text.contains(&format!("kill -CONT {stopped}")), "{text}");
}

#[test]
fn a_panic_of_the_watcher_leaves_nobody_waiting() {
    let script = "echo pc2 processor ready; read x; exit 3";
    let on_change = |up: bool| assert!(up, "told to panic");
    let child = Child::start(ChildSpec::shell(script), Box::new(on_change)).unwrap();
    child.wait_until_ready(&|| false).unwrap();
    let child = Arc::new(child);
    let (heard, done) = run(&child, null(), &Cancel::new());
    pid(&heard);
    assert!(death(&done).reason.contains("panicked"));
    let (_, later) = run(&child, null(), &Cancel::new());
    let error = later.recv_timeout(LONG).unwrap().unwrap_err();
    assert!(
        matches!(error, ChildError::NotStartable { .. }),
        "{error:?}"
    );
}

#[test]
fn the_wait_for_a_process_can_be_called_off_and_times_may_be_endless() {
    let spec = ChildSpec {
        stable_wait: Duration::MAX,
        on_demand: Some(Duration::from_secs(3600)),
        ..ChildSpec::shell("exec sleep 600")
    };
    let child = Arc::new(Child::start(spec, Box::new(|_| {})).unwrap());
    let cancel = Cancel::new();
    let (_, done) = run(&child, null(), &cancel);
    while child.phase() != Phase::Starting {
        thread::yield_now();
    }
    cancel.cancel();
    let error = done.recv_timeout(LONG).unwrap().unwrap_err();
    assert_eq!(error, ChildError::Cancelled);
    // a cancel that came before begins nothing
    let never = child.run(&null(), None, &cancel, &mut |note| panic!("{note:?}"));
    assert_eq!(never.unwrap_err(), ChildError::Cancelled);
    drop(child);
}
