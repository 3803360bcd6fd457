//! How children start and end: side by side, called off, under a daemon and by hand.

use crate::rig::{CHILD, Fake, LONG, alive, c2, until};
use damocles_processor::{Pool, ProcessorError, RawProcessors, Stage, StartOptions};
use std::{fs, path::PathBuf, sync::mpsc};

/// Children that each do something and then wait until all others have done it too.
fn company(fake: &Fake, before: &str, after: &str) -> serde_json::Value {
    let members: Vec<_> = (0..3).map(|i| fake.path(&i.to_string())).collect();
    let child = |me: &PathBuf| {
        let all = members
            .iter()
            .map(|path| format!("[ -e {} ]", path.display()));
        let all = all.collect::<Vec<_>>().join(" && ");
        let wait = format!("touch {}; until {all}; do sleep 0.01; done", me.display());
        let script = format!("{before}{wait}; {after}");
        serde_json::json!({"bin": "/bin/sh", "args": ["-c", script], "stable_wait": "60s"})
    };
    members.iter().map(child).collect()
}

#[test]
fn children_start_side_by_side() {
    let fake = Fake::new();
    let children = company(&fake, "", "echo c2 processor ready; exec cat");
    let pool = fake.pool(|c| c["c2"] = children).unwrap();
    assert_eq!(pool.view()[0].children.len(), 3);
    assert_eq!(pool.view()[0].children[2].name, "c2-2");
}

#[test]
fn children_end_side_by_side() {
    let fake = Fake::new();
    let end = fake.path("end");
    let begin = "echo c2 processor ready; cat >/dev/null; ";
    let children = company(&fake, begin, &format!("echo end >> {}", end.display()));
    drop(fake.pool(|c| c["c2"] = children).unwrap());
    assert_eq!(fs::read_to_string(end).unwrap(), "end\n".repeat(3));
}

#[test]
fn a_start_can_be_called_off() {
    let fake = Fake::new();
    fake.tell("c2.start", "mute");
    let raw = serde_json::json!({"c2": [{
        "bin": CHILD, "args": ["processor", "c2"], "stable_wait": "100h",
        "envs": {"FAKE_PROCESSOR_DIR": fake.dir.path()},
    }]});
    let raw: RawProcessors = serde_json::from_value(raw).unwrap();
    let options = StartOptions::of(CHILD);
    let stop = options.stop.clone();
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let started = Pool::start(&[Stage::C2], &raw.check().unwrap(), &options);
        let _ = tx.send(started.map(|_| ()));
    });
    stop.cancel();
    assert_eq!(
        rx.recv_timeout(LONG).unwrap().unwrap_err(),
        ProcessorError::Cancelled
    );
}

/// A child as somebody starts it by hand, or as a daemon of ours does.
#[expect(clippy::disallowed_methods, reason = "nobody's child is the point")]
fn by_hand(fake: &Fake, ours: bool) -> std::process::Child {
    let mut command = std::process::Command::new(CHILD);
    command
        .args(["processor", "c2"])
        .env("FAKE_PROCESSOR_DIR", fake.dir.path())
        .env_remove("DAMOCLES_PROCESSOR_EVENTS")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    if ours {
        command.env("DAMOCLES_PROCESSOR_EVENTS", "1");
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let task = serde_json::json!({"id": 1, "task": c2()});
    std::io::Write::write_all(&mut stdin, format!("{task}\n").as_bytes()).unwrap();
    while fake.log().is_empty() {
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_task_given_by_hand_is_answered_though_nothing_follows_it() {
    let fake = Fake::new();
    let go = fake.path("go");
    fake.tell("c2", &format!("wait {}", go.display()));
    let child = by_hand(&fake, false);
    fs::write(&go, "").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "c2 processor ready");
    assert!(
        lines[1].starts_with(r#"{"id":1,"err_msg":null,"output":{"#),
        "{text}"
    );
    assert!(output.status.success());
}

#[test]
fn under_a_daemon_of_ours_the_end_of_input_is_the_end() {
    let fake = Fake::new();
    fake.tell("c2", "silent");
    let output = by_hand(&fake, true).wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "c2 processor ready\n"
    );
}

#[test]
fn sealing_daemons_are_kept_running() {
    let fake = Fake::new();
    let pids = fake.path("pids");
    let script = format!(
        "echo $$ >> {}; echo EMPTY processor ready; exec cat",
        pids.display()
    );
    let daemon = |script: &str| serde_json::json!([{"bin": "/bin/sh", "args": ["-c", script]}]);
    let pool = fake
        .pool(|c| c["sealing_daemons"] = daemon(&script))
        .unwrap();
    let started = || -> Vec<u32> {
        let text = fs::read_to_string(&pids).unwrap();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    };
    let first = started()[0];
    assert!(alive(first));
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("another one", || started().len() == 2);
    let second = started()[1];
    until("the end of the first", || !alive(first));
    assert!(alive(second));
    drop(pool);
    assert!(!alive(second), "it ends with the pool");

    let error = fake
        .pool(|c| c["sealing_daemons"] = daemon("echo hello"))
        .unwrap_err();
    assert!(error.to_string().contains("sealing_daemons"), "{error}");
}
