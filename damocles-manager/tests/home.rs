//! A home and its database: one that is gone, another one, an older one. And what a running
//! daemon does with signals, and a command with a reader that leaves.

mod house;

use damocles_kv::{Schema, Store};
use house::{Home, manager, refused, verdict};
use rustix::process::Signal;
use std::{fs, process::ExitStatus};

const NOWHERE: &str = "http://127.0.0.1:9";
const RUN: [&str; 4] = ["daemon", "run", "--listen", "127.0.0.1:0"];

/// A home on which the daemon has run.
fn used() -> Home {
    let home = Home::good(NOWHERE, 1000);
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
    home
}

#[test]
fn a_database_that_is_gone_is_missed_and_none_is_made() {
    let home = used();
    let state = home.path().join("state");
    fs::rename(&state, home.path().join("away")).unwrap();
    for empty in [false, true] {
        if empty {
            // as when the disk is not mounted
            fs::create_dir(&state).unwrap();
        }
        let said = verdict(&home.run(&RUN));
        refused(said, 8, "although this home had one", "database-id");
        let made = fs::read_dir(&state).map(|files| files.count());
        assert_eq!(made.unwrap_or(0), 0);
    }
    fs::remove_dir(&state).unwrap();
    fs::rename(home.path().join("away"), &state).unwrap();
    let mut daemon = home.start(&[]);
    daemon.until("listening");
}

/// A disk that is not mounted may be the home's own, with the configuration elsewhere.
#[test]
fn an_emptied_home_gets_no_database_until_a_person_begins_it_anew() {
    let home = used();
    for entry in fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if !path.ends_with("sector-manager.cfg") {
            fs::remove_file(path).unwrap();
        }
    }
    let said = verdict(&home.run(&RUN));
    refused(said, 8, "does not say that it is new", "daemon init");
    assert!(!home.path().join("state").exists());
    let begun = home.run(&["daemon", "init"]);
    assert!(begun.status.success(), "{begun:?}");
    let mut daemon = home.start(&[]);
    daemon.until("listening");
}

#[test]
fn another_database_in_its_place_is_refused() {
    const EMPTY: Schema = Schema {
        owner: "damocles-manager",
        tables: &[],
        migrations: &[],
    };
    let home = used();
    let state = home.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    drop(Store::open(&state, &EMPTY).unwrap());
    let said = verdict(&home.run(&RUN));
    refused(said, 8, "is not the one that this home had", "database-id");
    // a person's word
    fs::remove_file(home.path().join("database-id")).unwrap();
    let mut daemon = home.start(&[]);
    daemon.until("listening");
}

#[test]
fn a_database_that_has_forgotten_numbers_is_refused() {
    let home = used();
    let highest = home.path().join("highest-numbers.json");
    fs::write(&highest, r#"{"t01000":7}"#).unwrap();
    let said = verdict(&home.run(&RUN));
    refused(said, 8, "number 7 of t01000", "accept-older-database");
    let accept = home.path().join("accept-older-database");
    fs::write(&accept, "").unwrap();
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    drop(daemon);
    assert!(!accept.exists());
    let mut again = home.start(&[]);
    again.until("listening");
}

#[test]
fn a_signal_to_reload_is_answered_and_one_to_quit_obeyed() {
    let home = Home::good(NOWHERE, 1000);
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1")] {
        daemon.signal(signal);
        daemon.until(name);
    }
    daemon.signal(Signal::QUIT);
    let (status, log): (ExitStatus, String) = daemon.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("SIGQUIT"), "{log}");
}

#[test]
fn a_command_whose_reader_has_left_ends_quietly() {
    let home = Home::good(NOWHERE, 1000);
    for args in [&["version"][..], &["daemon", "run", "--config-check"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = manager()
            .arg("--home")
            .arg(home.path())
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        let (code, text) = verdict(&output);
        assert_eq!(code, 141, "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn the_first_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let made = manager()
        .arg("--home")
        .arg(dir.path())
        .args(["daemon", "init"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let meta = fs::metadata(dir.path().join("sector-manager.cfg")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
}
