//! The real program with plans that it has not, and with plans that its machine cannot carry.

use super::{Daemon, Place, daemon, fails, program};
use crate::{fake_manager::FakeManager, rig::runtime, until};
use std::fs;

fn threads(host: &str) -> serde_json::Value {
    let list = program()
        .args(["worker", "-H", host, "list", "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&list.stdout).unwrap()
}

#[test]
fn threads_of_plans_of_another_version_wait_and_say_so() {
    let place = Place::new();
    let dir = place.dir.path();
    damocles_worker::stores::SealingStore::init(&dir.join("t2")).unwrap();
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let more = format!(
        "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n\
         [[sealing_thread]]\nplan = \"wdpost\"\n[[sealing_thread]]\nlocation = \"{}/t2\"\nplan = \"snapup\"\n",
        dir.display()
    );
    let mut worker = Daemon::start(&place.config(manager.address, &more));
    let host = worker.host();
    let waits = |thread: usize, words: &str| {
        let threads = threads(&host);
        let found = threads[thread]["waiting_for"].as_str().unwrap_or_default();
        found.contains(words)
    };
    until("a sealer beside two that wait", || {
        waits(0, "no sector to give")
            && waits(1, "the manager has no WindowPoSt for it")
            && waits(2, "\"snapup\" is not in this version")
    });
    let shown = threads(&host);
    assert_eq!(
        (&shown[1]["index"], &shown[1]["location"]),
        (&1.into(), &"-".into())
    );
    assert_eq!(
        (&shown[2]["index"], &shown[2]["plan"]),
        (&2.into(), &"snapup".into())
    );
    // such a thread can be paused like any other
    for command in ["pause", "resume"] {
        let done = program()
            .args(["worker", "-H", &host, command, "-i", "1"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let state = if command == "pause" { "Paused" } else { "Idle" };
        until("its state", || {
            threads(&host)[1]["thread_state"]["state"] == state
        });
    }
    // another plan in its own file is taken up
    fs::write(dir.join("t2/config.toml"), "plan = \"sealer\"\n").unwrap();
    until("work of the other plan", || waits(2, "no sector to give"));
}

#[test]
fn a_plan_that_the_machine_cannot_carry_is_refused_before_anything_is_touched() {
    let place = Place::new();
    let address = ([127, 0, 0, 1], 9).into();
    let more = "[[processors.pc1]]\ncgroup.cpuset = \"0\"\n[[processors.c2]]\nbin = \"/opt/no-such-c2\"\n[[processors.pc2]]\ngpus = [977]\n";
    let file = place.config(address, more);
    fails(
        &mut daemon(&file),
        3,
        "processors.c2[0].bin: there is no program /opt/no-such-c2",
        "plan check",
    );
    fails(
        &mut daemon(&file),
        3,
        "processors.pc2[0] names GPU 977",
        "allow_oversubscription",
    );
    let meta = place.dir.path().join("t0/meta");
    assert!(fs::read_dir(&meta).unwrap().next().is_none());

    let check = |more: &[&str]| {
        let mut command = program();
        command.args(["plan", "check", "-c"]).arg(&file).args(more);
        command.output().unwrap()
    };
    let told = check(&["--json"]);
    assert_eq!(told.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let kinds = json["Findings"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|f| f["Kind"].as_str().unwrap()).collect();
    assert!(
        kinds.contains(&"gpu") && kinds.contains(&"missing"),
        "{kinds:?}"
    );

    // the same file for another machine, where nobody looks for programs
    let machine = place.dir.path().join("machine.toml");
    let gpus = vec!["\"X\""; 978].join(", ");
    let text = format!(
        "cpus = \"0-1\"\nmemory = \"16GiB\"\ngpus = [{gpus}]\n[[disk]]\nmount = \"/\"\nsize = \"1TB\"\n"
    );
    fs::write(&machine, text).unwrap();
    let machine = machine.to_str().unwrap();
    let told = check(&["--machine", machine]);
    assert!(told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("gpu     977 (X): processors.pc2[0]"));
}

#[test]
fn this_machine_is_shown_and_its_description_is_read_again() {
    let shown = program().arg("hwinfo").output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("CPUs "));
    let described = program().args(["hwinfo", "--toml"]).output().unwrap();
    let text = String::from_utf8(described.stdout).unwrap();
    let path = std::path::Path::new("machine.toml");
    let machine = damocles_worker::hardware::Hardware::from_toml(path, &text).unwrap();
    assert_eq!(machine.to_toml().trim_end(), text.trim_end());
}
