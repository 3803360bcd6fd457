//! The real program over disks that are dead, not mounted, or have lost their database.

use super::{Daemon, Place, daemon, fails, program, text};
use crate::{fake_manager::FakeManager, rig::runtime, until};
use damocles_worker::stores::SealingStore;
use std::fs;

#[test]
fn a_dead_disk_and_a_missing_store_keep_nobody_else_idle() {
    let place = Place::new();
    let dir = place.dir.path();
    let t1 = dir.join("t1");
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let more = format!(
        "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\nscan_persist_stores = [\"{0}/none/*\"]\n\
         [[sealing_thread]]\nlocation = \"{0}/t1\"\n",
        dir.display()
    );
    let file = place.config(manager.address, &more);
    fs::remove_dir(dir.join("hdd")).unwrap();
    fails(
        daemon(&file).arg("--config-check"),
        3,
        "t1 is not there",
        "correct",
    );
    fails(
        daemon(&file).arg("--config-check"),
        3,
        "hdd is not there",
        "correct",
    );

    let mut worker = Daemon::start(&file);
    let host = worker.host();
    worker.says("sealing_thread[1].location");
    worker.says("the store \"hdd\" is left out until it is there");
    let threads = || {
        let list = program()
            .args(["worker", "-H", &host, "list", "--json"])
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&list.stdout).unwrap()
    };
    let waits_for = |thread: usize, words: &str| {
        let threads = threads();
        let found = threads[thread]["waiting_for"].as_str().unwrap_or_default();
        found.contains(words)
    };
    until("an idle and a waiting thread", || {
        waits_for(0, "no sector to give") && waits_for(1, "t1 is not there")
    });
    assert!(threads()[1]["hint"].as_str().unwrap().contains("mount"));
    // a person may let it rest all the same
    let command = |args: &[&str]| {
        program()
            .args(["worker", "-H", &host])
            .args(args)
            .output()
            .unwrap()
    };
    for index in ["0", "1"] {
        assert!(command(&["pause", "-i", index]).status.success());
    }
    until("both pauses", || {
        let threads = threads();
        let paused = |index: usize| threads[index]["thread_state"]["state"] == "Paused";
        paused(0) && paused(1)
    });
    let resumed = command(&["--json", "resume", "--all"]);
    let resumed: Vec<usize> = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!(resumed, [0, 1]);
    assert!(text(&command(&["resume", "--all"])).contains("no thread is paused"));
    // a disk that comes, or a command that is at it: nothing of that asks for a person
    fs::create_dir_all(t1.join("half/made")).unwrap();
    until("another look", || waits_for(1, "holds half"));
    fs::remove_dir_all(&t1).unwrap();
    // it goes on by itself when the store is there
    SealingStore::init(&t1).unwrap();
    until("the second thread", || waits_for(1, "no sector to give"));
    assert_eq!(threads()[1]["last_error"], serde_json::Value::Null);
    assert_eq!(worker.terminate(), Some(0));
}

#[test]
fn a_lost_database_beside_a_sealed_sector_asks_a_person_and_nobody_else() {
    let place = Place::new();
    let t0 = place.dir.path().join("t0");
    let sealed = t0.join("data/sealed/s-t01000-7");
    fs::create_dir_all(sealed.parent().unwrap()).unwrap();
    fs::write(&sealed, b"hours of work").unwrap();
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 9));
    let mut worker = Daemon::start(&place.quiet(manager.address));
    let host = worker.host();
    worker.says("is lost, but data/sealed/s-t01000-7 is there");
    for _ in 0..2 {
        until("the pause", || {
            let list = program().args(["worker", "-H", &host, "list"]).output();
            text(&list.unwrap()).contains("paused")
        });
        let mut resume = program();
        resume.args(["worker", "-H", &host, "resume", "-i", "0"]);
        assert!(resume.status().unwrap().success());
    }
    assert_eq!(worker.terminate(), Some(0));
    assert_eq!(fs::read(&sealed).unwrap(), b"hours of work");
    assert_eq!(manager.script().given, 0, "no sector was begun over it");
}
