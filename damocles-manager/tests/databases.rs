//! The commands on the database as a whole: written into a file and read from one, backed up while
//! the daemon runs, restored, looked through.

mod house;

use damocles_kv::{Durability, Migration, Schema, Store, StoreError, Table, Work};
use damocles_manager::db::{
    Db,
    import::ImportFile,
    stores::{Location, Replica},
};
use damocles_types::{SealProof, SectorId, SectorSize};
use house::{Home, refused, verdict};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

const NOWHERE: &str = "http://127.0.0.1:9";
const RUN: [&str; 4] = ["daemon", "run", "--listen", "127.0.0.1:0"];

fn new() -> Home {
    Home::good(NOWHERE, 1000)
}

fn state(home: &Home) -> PathBuf {
    home.path().join("state")
}

/// A home with a database in which some numbers were handed out.
fn used(numbers: u64) -> Home {
    let home = new();
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
    hand_out(&home, numbers);
    home
}

fn hand_out(home: &Home, numbers: u64) {
    let db = Db::open_existing(&state(home)).unwrap();
    for _ in 0..numbers {
        let kind = SealProof::interactive(SectorSize::KiB2);
        db.allocate(1000, kind, 0, 999, Some).unwrap().unwrap();
    }
}

fn run(home: &Home, args: &[&str]) -> Output {
    let output = home.run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn starts(home: &Home) {
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn a_database_goes_into_a_file_and_into_another_home() {
    let home = used(3);
    let file = home.path().join("out.jsonl");
    let done = told(&run(
        &home,
        &["db", "export", "--out", text(&file), "--json"],
    ));
    let piped = run(&home, &["db", "export"]).stdout;
    let (whole, piped) = (
        fs::read_to_string(&file).unwrap(),
        String::from_utf8(piped).unwrap(),
    );
    let records = |text: &str| {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..lines.len() - 1].to_vec()
    };
    assert_eq!(records(&whole), records(&piped));
    assert_eq!(done["Records"], records(&whole).len());
    assert!(!whole.contains("\"leases\""), "roles are of processes");
    let left = fs::read_dir(home.path()).unwrap();
    let left = left.filter(|f| text(&f.as_ref().unwrap().path()).ends_with(".tmp"));
    assert_eq!(left.count(), 0);

    let other = new();
    let cut = other.path().join("cut");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let said = verdict(&other.run(&["db", "import", text(&cut)]));
    refused(said, 8, "", "copy the file again");
    let said = verdict(&other.run(&["db", "import", "no-such-file"]));
    refused(said, 7, "cannot be read", "db export");
    assert!(!state(&other).exists(), "nothing was begun");

    let imported = run(&other, &["db", "import", text(&file), "--json"]);
    assert_eq!(told(&imported)["Database"], done["Database"]);
    let id = fs::read_to_string(other.path().join("database-id")).unwrap();
    assert_eq!(done["Database"], id.trim());
    let checked = told(&run(&other, &["db", "check", "--json"]));
    assert_eq!(
        (&checked["Sound"], &checked["FaultCount"]),
        (&true.into(), &0.into())
    );
    starts(&other);
    let said = verdict(&other.run(&["db", "import", text(&file)]));
    refused(said, 8, "is not empty", "where there is none yet");

    let strange = used(0);
    let said = verdict(&strange.run(&["db", "import", text(&file)]));
    refused(said, 8, "belongs to the database", "daemon init");
}

/// As a kill in the middle leaves it.
#[test]
fn a_half_imported_database_is_refused_until_it_is_imported_again() {
    let home = used(2);
    let file = home.path().join("out.jsonl");
    run(&home, &["db", "export", "--out", text(&file)]);
    let other = new();
    let begun = ImportFile::checked(&file, |_| {}).unwrap();
    drop(begun.into_directory(&state(&other)).unwrap());
    for args in [&RUN[..], &["db", "export"], &["db", "check"]] {
        let said = verdict(&other.run(args));
        refused(said, 8, "is half imported", "db import");
    }
    run(&other, &["db", "import", text(&file)]);
    starts(&other);
}

#[test]
fn a_running_daemon_is_backed_up_and_a_stopped_one_restored() {
    let home = used(2);
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    let made = told(&run(&home, &["db", "backup", text(&first), "--json"]));
    assert_eq!(made["Directory"], text(&first));
    let (code, said) = verdict(&home.run(&["db", "backup", text(&first)]));
    assert!(code == 5 && said.contains("exists already"), "{said}");
    for args in [
        &["db", "restore", text(&first)][..],
        &["db", "check"],
        &["db", "export"],
    ] {
        let said = verdict(&home.run(args));
        refused(said, 6, "is in use", "stop");
    }
    drop(daemon);
    assert!(first.join("backup.json").is_file() && !first.join("jwt-secret").exists());

    hand_out(&home, 3);
    starts(&home);
    let said = run(&home, &["db", "backup", text(&second)]).stdout;
    assert!(String::from_utf8(said).unwrap().contains("jwt-secret"));
    let said = verdict(&home.run(&["db", "backup", text(&second)]));
    refused(said, 5, "exists already", "name a new one");
    let said = verdict(&home.run(&["db", "restore", text(&home.path().join("no"))]));
    refused(said, 7, "is no backup", "db backup");

    let restored = told(&run(&home, &["db", "restore", text(&first), "--json"]));
    assert_eq!(restored["ForgottenNumbers"]["t01000"], 5);
    assert_eq!(restored["Database"], made["Database"]);
    let aside = PathBuf::from(restored["Aside"].as_str().unwrap());
    let before = Db::open_existing(&aside).unwrap();
    assert_eq!(
        before.highest_numbers().unwrap()[&1000],
        5,
        "it is not lost"
    );
    drop(before);
    let said = verdict(&home.run(&RUN));
    refused(said, 8, "number 5 of t01000", "accept-older-database");
    fs::write(home.path().join("accept-older-database"), "").unwrap();
    starts(&home);
    hand_out(&home, 1);
    let db = Db::open_existing(&state(&home)).unwrap();
    assert_eq!(
        db.highest_numbers().unwrap()[&1000],
        6,
        "none is given out twice"
    );
    drop(db);

    // a home that has lost everything but its configuration
    let empty = new();
    fs::remove_file(empty.path().join("database-id")).unwrap();
    run(&empty, &["db", "restore", text(&second)]);
    starts(&empty);
    let strange = used(0);
    let said = verdict(&strange.run(&["db", "restore", text(&second)]));
    refused(said, 8, "is not the one that this home had", "database-id");
}

#[test]
fn what_is_broken_is_told_with_the_exit_code_and_mended() {
    const NOTHING: Migration = Migration {
        what: "nothing",
        work: Work::Nothing,
    };
    const IN_WORK: Table = Table("sectors-in-work");
    // of a version beyond all others, which is not asked for
    const SCHEMA: Schema = Schema {
        owner: "damocles-manager",
        tables: &[IN_WORK],
        migrations: &[NOTHING; 200],
    };
    let home = used(1);
    let store = Store::open_as_it_is(&state(&home), &SCHEMA).unwrap();
    let erased: Result<(), StoreError> = store.transact(Durability::Synced, |t| {
        let [listed] = &t.scan(IN_WORK, &damocles_kv::Span::all(), 2)?[..] else {
            panic!("one is in work")
        };
        t.delete(listed)
    });
    erased.unwrap();
    drop(store);
    let checked = home.run(&["db", "check", "--json"]);
    refused(verdict(&checked), 8, "1 faults", "backup");
    let told_json = told(&checked);
    assert_eq!(told_json["Faults"][0]["Table"], "sectors-in-work");
    let shown = home.run(&["db", "check"]);
    assert_eq!(shown.status.code(), Some(8));
    let table = String::from_utf8(shown.stdout).unwrap();
    assert!(table.contains("s-t01000-1"), "{table}");
    let mended = told(&run(&home, &["db", "check", "--mend", "--json"]));
    assert_eq!(
        (&mended["Sound"], &mended["Mended"]),
        (&true.into(), &1.into())
    );
    run(&home, &["db", "check"]);
}

#[test]
fn a_replica_that_is_gone_is_a_fault_and_a_store_that_is_away_is_none() {
    let home = used(1);
    let db = Db::open_existing(&state(&home)).unwrap();
    db.put_locations(&[Location {
        sector: SectorId::new(1000, 1),
        replica: Replica::Normal,
        sealed: "persist".into(),
        cache: "persist".into(),
    }])
    .unwrap();
    drop(db);
    let persist = home.path().join("persist");
    fs::create_dir(persist.join("sealed")).unwrap();
    let checked = home.run(&["db", "check", "--json"]);
    refused(verdict(&checked), 8, "1 faults", "backup");
    let fault = &told(&checked)["Faults"][0];
    assert_eq!(fault["Table"], "replicas");
    run(&home, &["db", "check", "--no-stores"]);
    fs::remove_dir_all(&persist).unwrap();
    let away = told(&run(&home, &["db", "check", "--json"]));
    assert_eq!(
        (&away["ReplicasAway"], &away["Sound"]),
        (&1.into(), &true.into())
    );
}
