//! Persist stores: where sealed files are, how much room there is, and whether a sector is
//! all there. Stores are directories known by name to manager and workers alike.
//!
//! ```text
//! worker ── reserve ──► a store's name ── moves its files ── submit_persisted ──► index
//! prover ◄── locate ── index                     release ◄── finalised or aborted
//! ```
//! A store that is missing, hangs, or is not the one that it should be is no error at start and
//! delays only those who need it. This room never writes into a store.

mod attach;
mod choose;
mod disk;
mod index;
mod layout;
mod listing;
mod locate;
mod presence;
mod reserve;
mod scan;
mod survey;

pub use crate::db::stores::{Location, Replica, Reservation};
pub use attach::{ATTACH_META, Attached};
pub use choose::Refusal;
pub use disk::{Flaw, FlawKind, Space, Unreachable};
pub use layout::{SCANNED_MARK, STORE_MARK};
pub use locate::{Located, NotUsable};
pub use reserve::Reserve;
pub use scan::scanned_mark;

use crate::{
    db::{Db, DbError},
    policy::StorePolicy,
};
use async_trait::async_trait;
use damocles_api::store::StoreBasicInfo;
use damocles_types::SectorId;
use disk::Disk;
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Where another manager has replicas.
#[async_trait]
pub trait Index: fmt::Debug + Send + Sync + 'static {
    /// The stores that a replica lies in; none: it does not know it.
    ///
    /// # Errors
    /// It does not answer; why.
    async fn find(&self, sector: SectorId, replica: Replica) -> Result<Option<Location>, String>;

    /// Who it is.
    fn address(&self) -> &str;
}

/// Why something about stores could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error(
        "two persist stores are called {0:?}; give each [[Common.PersistStores]] entry and each sectorstore.json a name of its own"
    )]
    NameTwice(String),
    #[error("there is no persist store called {name:?}; configured are {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What is known of a store's presence.
#[derive(Debug, Default)]
struct Presence {
    /// When it was seen to be itself.
    good: Option<Instant>,
    place: Option<(u64, u64)>,
    /// Why it is not used.
    note: Option<String>,
    /// Its sectors were looked for, as its `Meta` wants.
    attached: bool,
}

#[derive(Debug)]
struct Store {
    policy: StorePolicy,
    disk: Disk,
    /// The pattern whose scan found it; none: it is configured.
    pattern: Option<String>,
    presence: Mutex<Presence>,
}

impl Store {
    /// What is said of it in lists.
    fn note(&self) -> Option<String> {
        self.presence.lock().note.clone()
    }

    fn new(policy: StorePolicy, pattern: Option<String>) -> Self {
        Self {
            disk: Disk::new(policy.name.clone(), policy.path.clone()),
            policy,
            pattern,
            presence: Mutex::default(),
        }
    }

    fn basic(&self) -> StoreBasicInfo {
        let p = &self.policy;
        StoreBasicInfo {
            name: p.name.clone(),
            path: p.path.display().to_string(),
            strict: p.strict,
            read_only: p.read_only,
            weight: p.weight,
            meta: p.meta.clone(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    /// Those that are configured, in the operator's order, then those that scans found.
    stores: parking_lot::RwLock<Vec<Arc<Store>>>,
    /// Where scans look.
    patterns: parking_lot::RwLock<Vec<String>>,
    /// Directories that scans looked at: one that hangs is known to hang.
    looked: Mutex<BTreeMap<PathBuf, Disk>>,
    /// What scans complained of, by directory.
    scan_faults: Mutex<BTreeMap<String, String>>,
    /// The marks that were seen, by the store's name.
    marks: Mutex<BTreeMap<String, String>>,
    chance: Mutex<StdRng>,
    /// Held from reading the reservations to writing one. Never while a disk is asked.
    reserving: tokio::sync::Mutex<()>,
    /// Held for reading while a record is written that names a store which is there, and for
    /// writing from the look for such records to the replacement that goes by it.
    named: Arc<RwLock<()>>,
    /// Another manager that knows where sectors lie.
    elsewhere: OnceLock<Arc<dyn Index>>,
}

fn no_name_twice(policies: &[StorePolicy]) -> Result<(), StorageError> {
    let mut names = BTreeSet::new();
    match policies.iter().find(|p| !names.insert(p.name.as_str())) {
        Some(twice) => Err(StorageError::NameTwice(twice.name.clone())),
        None => Ok(()),
    }
}

/// While it lives, nothing that is written names a store.
#[derive(Debug)]
pub struct Still {
    _named: OwnedRwLockWriteGuard<()>,
}

/// All persist stores of this manager; clones share them, each on its view of the database.
#[derive(Clone, Debug)]
pub struct Stores(Arc<Inner>, Db);

impl Stores {
    /// Takes the configured stores in their order. Does not touch a disk.
    ///
    /// # Errors
    /// [`StorageError::NameTwice`]; a failing database.
    pub fn new(db: Db, policies: Vec<StorePolicy>) -> Result<Self, StorageError> {
        Self::with_scans(db, policies, Vec::new())
    }

    /// The same with patterns that lead to further stores: those that were found last are there
    /// at once, and [`Self::run`] looks for more.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_scans(
        db: Db,
        policies: Vec<StorePolicy>,
        patterns: Vec<String>,
    ) -> Result<Self, StorageError> {
        Self::with_chance(db, policies, patterns, StdRng::from_entropy())
    }

    /// From now on these are the stores and the patterns. One whose entry did not change is not
    /// looked at anew; who is using one that is gone is not disturbed.
    ///
    /// # Errors
    /// [`StorageError::NameTwice`], and nothing has changed.
    pub fn replace(
        &self,
        policies: Vec<StorePolicy>,
        patterns: Vec<String>,
    ) -> Result<(), StorageError> {
        no_name_twice(&policies)?;
        let mut stores = self.0.stores.write();
        let scanned = stores.iter().filter(|store| {
            let found = store.pattern.as_ref();
            let p = &store.policy;
            found.is_some_and(|pattern| patterns.contains(pattern))
                && policies
                    .iter()
                    .all(|q| q.name != p.name && q.path != p.path)
        });
        let scanned: Vec<_> = scanned.cloned().collect();
        let same = |policy: &StorePolicy| {
            let here = stores.iter().filter(|store| store.pattern.is_none());
            here.into_iter()
                .find(|store| store.policy == *policy)
                .cloned()
        };
        let configured: Vec<_> = policies
            .into_iter()
            .map(|policy| same(&policy).unwrap_or_else(|| Arc::new(Store::new(policy, None))))
            .collect();
        *stores = configured.into_iter().chain(scanned).collect();
        *self.0.patterns.write() = patterns;
        Ok(())
    }

    /// Waits for what is being written that names a store, and has nothing else written.
    pub async fn still(&self) -> Still {
        Still {
            _named: self.0.named.clone().write_owned().await,
        }
    }

    /// The same stores on a database that speaks for a worker.
    pub fn on(&self, db: Db) -> Self {
        Self(self.0.clone(), db)
    }

    fn with_chance(
        db: Db,
        policies: Vec<StorePolicy>,
        patterns: Vec<String>,
        chance: StdRng,
    ) -> Result<Self, StorageError> {
        no_name_twice(&policies)?;
        let mut scanned = db.scanned()?;
        scanned.retain(|s| {
            patterns.contains(&s.pattern)
                && policies
                    .iter()
                    .all(|p| p.name != s.store.name && p.path != s.store.path)
        });
        let stores = policies
            .into_iter()
            .map(|policy| Store::new(policy, None))
            .chain(
                scanned
                    .into_iter()
                    .map(|s| Store::new(s.store, Some(s.pattern))),
            )
            .map(Arc::new);
        let inner = Inner {
            stores: parking_lot::RwLock::new(stores.collect()),
            patterns: parking_lot::RwLock::new(patterns),
            looked: Mutex::default(),
            scan_faults: Mutex::default(),
            marks: Mutex::new(db.store_marks()?),
            chance: Mutex::new(chance),
            reserving: tokio::sync::Mutex::default(),
            named: Arc::default(),
            elsewhere: OnceLock::new(),
        };
        Ok(Self(Arc::new(inner), db))
    }

    /// All stores, in their order.
    fn stores(&self) -> Vec<Arc<Store>> {
        self.0.stores.read().clone()
    }

    fn find(&self, name: &str) -> Result<Arc<Store>, StorageError> {
        let stores = self.stores();
        let found = stores.iter().find(|s| s.policy.name == name);
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = stores.iter().map(|s| s.policy.name.as_str()).collect();
            StorageError::Unknown {
                name: name.to_owned(),
                known: match known.as_slice() {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                },
            }
        })
    }

    async fn db<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Db) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StorageError> {
        Ok(self.1.call(verb).await?)
    }

    /// Notes where replicas lie, if those stores are still there.
    async fn put_locations(&self, locations: Vec<Location>) -> Result<(), StorageError> {
        let _named = self.0.named.read().await;
        for Location { sealed, cache, .. } in &locations {
            self.find(sealed)?;
            self.find(cache)?;
        }
        self.db(move |db| db.put_locations(&locations)).await
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, StorageError> {
        self.db(Db::reservations).await
    }

    /// Names of all stores, in the operator's order.
    pub fn names(&self) -> Vec<String> {
        let all = self.stores();
        all.iter().map(|s| s.policy.name.clone()).collect()
    }

    /// Names of those that would be gone after [`Self::replace`].
    pub fn leaving(&self, policies: &[StorePolicy], patterns: &[String]) -> Vec<String> {
        let all = self.stores();
        let stays = |store: &Arc<Store>| {
            let found = store.pattern.as_ref().is_some_and(|p| patterns.contains(p));
            found || policies.iter().any(|p| p.name == store.policy.name)
        };
        let gone = all.iter().filter(|store| !stays(store));
        gone.map(|store| store.policy.name.clone()).collect()
    }

    /// A store as workers know it; none: no store has that name.
    pub fn basic_info(&self, name: &str) -> Option<StoreBasicInfo> {
        self.find(name).ok().map(|store| store.basic())
    }
}

#[cfg(test)]
mod presence_tests;
#[cfg(test)]
pub(crate) mod tests;
