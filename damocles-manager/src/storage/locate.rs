//! Where a sector's replica lies, and whether its files are what proving needs.

use crate::{
    db::stores::{Location, Replica},
    storage::{
        StorageError, Store, Stores, Unreachable,
        attach::in_words,
        disk::{Flaw, FlawKind, Links},
        layout,
    },
};
use damocles_api::{proving::PrivateSector, store::SectorAccessStores};
use damocles_node::SectorOnChainInfo;
use damocles_types::{SectorId, SectorSize};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Looking at a sector's files for a worker that waits for the answer.
const SUBMIT_LIMIT: Duration = Duration::from_secs(60);

/// Looking for a sector in every store.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

impl Replica {
    /// The one that the chain wants proven.
    pub fn of(sector: &SectorOnChainInfo) -> Self {
        // an upgraded sector keeps the CommR of its first replica as its key
        match sector.sector_key_cid {
            Some(_) => Self::Upgrade,
            None => Self::Normal,
        }
    }
}

/// Absolute paths of a replica, as provers take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Name of the store that the sealed file lies in.
    pub store: String,
    /// The same of the cache.
    pub cache_store: String,
    pub sealed_file: PathBuf,
    pub cache_dir: PathBuf,
}

/// Why a replica cannot be proven now.
#[derive(Debug, thiserror::Error)]
pub enum NotUsable {
    #[error(
        "no store has it whole (all of its files, of the right size); if it lies in a directory that is no [[Common.PersistStores]], make it one"
    )]
    Unknown,
    /// The index names a store that the config does not.
    #[error("it lies in the store {0:?}, which is not configured")]
    NoStore(String),
    /// The files are not as they should be.
    #[error("{0}")]
    Flawed(String),
    /// Nobody can say; it may come back.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl NotUsable {
    /// Whether the replica may be whole all the same, where nobody can look now: it is waited
    /// for, and is not lost.
    pub fn is_away(&self) -> bool {
        match self {
            Self::NoStore(_) | Self::Unreachable(_) => true,
            Self::Unknown | Self::Flawed(_) => false,
        }
    }
}

/// What came of looking for a replica in every store.
enum Sought {
    Found(Location),
    Nowhere,
    /// It is in none that answers; this one does not.
    Perhaps(Unreachable),
}

/// A file that the file system does not let us see says as much as a store that does not answer.
fn unreadable(store: &Store, flaws: &[Flaw]) -> Result<(), Unreachable> {
    let hidden = |flaw: &&Flaw| matches!(flaw.what, FlawKind::Unreadable(_));
    match flaws.iter().find(hidden) {
        Some(flaw) => Err(store.disk.unusable(flaw)),
        None => Ok(()),
    }
}

impl Stores {
    /// A worker says that it has moved a sealed sector into `store`. True: all files are there
    /// (the sealed file with exactly the sector's size, every cache file that proving needs)
    /// and the index knows the sector; false: something is missing, the worker must move it
    /// again. Twice does no harm.
    ///
    /// # Errors
    /// An unknown store, one that cannot be read now (ask again), or a failing database.
    pub async fn submit_persisted(
        &self,
        sector: SectorId,
        size: SectorSize,
        store: &str,
        replica: Replica,
    ) -> Result<bool, StorageError> {
        let found = self.find(store)?;
        let links = if found.policy.strict {
            Links::Forbidden
        } else {
            Links::Inside
        };
        self.present(&found, SUBMIT_LIMIT).await?;
        let mut files = layout::needed_cache(sector, size, replica);
        files.push(layout::needed_sealed(sector, Some(size), replica));
        let flaws = found.disk.inspect(files, links, SUBMIT_LIMIT).await?;
        unreadable(&found, &flaws)?;
        if let Some(why) = in_words(&flaws) {
            tracing::warn!(%sector, store, why, "the sector is not in the store as it should be");
            return Ok(false);
        }
        self.put_locations(vec![Location {
            sector,
            replica,
            sealed: store.to_owned(),
            cache: store.to_owned(),
        }])
        .await?;
        Ok(true)
    }

    /// Looks into all stores for a replica that the index does not know: it was put there while
    /// another database, or an older one, was asked. True: it is found, and known from now on.
    ///
    /// # Errors
    /// A failing database.
    pub async fn look_for(
        &self,
        sector: SectorId,
        size: SectorSize,
        replica: Replica,
    ) -> Result<bool, StorageError> {
        let sought = self.seek(sector, size, replica, LOOK_LIMIT).await?;
        Ok(matches!(sought, Sought::Found(_)))
    }

    async fn seek(
        &self,
        sector: SectorId,
        size: SectorSize,
        replica: Replica,
        limit: Duration,
    ) -> Result<Sought, StorageError> {
        let looks = self.stores().into_iter().map(|store| async move {
            let links = if store.policy.strict {
                Links::Forbidden
            } else {
                Links::Inside
            };
            let mut files = layout::needed_cache(sector, size, replica);
            files.push(layout::needed_sealed(sector, Some(size), replica));
            self.present(&store, limit).await?;
            let flaws = store.disk.inspect(files, links, limit).await?;
            unreadable(&store, &flaws)?;
            Ok(flaws.is_empty().then(|| store.policy.name.clone()))
        });
        let (mut found, mut silent) = (None, None);
        for look in futures::future::join_all(looks).await {
            match look {
                Ok(here) => found = found.or(here),
                Err(away) => silent = silent.or(Some(away)),
            }
        }
        let Some(store) = found else {
            return Ok(silent.map_or(Sought::Nowhere, Sought::Perhaps));
        };
        tracing::info!(%sector, store, "found the sector's files in a store");
        let location = Location {
            sector,
            replica,
            sealed: store.clone(),
            cache: store,
        };
        self.put_locations(vec![location.clone()]).await?;
        Ok(Sought::Found(location))
    }

    /// The paths of a replica, without looking at its files; none when the index does not know
    /// it or names a store that is not configured.
    ///
    /// # Errors
    /// A failing database.
    pub async fn locate(
        &self,
        sector: SectorId,
        replica: Replica,
    ) -> Result<Option<Located>, StorageError> {
        let location = self.location(sector, replica).await?;
        Ok(location.and_then(|l| self.paths(&l).ok()))
    }

    /// Where a replica lies, for whoever reads it by himself; none when the index does not know it
    /// or names a store that is not configured.
    ///
    /// # Errors
    /// A failing database.
    pub async fn place(
        &self,
        sector: SectorId,
        replica: Replica,
    ) -> Result<Option<PrivateSector>, StorageError> {
        let Some(location) = self.location(sector, replica).await? else {
            return Ok(None);
        };
        let Ok(files) = self.paths(&location) else {
            return Ok(None);
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(Some(PrivateSector {
            accesses: SectorAccessStores {
                sealed_file: location.sealed,
                cache_dir: location.cache,
            },
            cache_dir_path: text(&files.cache_dir),
            sealed_sector_path: text(&files.sealed_file),
            cache_dir_uri: text(&layout::cache_dir(sector, replica)),
            sealed_sector_uri: text(&layout::sealed_file(sector, replica)),
        }))
    }

    fn paths(&self, location: &Location) -> Result<Located, NotUsable> {
        let (sector, replica) = (location.sector, location.replica);
        let root = |name: &str| {
            self.find(name)
                .map(|s| s.disk.root().to_owned())
                .map_err(|_| NotUsable::NoStore(name.to_owned()))
        };
        Ok(Located {
            store: location.sealed.clone(),
            cache_store: location.cache.clone(),
            sealed_file: root(&location.sealed)?.join(layout::sealed_file(sector, replica)),
            cache_dir: root(&location.cache)?.join(layout::cache_dir(sector, replica)),
        })
    }

    /// Locates a replica and looks whether it can be proven: files there, sizes right. One that the
    /// index does not know is looked for in every store; where one of them does not answer, nobody
    /// can say. `limit` bounds the looking.
    ///
    /// # Errors
    /// Outer: a failing database. Inner: why the replica cannot be used.
    pub async fn provable(
        &self,
        sector: SectorId,
        size: SectorSize,
        replica: Replica,
        limit: Duration,
    ) -> Result<Result<Located, NotUsable>, StorageError> {
        let location = match self.location(sector, replica).await {
            Err(StorageError::Unreachable(away)) => return Ok(Err(away.into())),
            Err(other) => return Err(other),
            Ok(Some(location)) => location,
            Ok(None) => match self.seek(sector, size, replica, limit).await? {
                Sought::Found(location) => location,
                Sought::Nowhere => return Ok(Err(NotUsable::Unknown)),
                Sought::Perhaps(away) => return Ok(Err(away.into())),
            },
        };
        Ok(self.look(&location, Some(size), limit).await)
    }

    /// Looks whether the files of a replica are where the index says, of the right size if that is
    /// known.
    ///
    /// # Errors
    /// [`NotUsable`], which may say that nobody can look now.
    pub async fn look(
        &self,
        location: &Location,
        size: Option<SectorSize>,
        limit: Duration,
    ) -> Result<Located, NotUsable> {
        let located = self.paths(location)?;
        let (sector, replica) = (location.sector, location.replica);
        // An unmounted store looks like an empty directory. Its sectors are not lost.
        let home = self.find(&location.sealed);
        let home = home.map_err(|_| NotUsable::NoStore(location.sealed.clone()))?;
        self.present(&home, limit).await?;
        let dir = layout::sealed_root(replica);
        home.disk
            .call(limit, move |root| {
                root.join(dir).metadata().map(drop).map_err(|e| {
                    io::Error::new(
                        e.kind(),
                        format!("its directory {dir:?} does not open: {e}"),
                    )
                })
            })
            .await?;
        let sealed = layout::needed_sealed(sector, size, replica);
        let cache = size.map(|size| layout::needed_cache(sector, size, replica));
        let cache = cache.unwrap_or_default();
        for (store, files) in [(&location.sealed, vec![sealed]), (&location.cache, cache)] {
            let found = self
                .find(store)
                .map_err(|_| NotUsable::NoStore(store.clone()))?;
            let links = if found.policy.strict {
                Links::Forbidden
            } else {
                Links::Anywhere
            };
            self.present(&found, limit).await?;
            let flaws = found.disk.inspect(files, links, limit).await?;
            unreadable(&found, &flaws)?;
            if let Some(why) = in_words(&flaws) {
                return Err(NotUsable::Flawed(why));
            }
        }
        Ok(located)
    }
}
