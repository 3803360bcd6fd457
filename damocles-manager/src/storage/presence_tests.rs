//! Stores that are not what they should be: not mounted, mounted wrongly, hung, garbled, named
//! twice. Each costs itself and says so; nothing in it counts as lost.

use super::{
    tests::{House, SIZE, place, sector},
    *,
};
use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

const LONG: Duration = Duration::from_secs(60);

fn mark(dir: &Path, id: &str) {
    let text = format!(r#"{{"id":"{id}","name":"disk {id}"}}"#);
    fs::write(dir.join(STORE_MARK), text).unwrap();
}

async fn note(stores: &Stores, name: &str) -> String {
    let all = stores.list().await.unwrap();
    let store = all.into_iter().find(|s| s.name == name).unwrap();
    store.note.unwrap_or_default()
}

async fn look(stores: &Stores, number: u64) -> Result<Located, NotUsable> {
    let look = stores.provable(sector(number), SIZE, Replica::Normal, LONG);
    look.await.unwrap()
}

#[tokio::test]
async fn an_empty_mount_point_is_not_taken_for_the_store() {
    let house = House::new(&["a"]);
    house.put("a", 1);
    mark(&house.path("a"), "1");
    let policies = || vec![house.policy("a")];
    let stores = house.start(policies());
    stores.survey().await;
    stores.attach("a", Replica::Normal).await.unwrap();
    let reserve = async |stores: &Stores, number| {
        let answer = stores.reserve(sector(number), 2048, &[]).await.unwrap();
        place(answer)
    };
    assert_eq!(reserve(&stores, 2).await, "a");
    assert_eq!(note(&stores, "a").await, "");

    // the disk is not mounted, and the daemon starts again
    fs::rename(house.path("a"), house.path("disk")).unwrap();
    fs::create_dir(house.path("a")).unwrap();
    fs::create_dir(house.path("a").join("sealed")).unwrap();
    let stores = house.start(policies());
    assert!(note(&stores, "a").await.contains("not mounted?"));
    assert!(reserve(&stores, 3).await.contains("not mounted?"));
    let submit = stores.submit_persisted(sector(1), SIZE, "a", Replica::Normal);
    let away = submit.await.unwrap_err();
    assert!(matches!(away, StorageError::Unreachable(_)), "{away}");
    let away = look(&stores, 1).await.unwrap_err();
    assert!(away.is_away(), "{away}");

    // another disk in its place
    mark(&house.path("a"), "2");
    assert!(note(&stores, "a").await.contains("another store (disk 2)"));
    // it is back
    fs::remove_dir_all(house.path("a")).unwrap();
    fs::rename(house.path("disk"), house.path("a")).unwrap();
    assert_eq!(note(&stores, "a").await, "");
    assert!(look(&stores, 1).await.is_ok());

    // a person makes it anew
    fs::remove_file(house.path("a").join(STORE_MARK)).unwrap();
    assert!(note(&stores, "a").await.contains("storage accept a"));
    assert_eq!(stores.accept("a").await.unwrap(), None);
    assert_eq!(note(&stores, "a").await, "");
    assert!(stores.accept("nobody").await.is_err());
}

#[tokio::test]
async fn one_directory_under_two_names_is_used_under_the_first_only() {
    let house = House::new(&["a"]);
    symlink(house.path("a"), house.path("b")).unwrap();
    let stores = house.start(vec![house.policy("a"), house.policy("b")]);
    stores.survey().await;
    assert!(
        note(&stores, "b")
            .await
            .contains("same directory as the store \"a\"")
    );
    for number in 0..8 {
        let answer = stores.reserve(sector(number), 2048, &[]).await.unwrap();
        assert_eq!(place(answer), "a");
    }
}

#[tokio::test]
async fn a_store_inside_a_sealing_store_is_not_used() {
    let house = House::new(&["s1"]);
    let inside = house.path("s1").join("data/hdd");
    fs::create_dir_all(&inside).unwrap();
    fs::write(house.path("s1").join(".holder"), "").unwrap();
    symlink(&inside, house.path("link")).unwrap();
    let stores = house.start(vec![house.policy("link")]);
    assert!(
        note(&stores, "link")
            .await
            .contains("lies in the sealing store")
    );
    let answer = stores.reserve(sector(1), 2048, &[]).await.unwrap();
    assert!(matches!(answer, Reserve::Nowhere(_)), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_read_is_away_and_not_lost() {
    let house = House::new(&["a"]);
    house.put("a", 1);
    let stores = house.start(vec![house.policy("a")]);
    stores.attach("a", Replica::Normal).await.unwrap();
    // an answer of the file system that says nothing about the file
    let sealed = house.path("a").join("sealed/s-t01000-1");
    fs::remove_file(&sealed).unwrap();
    symlink(&sealed, &sealed).unwrap();
    let away = look(&stores, 1).await.unwrap_err();
    assert!(matches!(away, NotUsable::Unreachable(_)), "{away}");
    let submit = stores.submit_persisted(sector(1), SIZE, "a", Replica::Normal);
    let away = submit.await;
    assert!(away.is_err(), "the worker must not move it again: {away:?}");
    assert!(NotUsable::NoStore("x".into()).is_away());
    assert!(!NotUsable::Unknown.is_away() && !NotUsable::Flawed("x".into()).is_away());
}

#[tokio::test]
async fn a_hung_or_garbled_scanned_store_costs_only_itself() {
    let house = House::new(&["x1", "x2", "x3", "x4"]);
    fs::write(house.path("x1/sectorstore.json"), r#"{"ID":"good"}"#).unwrap();
    fs::write(house.path("x2/sectorstore.json"), "nonsense").unwrap();
    let hung = house.path("x3/sectorstore.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &hung, rustix::fs::Mode::RWXU).unwrap();
    let configured = vec![house.policy("missing")];
    let stores = house.start_scanning(configured, &["x*"]);
    assert_eq!(stores.names(), ["missing"], "nothing was looked at yet");
    stores.survey().await;
    assert_eq!(stores.names(), ["missing", "good"]);
    let answer = stores.reserve(sector(1), 2048, &[]).await.unwrap();
    assert_eq!(place(answer), "good");
    let faults = stores.scan_faults();
    let said: Vec<&str> = faults.values().map(String::as_str).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        said.iter().any(|s| s.contains("not a JSON object")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|s| s.contains("no answer within")),
        "{said:?}"
    );
    // it is not asked again while it hangs; then it is
    stores.scan().await;
    let again = stores.scan_faults();
    assert!(
        again.values().any(|s| s.contains("earlier call")),
        "{again:?}"
    );
    let writer = fs::OpenOptions::new().write(true).open(&hung).unwrap();
    fs::remove_file(&hung).unwrap();
    fs::write(&hung, r#"{"ID":"late"}"#).unwrap();
    drop(writer);
    let disk = stores.0.looked.lock()[&house.path("x3")].clone();
    disk.all_back().await;
    stores.scan().await;
    assert_eq!(stores.names(), ["missing", "good", "late"]);
}

#[tokio::test]
async fn a_scanned_store_that_is_not_mounted_is_remembered_over_a_restart() {
    let house = House::new(&["x1"]);
    house.put("x1", 1);
    let json = |weight| format!(r#"{{"Name":"st","Weight":{weight}}}"#);
    fs::write(house.path("x1/sectorstore.json"), json(1)).unwrap();
    let stores = house.start_scanning(vec![], &["x*"]);
    stores.survey().await;
    stores.attach("st", Replica::Normal).await.unwrap();
    fs::write(house.path("x1/sectorstore.json"), json(7)).unwrap();
    stores.survey().await;
    assert_eq!(stores.basic_info("st").unwrap().weight, 7, "it changed");

    fs::rename(house.path("x1"), house.path("disk")).unwrap();
    fs::create_dir(house.path("x1")).unwrap();
    let stores = house.start_scanning(vec![], &["x*"]);
    stores.survey().await;
    assert!(note(&stores, "st").await.contains("not mounted?"));
    let away = look(&stores, 1).await.unwrap_err();
    assert!(matches!(away, NotUsable::Unreachable(_)), "{away}");
    let other = house.start_scanning(vec![], &["y*"]);
    assert!(other.names().is_empty(), "its pattern was taken out");
    fs::remove_dir(house.path("x1")).unwrap();
    fs::rename(house.path("disk"), house.path("x1")).unwrap();
    stores.survey().await;
    assert!(look(&stores, 1).await.is_ok());

    // a person says that it is gone for good
    fs::remove_file(house.path("x1/sectorstore.json")).unwrap();
    let said = stores.accept("st").await.unwrap();
    assert!(said.unwrap().contains("no persist store any more"));
    assert!(house.start_scanning(vec![], &["x*"]).names().is_empty());
}

#[tokio::test]
async fn a_sector_that_the_index_does_not_know_is_found_or_waited_for_but_not_given_up() {
    let house = House::new(&["a", "b"]);
    mark(&house.path("a"), "1");
    mark(&house.path("b"), "2");
    house.put("b", 7);
    let stores = house.start(vec![house.policy("a"), house.policy("b")]);
    stores.survey().await;
    // a new database has never seen the store that holds it, and it is not mounted
    fs::rename(house.path("b"), house.path("disk")).unwrap();
    fs::create_dir(house.path("b")).unwrap();
    stores.survey().await;
    let away = look(&stores, 7).await.unwrap_err();
    assert!(
        away.is_away() && away.to_string().contains("store b"),
        "{away}"
    );
    fs::remove_dir(house.path("b")).unwrap();
    fs::rename(house.path("disk"), house.path("b")).unwrap();
    stores.survey().await;
    assert_eq!(look(&stores, 7).await.unwrap().store, "b");
    let known = stores.location(sector(7), Replica::Normal).await.unwrap();
    assert_eq!(known.unwrap().sealed, "b");
    // all stores answer, and none has it
    let unknown = look(&stores, 8).await.unwrap_err();
    assert!(matches!(unknown, NotUsable::Unknown), "{unknown}");
}
