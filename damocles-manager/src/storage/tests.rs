//! Stores on temporary directories and a database in memory or on disk.

use super::*;
use crate::policy;
use damocles_api::store::StoreDetailedInfo;
use damocles_types::SectorSize;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

pub(super) const SIZE: SectorSize = SectorSize::KiB2;

pub(super) fn sector(number: u64) -> SectorId {
    SectorId::new(1000, number)
}

/// As while a record is written that names a store.
pub(crate) async fn in_use(stores: &Stores) -> tokio::sync::OwnedRwLockReadGuard<()> {
    stores.0.named.clone().read_owned().await
}

/// A home with a directory per store.
pub(super) struct House {
    pub(super) dir: TempDir,
    pub(super) db: Db,
}

impl House {
    pub(super) fn new(stores: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for store in stores {
            fs::create_dir(dir.path().join(store)).unwrap();
        }
        Self {
            dir,
            db: Db::in_memory(),
        }
    }

    pub(super) fn path(&self, store: &str) -> PathBuf {
        self.dir.path().join(store)
    }

    pub(super) fn policy(&self, store: &str) -> StorePolicy {
        policy::tests::store(store, self.path(store))
    }

    /// The stores after a start of the manager, with a seeded chance.
    pub(super) fn start(&self, policies: Vec<StorePolicy>) -> Stores {
        self.start_scanning(policies, &[])
    }

    pub(super) fn start_scanning(&self, policies: Vec<StorePolicy>, patterns: &[&str]) -> Stores {
        let patterns = patterns.iter().map(|p| self.path(p).display().to_string());
        let chance = StdRng::seed_from_u64(1);
        Stores::with_chance(self.db.clone(), policies, patterns.collect(), chance).unwrap()
    }

    /// Puts a whole sector into a store.
    pub(super) fn put(&self, store: &str, number: u64) {
        put_sector(&self.path(store), sector(number));
    }
}

pub(crate) fn put_sector(root: &Path, sector: SectorId) {
    let cache = root.join("cache").join(sector.to_string());
    fs::create_dir_all(&cache).unwrap();
    fs::create_dir_all(root.join("sealed")).unwrap();
    let sealed = root.join("sealed").join(sector.to_string());
    fs::write(sealed, vec![1; SIZE.bytes() as usize]).unwrap();
    for file in SIZE.proving_cache_files() {
        fs::write(cache.join(file), b"x").unwrap();
    }
}

pub(super) fn place(reserve: Reserve) -> String {
    match reserve {
        Reserve::In(info) => info.name,
        nowhere @ Reserve::Nowhere(_) => nowhere.to_string(),
    }
}

/// RPC handlers run on any thread.
#[test]
fn calls_may_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let house = House::new(&[]);
    let stores = house.start(vec![]);
    moves(stores.list());
    moves(stores.reserve(sector(1), 1, &[]));
    moves(stores.release(sector(1)));
    moves(stores.attach("a", Replica::Normal));
    moves(stores.submit_persisted(sector(1), SIZE, "a", Replica::Normal));
    moves(stores.locate(sector(1), Replica::Normal));
}

#[test]
fn names_are_unique() {
    let house = House::new(&["a"]);
    let twice = vec![house.policy("a"), house.policy("a")];
    let error = Stores::new(house.db.clone(), twice).unwrap_err();
    assert!(matches!(error, StorageError::NameTwice(name) if name == "a"));
}

#[tokio::test]
async fn a_reservation_is_kept_changed_and_given_back() {
    let house = House::new(&["a", "b"]);
    let policies = || vec![house.policy("a"), house.policy("b")];
    let stores = house.start(policies());
    let first = place(stores.reserve(sector(1), 4096, &[]).await.unwrap());
    for _ in 0..8 {
        let again = stores.reserve(sector(1), 4096, &[]).await.unwrap();
        assert_eq!(place(again), first, "the same answer");
    }
    let changed = stores.reserve(sector(1), 8192, &[]).await.unwrap();
    assert_eq!(place(changed), first);

    // a manager that starts again knows it
    let stores = house.start(policies());
    let reserved = |list: Vec<StoreDetailedInfo>| -> Vec<(String, u64, usize)> {
        let held = list.into_iter().filter(|s| s.reserved > 0);
        held.map(|s| (s.name, s.reserved, s.reserved_by.len()))
            .collect()
    };
    let list = stores.list().await.unwrap();
    assert!(list.iter().all(|s| s.total > 0 && !s.kind.is_empty()));
    assert_eq!(reserved(list), [(first.clone(), 8192, 1)]);
    let held = stores.reserve(sector(1), 8192, &[]).await.unwrap();
    assert_eq!(place(held), first);

    assert!(stores.release(sector(1)).await.unwrap());
    assert!(!stores.release(sector(1)).await.unwrap());
    assert_eq!(reserved(stores.list().await.unwrap()), []);
}

#[tokio::test]
async fn stores_that_do_not_take_the_sector_say_why() {
    let house = House::new(&["ro", "denied", "full", "elsewhere"]);
    let stores = house.start(vec![
        StorePolicy {
            read_only: true,
            ..house.policy("ro")
        },
        StorePolicy {
            deny_miners: vec![1000],
            ..house.policy("denied")
        },
        house.policy("full"),
        house.policy("missing"),
        house.policy("elsewhere"),
    ]);
    let candidates = ["ro", "denied", "full", "missing"].map(str::to_owned);
    let answer = stores
        .reserve(sector(1), u64::MAX, &candidates)
        .await
        .unwrap();
    let Reserve::Nowhere(refusals) = &answer else {
        panic!("{answer}");
    };
    let why = |name: &str| {
        let (_, refusal) = refusals.iter().find(|(n, _)| n == name).unwrap();
        refusal.clone()
    };
    assert_eq!(why("ro"), Refusal::ReadOnly);
    assert_eq!(why("denied"), Refusal::Denied);
    assert!(matches!(why("full"), Refusal::Full { .. }));
    assert!(matches!(why("missing"), Refusal::Unreachable(_)));
    assert_eq!(why("elsewhere"), Refusal::NotAttached);
    assert!(stores.reservations().await.unwrap().is_empty());
    // the one that fits is found among them
    let fits = stores.reserve(sector(1), 2048, &candidates).await.unwrap();
    assert_eq!(place(fits), "full");
}

#[tokio::test]
async fn room_promised_to_one_sector_is_not_given_to_another() {
    let house = House::new(&["a"]);
    let stores = house.start(vec![house.policy("a")]);
    let free = stores.list().await.unwrap()[0].free;
    // more than half each, so that only one fits however much others write meanwhile
    let size = free / 3 * 2;
    assert_eq!(
        place(stores.reserve(sector(1), size, &[]).await.unwrap()),
        "a"
    );
    let refused = stores.reserve(sector(2), size, &[]).await.unwrap();
    assert!(matches!(refused, Reserve::Nowhere(_)), "{refused}");
    // a smaller wish of the first makes room for the second
    stores.reserve(sector(1), 2048, &[]).await.unwrap();
    assert_eq!(
        place(stores.reserve(sector(2), size, &[]).await.unwrap()),
        "a"
    );
}

#[tokio::test]
async fn a_reservation_moves_when_its_store_no_longer_takes_the_sector() {
    let house = House::new(&["a", "b"]);
    let stores = house.start(vec![house.policy("a")]);
    assert_eq!(
        place(stores.reserve(sector(1), 2048, &[]).await.unwrap()),
        "a"
    );
    let read_only = StorePolicy {
        read_only: true,
        ..house.policy("a")
    };
    let stores = house.start(vec![read_only, house.policy("b")]);
    assert_eq!(
        place(stores.reserve(sector(1), 2048, &[]).await.unwrap()),
        "b"
    );
    let held = stores.reservations().await.unwrap();
    assert_eq!(held.len(), 1, "never two: {held:?}");
}

#[tokio::test]
async fn a_persisted_sector_is_known_only_when_it_is_all_there() {
    let house = House::new(&["a"]);
    let stores = house.start(vec![house.policy("a"), house.policy("gone")]);
    let submit = |number| stores.submit_persisted(sector(number), SIZE, "a", Replica::Normal);
    assert!(!submit(1).await.unwrap(), "nothing there: false, no error");
    house.put("a", 1);
    let sealed = house.path("a").join("sealed/s-t01000-1");
    let tree = house
        .path("a")
        .join("cache/s-t01000-1/sc-02-data-tree-r-last.dat");

    fs::write(&sealed, vec![1; 2047]).unwrap();
    assert!(!submit(1).await.unwrap(), "too short");
    fs::write(&sealed, vec![1; 2048]).unwrap();
    fs::write(&tree, []).unwrap();
    assert!(!submit(1).await.unwrap(), "an empty cache file");
    fs::remove_file(&tree).unwrap();
    assert!(!submit(1).await.unwrap(), "a missing cache file");
    let outside = house.dir.path().join("outside");
    fs::write(&outside, b"x").unwrap();
    symlink(&outside, &tree).unwrap();
    assert!(!submit(1).await.unwrap(), "a link that leads out");
    assert_eq!(
        stores.locate(sector(1), Replica::Normal).await.unwrap(),
        None
    );

    fs::remove_file(&tree).unwrap();
    fs::write(&tree, b"x").unwrap();
    assert!(submit(1).await.unwrap());
    assert!(submit(1).await.unwrap(), "twice is the same");
    let located = stores.locate(sector(1), Replica::Normal).await.unwrap();
    assert_eq!(located.unwrap().sealed_file, sealed);
    assert_eq!(
        stores.locate(sector(1), Replica::Upgrade).await.unwrap(),
        None
    );

    let unknown = stores
        .submit_persisted(sector(1), SIZE, "nobody", Replica::Normal)
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("a, gone"), "{unknown}");
    let away = stores
        .submit_persisted(sector(1), SIZE, "gone", Replica::Normal)
        .await
        .unwrap_err();
    assert!(matches!(away, StorageError::Unreachable(_)), "{away}");
}

#[tokio::test]
async fn provability_tells_missing_files_from_a_store_that_is_away() {
    let house = House::new(&["a"]);
    house.put("a", 1);
    house.put("a", 2);
    let stores = house.start(vec![house.policy("a")]);
    stores.attach("a", Replica::Normal).await.unwrap();
    let look = |stores: Stores, number| async move {
        let limit = Duration::from_secs(60);
        stores
            .provable(sector(number), SIZE, Replica::Normal, limit)
            .await
            .unwrap()
    };
    assert!(look(stores.clone(), 1).await.is_ok());
    fs::remove_file(house.path("a").join("sealed/s-t01000-1")).unwrap();
    let error = look(stores.clone(), 1).await.unwrap_err();
    assert!(matches!(error, NotUsable::Flawed(_)), "{error}");
    let error = look(stores.clone(), 9).await.unwrap_err();
    assert!(matches!(error, NotUsable::Unknown), "{error}");
    // the mount point is there, but nothing is mounted
    fs::rename(house.path("a"), house.path("unmounted")).unwrap();
    fs::create_dir(house.path("a")).unwrap();
    let error = look(stores, 2).await.unwrap_err();
    assert!(matches!(error, NotUsable::Unreachable(_)), "{error}");
    let none = house.start(vec![]);
    let error = look(none, 2).await.unwrap_err();
    assert!(matches!(error, NotUsable::NoStore(_)), "{error}");
}

#[tokio::test]
async fn attaching_finds_whole_sectors_once() {
    let house = House::new(&["a", "b", "empty"]);
    for number in [1, 2, 3] {
        house.put("a", number);
    }
    house.put("b", 1);
    fs::remove_file(house.path("a").join("cache/s-t01000-2/p_aux")).unwrap();
    fs::write(house.path("a").join("sealed/s-t01000-4"), b"short").unwrap();
    fs::write(house.path("a").join("sealed/s-t01000-5.tmp"), b"x").unwrap();
    fs::write(house.path("a").join("sealed/notes.txt"), b"x").unwrap();
    let stores = house.start(["a", "b", "empty"].map(|s| house.policy(s)).to_vec());

    let found = stores.attach("a", Replica::Normal).await.unwrap();
    assert_eq!(found.added, [sector(1), sector(3)]);
    let refused: Vec<_> = found.refused.keys().copied().collect();
    assert_eq!(refused, [sector(2), sector(4)]);
    assert!(found.refused[&sector(2)].contains("p_aux"));

    let again = stores.attach("a", Replica::Normal).await.unwrap();
    assert_eq!(again.added, []);
    assert_eq!(again.known, [sector(1), sector(3)]);
    // a copy in another store does not take a sector away from where it is
    let copy = stores.attach("b", Replica::Normal).await.unwrap();
    assert_eq!((copy.added.len(), copy.known.len()), (0, 1));
    let located = stores.locate(sector(1), Replica::Normal).await.unwrap();
    assert!(located.unwrap().cache_dir.starts_with(house.path("a")));

    let nothing = stores.attach("empty", Replica::Normal).await.unwrap();
    assert_eq!(nothing, Attached::default());
    assert!(stores.attach("nobody", Replica::Normal).await.is_err());
}

#[tokio::test]
async fn flagged_stores_are_attached_at_the_start_and_waited_for() {
    let house = House::new(&["a", "plain"]);
    house.put("a", 1);
    house.put("plain", 2);
    let flagged = |name| StorePolicy {
        meta: Some([(ATTACH_META.to_owned(), "true".to_owned())].into()),
        ..house.policy(name)
    };
    let stores = house.start(vec![flagged("a"), flagged("late"), house.policy("plain")]);
    let away = stores.attach_all(stores.flagged()).await;
    assert_eq!(away, ["late"]);
    let mut known = Vec::new();
    put_sector(&house.path("late"), sector(3));
    assert_eq!(stores.attach_all(away).await, Vec::<String>::new());
    for number in [1, 2, 3] {
        let found = stores.locate(sector(number), Replica::Normal).await;
        known.push(found.unwrap().is_some());
    }
    assert_eq!(
        known,
        [true, false, true],
        "only where the operator says so"
    );
}

/// The configuration was read again while they were on their way.
#[tokio::test]
async fn a_store_that_went_is_not_named_by_what_comes_late() {
    let house = House::new(&["a", "b"]);
    let b = house.policy("b");
    let stores = house.start(vec![house.policy("a"), b.clone()]);
    house.put("a", 1);
    let still = stores.still().await;
    let mut late = Box::pin(stores.submit_persisted(sector(1), SIZE, "a", Replica::Normal));
    let wish = ["a".to_owned()];
    let mut room = Box::pin(stores.reserve(sector(2), 1, &wish));
    assert!(futures::poll!(&mut late).is_pending());
    assert!(futures::poll!(&mut room).is_pending());
    stores.replace(vec![b], Vec::new()).unwrap();
    drop(still);
    let refused = late.await.unwrap_err();
    assert!(matches!(refused, StorageError::Unknown { .. }), "{refused}");
    assert_eq!(room.await.unwrap().store(), None);
    let location = stores.location(sector(1), Replica::Normal).await.unwrap();
    assert_eq!(location, None);
    assert!(stores.reservations().await.unwrap().is_empty());
}
