//! What an operator can get wrong: each ends in one sentence, a hint and an exit code, and
//! nothing is lost.

mod house;

use damocles_kv::{Migration, Schema, Store, Work};
use house::{Home, manager, refused, verdict};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

const NOWHERE: &str = "http://127.0.0.1:9";

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_known_key() {
    let home = Home::good(NOWHERE, 1000);
    let file = home.path().join("sector-manager.cfg");
    let text = fs::read_to_string(&file).unwrap() + "[Miners.Sector]\nMaxNumbr = 5\n";
    fs::write(&file, text).unwrap();
    let said = verdict(&home.run(&["daemon", "run"]));
    refused(
        said,
        3,
        "sector-manager.cfg:9: Miners[0].Sector.MaxNumbr: unknown key; did you mean \"MaxNumber\"?",
        "--config-check",
    );
    assert!(!home.path().join("state").exists(), "nothing was touched");
}

#[test]
fn a_wrong_type_names_its_line() {
    let home = Home::good(NOWHERE, 1000);
    let file = home.path().join("sector-manager.cfg");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("Actor = 1000", "Actor = \"t01000\"");
    fs::write(&file, text).unwrap();
    let said = verdict(&home.run(&["daemon", "run", "--config-check"]));
    refused(
        said,
        3,
        ":7: Miners[0].Actor: must be a whole number, 0 or more, but is the text \"t01000\"",
        "--config-check",
    );
}

#[test]
fn a_missing_file_points_to_init_which_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("new");
    let run = |args: &[&str]| {
        verdict(
            &manager()
                .arg("--home")
                .arg(&home)
                .args(args)
                .output()
                .unwrap(),
        )
    };
    refused(run(&["daemon", "run"]), 3, "cannot be read", "daemon init");
    assert_eq!(run(&["daemon", "init"]).0, 0);
    let file = home.join("sector-manager.cfg");
    fs::write(&file, "# mine\n").unwrap();
    refused(
        run(&["daemon", "init"]),
        5,
        "exists already",
        "move it away",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
}

#[test]
fn programs_that_prove_are_checked_before_anything_is_started() {
    let home = Home::good(NOWHERE, 1000);
    let run = || {
        home.run(&[
            "daemon",
            "run",
            "--poster",
            "--ext-prover",
            "--config-check",
        ])
    };
    refused(verdict(&run()), 3, "there is no", "[[WdPost]]");
    let file = home.path().join("ext-prover.cfg");
    fs::write(&file, "[[WdPost]]\nConcurent = 2\n").unwrap();
    let said = verdict(&run());
    refused(said, 3, "did you mean \"Concurrent\"?", "");
    fs::write(&file, "[[WdPost]]\n").unwrap();
    assert!(run().status.success());
}

#[test]
fn a_good_file_is_shown_and_nothing_is_started() {
    let home = Home::good("aaa.bbb.ccc:/ip4/127.0.0.1/tcp/9/http", 1000);
    let output = home.run(&["daemon", "run", "--config-check"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(
        shown.contains("***:/ip4/127.0.0.1/tcp/9/http") && !shown.contains("aaa.bbb"),
        "{shown}"
    );
    assert!(!home.path().join("state").exists());
    assert!(!home.path().join("daemon.lock").exists());

    let home = Home::good(
        "aaa.bbb.ccc:http://me:sesame@127.0.0.1:9/x?key=sesame",
        1000,
    );
    let output = home.run(&["daemon", "run", "--config-check"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("***:http://***@127.0.0.1:9/x?***") && !shown.contains("sesame"),
        "{shown}"
    );
}

/// Whether messages go to a messager or not is said, and its absence is waited for.
#[test]
fn a_messager_that_is_away_is_waited_for() {
    let home = Home::good(NOWHERE, 1000);
    let file = home.path().join("sector-manager.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    let api = "[Common.API]\nMessager = \"http://127.0.0.1:9\"\n";
    std::fs::write(&file, text.replace("[Common.API]\n", api)).unwrap();
    let mut daemon = home.start(&[]);
    daemon.until("venus-messager does not answer Message.Version");
}

#[test]
fn an_occupied_port() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let home = Home::good(NOWHERE, 1000);
    let said = verdict(&home.run(&["daemon", "run", "--listen", &address]));
    refused(said, 6, &format!("cannot listen on {address}"), "--listen");
}

#[test]
fn a_home_in_use_and_a_token_of_somebody_else() {
    let home = Home::good(NOWHERE, 1000);
    let mut first = home.start(&[]);
    first.until("listening");
    let said = verdict(&home.run(&["daemon", "run", "--listen", "127.0.0.1:0"]));
    refused(said, 6, "is in use by process", "--home");
    // a token of another manager is not good here, not even on the same host
    let foreign = ["util", "--token", "a.b.c", "storage", "list"];
    refused(
        verdict(&home.run(&foreign)),
        5,
        "turned this caller away",
        "create-token",
    );
    let (status, log) = first.terminate();
    assert!(status.success(), "{log}");
    assert!(
        !home.path().join("api").exists(),
        "no stale address stays behind"
    );
}

#[test]
fn an_unwritable_home() {
    let conf = Home::good(NOWHERE, 1000);
    // a directory below a file: nobody can make that, not even root
    let home = conf.path().join("sector-manager.cfg").join("home");
    let said = manager()
        .arg("--home")
        .arg(&home)
        .args(["daemon", "run", "--conf-dir"])
        .arg(conf.path())
        .output()
        .unwrap();
    refused(verdict(&said), 5, "cannot be used", "--home");
}

#[test]
fn a_home_of_somebody_else() {
    let home = Home::good(NOWHERE, 1000);
    fs::write(home.path().join("damocles-home"), "damocles-worker\n").unwrap();
    refused(
        verdict(&home.run(&["daemon", "run"])),
        8,
        "is the home of damocles-worker",
        "--home",
    );

    let lotus = Home::good(NOWHERE, 1000);
    fs::create_dir(lotus.path().join("keystore")).unwrap();
    refused(
        verdict(&lotus.run(&["daemon", "run"])),
        8,
        "as a Filecoin node's repository does",
        "--home",
    );

    let upstream = Home::good(NOWHERE, 1000);
    fs::create_dir(upstream.path().join("meta")).unwrap();
    fs::write(upstream.path().join("meta/MANIFEST"), "").unwrap();
    refused(
        verdict(&upstream.run(&["daemon", "run"])),
        8,
        "the state of an upstream manager",
        "--home",
    );
    assert!(!upstream.path().join("state").exists());

    // the same, elsewhere
    let elsewhere = Home::good(NOWHERE, 1000);
    let config = elsewhere.path().join("sector-manager.cfg");
    let text = fs::read_to_string(&config).unwrap();
    let base = upstream.path();
    let base = base.display();
    fs::write(
        &config,
        format!("{text}\n[Common.DB.Badger]\nBaseDir = \"{base}\"\n"),
    )
    .unwrap();
    refused(
        verdict(&elsewhere.run(&["daemon", "run"])),
        8,
        "the state of an upstream manager",
        "Common.DB.Badger.BaseDir",
    );
    assert!(!elsewhere.path().join("state").exists());
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    const STEP: Migration = Migration {
        what: "a step of the future",
        work: Work::Nothing,
    };
    const FUTURE: Schema = Schema {
        owner: "damocles-manager",
        tables: &[],
        migrations: &[STEP; 40],
    };
    let home = Home::good(NOWHERE, 1000);
    drop(Store::open(&home.path().join("state"), &FUTURE).unwrap());
    for _ in 0..2 {
        let said = verdict(&home.run(&["daemon", "run", "--listen", "127.0.0.1:0"]));
        refused(said, 8, "has version 41", "newer program");
    }
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let home = Home::good(NOWHERE, 1000);
    assert_eq!(verdict(&home.run(&["daemon", "dance"])).0, 2);
    refused(
        verdict(&home.run(&["util", "sealer", "sectors", "state", "x", "1"])),
        2,
        "not a miner",
        "(1000 7)",
    );
    refused(
        verdict(&home.run(&["util", "--api", "nonsense", "storage", "list"])),
        2,
        "not an address",
        "--api",
    );
    assert_eq!(verdict(&home.run(&["processor", "dance"])).0, 2);
}

#[test]
fn a_manager_that_does_not_run() {
    let home = Home::good(NOWHERE, 1000);
    let said = verdict(&home.run(&["util", "--api", "127.0.0.1:9", "storage", "list"]));
    refused(
        said,
        4,
        "the manager at http://127.0.0.1:9/rpc/v0 cannot be reached",
        "--api",
    );
    refused(
        verdict(&home.run(&["util", "auth", "create-token", "--perm", "write"])),
        7,
        "token secret",
        "run it once",
    );
}

#[test]
fn a_manager_that_does_not_answer_is_named_while_it_is_waited_for() {
    let home = Home::good(NOWHERE, 1000);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap();
    let mut asking = manager()
        .arg("--home")
        .arg(home.path())
        .args(["util", "--api", &address.to_string(), "worker", "list"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(asking.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    asking.kill().unwrap();
    asking.wait().unwrap();
    assert_eq!(
        said,
        format!("waiting for the manager at http://{address}/rpc/v0 (Ctrl-C gives up)\n")
    );
}
