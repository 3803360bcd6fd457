//! The configuration of a running daemon: looked at, compared, and read again.

mod house;

use damocles_kv::Durability;
use damocles_manager::db::{
    Db, DbError,
    stores::{Location, Replica},
};
use damocles_types::{SealProof, SectorId, SectorSize};
use house::{Daemon, Home, refused, verdict};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

const NOWHERE: &str = "http://127.0.0.1:9";
const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

fn file(home: &Home) -> String {
    fs::read_to_string(home.path().join("sector-manager.cfg")).unwrap()
}

fn write(home: &Home, text: &str) {
    fs::write(home.path().join("sector-manager.cfg"), text).unwrap();
}

fn told(home: &Home, args: &[&str]) -> Value {
    let output = home.run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The keys in which the file differs from what the daemon goes by, and when they count.
fn differing(home: &Home) -> Vec<(String, String)> {
    let all = told(home, &["config", "diff", "--json"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = all.as_array().unwrap().iter();
    all.map(|d| (text(&d["Key"]), text(&d["Counts"]))).collect()
}

fn reload(daemon: &mut Daemon, says: &str) {
    daemon.signal(Signal::HUP);
    daemon.until(says);
}

#[test]
fn a_file_that_is_read_again_counts_where_it_can_and_says_what_waits() {
    let home = Home::good(NOWHERE, 1000);
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    assert_eq!(differing(&home), []);
    reload(&mut daemon, "nothing has changed");

    let first = file(&home);
    let ssd = home.path().join("ssd");
    fs::create_dir(&ssd).unwrap();
    write(
        &home,
        &format!(
            "{first}[Miners.Sector]\nEnabled = false\n[[Miners]]\nActor = 1001\n[[Common.PersistStores]]\nName = \"ssd\"\nPath = {ssd:?}\n[Common.Proving]\nKernel = \"filecoin-proofs\"\n"
        ),
    );
    let key = |key: &str, counts: &str| (key.to_owned(), counts.to_owned());
    let waiting = differing(&home);
    assert!(
        waiting.contains(&key("Miners[1000].Sector.Enabled", "Now")),
        "{waiting:?}"
    );
    assert!(waiting.contains(&key("Miners[1001].Actor", "Now")));
    assert!(waiting.contains(&key("Common.PersistStores[ssd].Name", "Now")));
    assert!(waiting.contains(&key("Common.Proving.Kernel", "AtStart")));

    reload(&mut daemon, "counts when this daemon is started anew");
    assert_eq!(differing(&home), []);
    let said = String::from_utf8(home.run(&["config", "diff"]).stdout).unwrap();
    assert!(
        said.contains("Common.Proving.Kernel") && said.contains("counts with a restart"),
        "{said}"
    );
    let stores = told(&home, &["util", "storage", "list", "--json"]);
    let names: Vec<_> = stores
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["Name"])
        .collect();
    assert_eq!(names, ["persist", "ssd"]);

    // of a secret one hears that it is another one
    let with_token = format!(
        "[Common.API]\nToken = \"a.b.c\"\n{}",
        file(&home).replace("[Common.API]\n", "")
    );
    write(&home, &with_token);
    assert_eq!(differing(&home), [key("Common.API.Token", "AtStart")]);
    reload(&mut daemon, "Common.API.Token");
    write(&home, &with_token.replace("a.b.c", "a.b.d"));
    assert_eq!(
        differing(&home),
        [key("a token or password in Common", "AtStart")]
    );
    reload(
        &mut daemon,
        "a token or password in Common: *** -> another one",
    );
    assert_eq!(differing(&home), []);

    // a broken file changes nothing, and is told whole
    write(&home, "[Common.API]\nChain = 7\n[[Miners]]\nActr = 1\n");
    daemon.signal(Signal::USR1);
    daemon.until("everything goes on as before");
    daemon.until("did you mean \"Actor\"");
    let checked = home.run(&["config", "check", "--json"]);
    assert_eq!(checked.status.code(), Some(3));
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(
        checked["Faults"].as_array().unwrap().len() >= 2,
        "{checked}"
    );
    let stores = told(&home, &["util", "storage", "list", "--json"]);
    assert_eq!(stores.as_array().unwrap().len(), 2);

    // back to the first one, nothing stands in the way
    write(&home, &first);
    reload(
        &mut daemon,
        "Miners[1001].Actor: 1001 -> nothing; counts from now on",
    );
    let shown = told(&home, &["config", "show", "--json"]);
    assert_eq!(shown["Miners"][0]["Actor"], 1000);
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn a_miner_with_work_and_a_store_with_sectors_are_not_left_alone() {
    let home = Home::good(NOWHERE, 1000);
    let first = file(&home);
    let both = format!("{first}[[Miners]]\nActor = 1001\n");
    write(&home, &both);
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
    let db = Db::open_existing(&home.path().join("state")).unwrap();
    let working = db.allocate(1001, KIND, 0, 99, Some).unwrap().unwrap().id;
    let done = db.allocate(1000, KIND, 0, 99, Some).unwrap().unwrap().id;
    let lies = |sector: SectorId| Location {
        sector,
        replica: Replica::Normal,
        sealed: "persist".into(),
        cache: "persist".into(),
    };
    db.put_locations(&[lies(done)]).unwrap();
    let finished = db.change(done, Durability::Synced, |record| {
        (record.online, record.finalized) = (false, true);
        Ok::<_, DbError>(())
    });
    finished.unwrap();
    drop(db);

    let mut daemon = home.start(&[]);
    daemon.until("listening");
    write(&home, &first);
    reload(&mut daemon, &format!("sectors in work: {working}"));
    assert!(!differing(&home).is_empty(), "it goes on as before");
    // of the other one a sector is proven here
    let other_alone = both.replace("Actor = 1000\n", "Actor = 1002\n");
    write(&home, &other_alone);
    reload(
        &mut daemon,
        &format!("sectors that this manager proves, such as {done}"),
    );
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let moved = both
        .replace("Name = \"persist\"", "Name = \"other\"")
        .replace("/persist\"", "/elsewhere\"");
    write(&home, &moved);
    reload(&mut daemon, &format!("on their way there, such as {done}"));
    write(&home, &both);
    reload(&mut daemon, "nothing has changed");
    let (status, log) = daemon.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn a_manager_that_does_not_run_cannot_be_compared() {
    let home = Home::good(NOWHERE, 1000);
    let said = verdict(&home.run(&["config", "diff", "--api", "127.0.0.1:9"]));
    refused(said, 4, "cannot be reached", "is it running?");
    let good = home.run(&["config", "check"]);
    assert!(good.status.success());
    assert!(String::from_utf8_lossy(&good.stdout).contains("is good; miners: 1"));
}
