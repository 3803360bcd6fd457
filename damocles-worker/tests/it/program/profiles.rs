//! The real program whose file is laid over the manager's profile, and read again while it runs.

use super::{Daemon, Place, daemon, fails, program};
use crate::{fake_manager::FakeManager, rig::runtime, until};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

fn manager() -> FakeManager {
    runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0))
}

/// What serves a fleet: everything but where the manager is.
fn profile(place: &Place, more: &str) -> String {
    let dir = place.dir.path().display();
    format!(
        "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\nping_interval = \"50ms\"\n\
         [sealing]\nallowed_sizes = [\"2KiB\"]\nseal_interval = \"20ms\"\nrecover_interval = \"20ms\"\nmax_retries = 7\n\
         [[attached]]\nname = \"hdd\"\nlocation = \"{dir}/hdd\"\n\
         [[sealing_thread]]\nlocation = \"{dir}/t0\"\n{more}"
    )
}

/// A host's own file: three lines.
fn own(place: &Place, manager: SocketAddr) -> PathBuf {
    let file = place.dir.path().join("worker.toml");
    let text =
        format!("[sector_manager]\nrpc_client.addr = \"http://{manager}\"\nprofile = \"fleet\"\n");
    fs::write(&file, text).unwrap();
    file
}

fn hang_up(worker: &Daemon) {
    let pid = worker.child.id().to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-HUP", &pid]).status().unwrap().success());
}

fn show(file: &Path) -> serde_json::Value {
    let mut command = program();
    let shown = command.args(["config", "show", "--json", "-c"]).arg(file);
    serde_json::from_slice(&shown.output().unwrap().stdout).unwrap()
}

#[test]
fn three_lines_and_a_profile_are_a_worker_also_while_the_manager_is_away() {
    let place = Place::new();
    let manager = manager();
    let address = manager.address;
    let file = own(&place, address);
    fails(
        &mut daemon(&file),
        7,
        "has no profile \"fleet\"",
        "util profile list",
    );
    manager
        .script()
        .profiles
        .insert("fleet".into(), profile(&place, ""));
    let mut worker = Daemon::start(&file);
    worker.says("laid over the manager's profile");
    worker.says("the manager is there; sealing begins");
    assert_eq!(worker.terminate(), Some(0));

    let settings = show(&file);
    let of = |key: &str| {
        let mut all = settings.as_array().unwrap().iter();
        all.find(|s| s["Key"] == key).unwrap().clone()
    };
    let retries = of("sealing_thread[0].sealing.max_retries");
    assert_eq!(
        (&retries["Value"], &retries["From"]),
        (&7.into(), &"profile".into())
    );
    assert_eq!(of("sector_manager.profile")["Line"], 3);
    assert_eq!(of("sealing.max_resubmits")["From"], "default");

    drop(runtime().block_on(manager.stop()));
    let mut again = Daemon::start(&file);
    again.says("the profile is the last one that was kept");
    again.says("RPC address=");
    assert_eq!(again.terminate(), Some(0));
    fs::remove_file(place.dir.path().join("worker.profile.toml")).unwrap();
    let alone = daemon(&file).output().unwrap();
    let told = super::text(&alone);
    assert_eq!(alone.status.code(), Some(4), "{told}");
    assert!(
        told.contains("the profile \"fleet\" was never kept"),
        "{told}"
    );
}

#[test]
fn faults_of_profile_and_file_are_told_apart() {
    let place = Place::new();
    let manager = manager();
    let file = own(&place, manager.address);
    let bad = profile(
        &place,
        "[[sealing_thread]]\nplan = \"sealr\"\nlocation = \"/x\"\n",
    );
    manager.script().profiles.insert("fleet".into(), bad);
    let text = fs::read_to_string(&file).unwrap() + "[worker]\nping_interval = \"0s\"\n";
    fs::write(&file, text).unwrap();
    let check = program()
        .args(["config", "check", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(3));
    let told = super::text(&check);
    for words in [
        "worker.toml:5: worker.ping_interval: must be longer",
        "sealing_thread[1].plan: \"sealr\" is not a plan; the plans are sealer, snapup, rebuild, unseal, wdpost, niporep (the profile \"fleet\", line 16)",
    ] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
}

#[test]
fn a_changed_profile_is_reported_and_its_thread_settings_count_at_once() {
    let place = Place::new();
    let manager = manager();
    let file = own(&place, manager.address);
    let waiting = "plan = \"snapup\"\n";
    manager
        .script()
        .profiles
        .insert("fleet".into(), profile(&place, waiting));
    let mut worker = Daemon::start(&file);
    worker.says("sealing begins");
    worker.says("this thread waits: the plan \"snapup\"");
    let asked = || manager.script().allocations_asked;
    assert_eq!(asked(), 0);
    let changed = profile(&place, "[[processors.pc1]]\nconcurrent = 3\n");
    manager.script().profiles.insert("fleet".into(), changed);
    worker.says("plan: \"snapup\" -> \"sealer\"; counts from each thread's next sector on");
    worker.says(
        "processors.pc1[0].concurrent: nothing -> 3; counts when this worker is started anew",
    );
    until("work of the other plan", || asked() > 0);
    // one that is wrong is not taken, not even in part
    let wrong = profile(
        &place,
        "plan = \"snapup\"\n[sealing_thread.sealing]\nmax_retrys = 1\n",
    );
    manager.script().profiles.insert("fleet".into(), wrong);
    worker.says("the new configuration is not taken, and everything goes on as before");
    let before = asked();
    until("work as before", || asked() > before + 2);
}

#[test]
fn the_file_is_read_again_at_a_signal_and_a_broken_one_is_told_until_it_is_mended() {
    let place = Place::new();
    let manager = manager();
    let more = "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n";
    let file = place.config(manager.address, more);
    let good = fs::read_to_string(&file).unwrap();
    let mut worker = Daemon::start(&file);
    worker.says("sealing begins");
    let asked = || manager.script().allocations_asked;
    until("work", || asked() > 0);

    fs::write(
        &file,
        good.replace("[sealing]", "plan = \"snapup\"\n[sealing]\nmax_retrys = 1"),
    )
    .unwrap();
    hang_up(&worker);
    worker.says("unknown key; did you mean \"max_retries\"?");
    let before = asked();
    until("work as before", || asked() > before + 2);
    // mended: taken without another signal
    fs::write(
        &file,
        good.replace("[sealing]", "plan = \"snapup\"\n[sealing]\nmax_retries = 1"),
    )
    .unwrap();
    worker.says("this thread waits: the plan \"snapup\"");
    // a plan that the machine cannot carry is not taken either
    fs::write(
        &file,
        format!("{good}[[processors.c2]]\nbin = \"/opt/no-such-c2\"\n"),
    )
    .unwrap();
    hang_up(&worker);
    worker.says("there is no program /opt/no-such-c2");
    fs::write(&file, &good).unwrap();
    hang_up(&worker);
    worker.says("plan: \"snapup\" -> \"sealer\"");
    let before = asked();
    until("work", || asked() > before);
}
