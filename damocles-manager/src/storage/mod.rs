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
mod layout;
mod locate;
mod presence;
mod reserve;
mod scan;

pub use crate::db::stores::{Location, Replica, Reservation};
pub use attach::{ATTACH_META, Attached};
pub use choose::Refusal;
pub use disk::{Flaw, FlawKind, Space, Unreachable};
pub use locate::{Located, NotUsable};
pub use presence::STORE_MARK;
pub use reserve::Reserve;
pub use scan::Scanned;

use crate::{
    db::{Db, DbError},
    policy::StorePolicy,
};
use damocles_api::store::{StoreBasicInfo, StoreDetailedInfo, StoreReserved};
use damocles_types::SectorId;
use disk::Disk;
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use presence::Presence;
use rand::{SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// A file system that takes longer to tell its size is passed over.
const SPACE_LIMIT: Duration = Duration::from_secs(5);

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

#[derive(Debug)]
struct Store {
    policy: StorePolicy,
    disk: Disk,
    /// The pattern whose scan found it; none: it is configured.
    pattern: Option<String>,
    presence: Mutex<Presence>,
}

impl Store {
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
    stores: RwLock<Vec<Arc<Store>>>,
    /// Where scans look.
    patterns: Vec<String>,
    /// Directories that scans looked at: one that hangs is known to hang.
    looked: Mutex<BTreeMap<PathBuf, Disk>>,
    /// What scans complained of, by directory.
    scan_faults: Mutex<BTreeMap<String, String>>,
    /// The marks that were seen, by the store's name.
    marks: Mutex<BTreeMap<String, String>>,
    chance: Mutex<StdRng>,
    /// Held from reading the reservations to writing one. Never while a disk is asked.
    reserving: tokio::sync::Mutex<()>,
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
        let mut names = BTreeSet::new();
        if let Some(twice) = policies.iter().find(|p| !names.insert(p.name.as_str())) {
            return Err(StorageError::NameTwice(twice.name.clone()));
        }
        let mut scanned: Vec<Scanned> = db.scanned()?;
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
            stores: RwLock::new(stores.collect()),
            patterns,
            looked: Mutex::default(),
            scan_faults: Mutex::default(),
            marks: Mutex::new(db.store_marks()?),
            chance: Mutex::new(chance),
            reserving: tokio::sync::Mutex::default(),
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

    async fn location(
        &self,
        sector: SectorId,
        replica: Replica,
    ) -> Result<Option<Location>, StorageError> {
        self.db(move |db| db.location(sector, replica)).await
    }

    async fn put_locations(&self, locations: Vec<Location>) -> Result<(), StorageError> {
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

    /// A store as workers know it; none: no store has that name.
    pub fn basic_info(&self, name: &str) -> Option<StoreBasicInfo> {
        self.find(name).ok().map(|store| store.basic())
    }

    /// All stores with their space. One that cannot be used shows zeros and says why; the others
    /// do not wait for it longer than a few seconds.
    ///
    /// # Errors
    /// A failing database.
    pub async fn list(&self) -> Result<Vec<StoreDetailedInfo>, StorageError> {
        let reservations = self.reservations().await?;
        let all = self.stores();
        let spaces = self.spaces(&all).await;
        let detail = |(store, space): (&Arc<Store>, Result<Space, Unreachable>)| {
            let note = space.as_ref().err().map(|e| e.why.clone());
            detailed(store.basic(), space.ok(), note, &reservations)
        };
        Ok(all.iter().zip(spaces).map(detail).collect())
    }

    /// Asks all at once.
    async fn spaces(&self, stores: &[Arc<Store>]) -> Vec<Result<Space, Unreachable>> {
        let ask = |store| self.examine(store, SPACE_LIMIT);
        join_all(stores.iter().map(ask)).await
    }
}

fn detailed(
    info: StoreBasicInfo,
    space: Option<Space>,
    note: Option<String>,
    reservations: &[Reservation],
) -> StoreDetailedInfo {
    let here = reservations.iter().filter(|r| r.store == info.name);
    let mut reserved_by: Vec<_> = here
        .map(|r| StoreReserved {
            by: r.sector.to_string(),
            size: r.size,
            at: r.at,
        })
        .collect();
    reserved_by.sort_by(|a, b| (a.at, &a.by).cmp(&(b.at, &b.by)));
    let (used, free) = space.map_or((0, 0), |s| (s.used, s.free));
    // as df and upstream count: blocks kept for root are neither used nor free
    let countable = used.saturating_add(free);
    let used_percent = if countable == 0 {
        0.0
    } else {
        used as f64 / countable as f64 * 100.0
    };
    StoreDetailedInfo {
        kind: space.map_or_else(|| "unreachable".to_owned(), |s| s.kind_name()),
        total: space.map_or(0, |s| s.total),
        free,
        used,
        used_percent,
        reserved: reserved_by
            .iter()
            .map(|r| r.size)
            .fold(0, u64::saturating_add),
        reserved_by,
        name: info.name,
        path: info.path,
        strict: info.strict,
        read_only: info.read_only,
        weight: info.weight,
        meta: info.meta,
        note,
    }
}

#[cfg(test)]
mod presence_tests;
#[cfg(test)]
pub(crate) mod tests;
