//! The real program, replaced or removed on disk while it runs.

use super::{Daemon, Place};
use crate::{fake_manager::FakeManager, rig::runtime, until};
use damocles_api::timeline::Ending;
use damocles_test_ports::address;
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

#[test]
fn a_daemon_whose_program_was_replaced_goes_on_with_its_own_version() {
    let place = Place::new();
    let installed = place.dir.path().join("damocles-worker");
    let built = env!("CARGO_BIN_EXE_damocles-worker");
    // a link will do where it can be had; the program is large
    if fs::hard_link(built, &installed).is_err() {
        fs::copy(built, &installed).unwrap();
    }
    let manager_at = address();
    let mut command = Command::new(&installed);
    command.args(["daemon", "-c"]).arg(place.quiet(manager_at));
    let mut worker = Daemon::run(command);
    worker.says("this worker goes on waiting");

    // as an upgrade does it, and then somebody who clears up
    let next = place.dir.path().join("next");
    fs::write(&next, "#!/bin/sh\necho another version\n").unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&next, &installed).unwrap();
    let manager = runtime().block_on(FakeManager::start(manager_at, 1));
    let done = |state: &str| {
        let script = manager.script();
        let mut entries = script.timeline.values();
        entries.any(|e| e.state == state && matches!(e.ending, Some(Ending::Done { .. })))
    };
    until("the pieces by a child", || done("DealsAcquired"));
    fs::remove_file(&installed).unwrap();
    until("the tree by another child", || done("PieceAdded"));
    assert_eq!(worker.terminate(), Some(0));
}
