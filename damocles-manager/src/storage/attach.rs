//! Finds the replicas that already lie in a store and puts them into the index: for stores
//! that come from elsewhere (an older cluster, the sectors of a test network's genesis).

use crate::{
    db::stores::{Location, Replica},
    storage::{
        StorageError, Stores, Unreachable,
        disk::{Disk, Flaw, Links},
        layout,
    },
};
use damocles_types::{SectorId, SectorSize};
use std::{collections::BTreeMap, io, time::Duration};

/// Key in a store's `Meta`; with the value `true` the store is looked through at every start.
pub const ATTACH_META: &str = "damocles.attach";

/// Directories are read in one go, whatever they hold.
const SCAN_LIMIT: Duration = Duration::from_secs(600);
/// Looking at one sector's files.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// What was found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Put into the index.
    pub added: Vec<SectorId>,
    /// Were there already, in this store or (left alone) in another one.
    pub known: Vec<SectorId>,
    /// Not usable, with the reason.
    pub refused: BTreeMap<SectorId, String>,
}

impl Stores {
    /// Attaches the stores whose `Meta` says so and that were not attached since the start.
    pub(super) async fn attach_flagged(&self) {
        let waiting = |name: &String| {
            let store = self.find(name);
            store.is_ok_and(|s| !s.presence.lock().attached)
        };
        let names: Vec<String> = self.flagged().into_iter().filter(waiting).collect();
        let away = self.attach_all(names.clone()).await;
        for name in names {
            if !away.contains(&name)
                && let Ok(store) = self.find(&name)
            {
                store.presence.lock().attached = true;
            }
        }
    }

    /// Names of the stores that are to be looked through at the start.
    pub(super) fn flagged(&self) -> Vec<String> {
        let all = self.stores();
        let flagged = all.iter().filter(|s| {
            let flag = s
                .policy
                .meta
                .as_ref()
                .and_then(|meta| meta.get(ATTACH_META));
            flag.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        });
        flagged.map(|s| s.policy.name.clone()).collect()
    }

    /// Attaches these stores, both kinds of replica; those that did not answer come back.
    pub(super) async fn attach_all(&self, names: Vec<String>) -> Vec<String> {
        let mut away = Vec::new();
        for name in names {
            for replica in [Replica::Normal, Replica::Upgrade] {
                if let Err(error) = self.attach(&name, replica).await {
                    tracing::warn!(store = name, %error, "cannot look for the store's sectors; trying again");
                    away.push(name);
                    break;
                }
            }
        }
        away
    }

    /// Looks through the store for replicas `s-t0M-N` whose files are all there, and writes
    /// those into the index that it does not know yet. Doing it again changes nothing.
    ///
    /// # Errors
    /// An unknown name, a store that cannot be read, or a failing database.
    pub async fn attach(&self, store: &str, replica: Replica) -> Result<Attached, StorageError> {
        let found = self.find(store)?;
        let links = if found.policy.strict {
            Links::Forbidden
        } else {
            Links::Anywhere
        };
        self.present(&found, LOOK_LIMIT).await?;
        let mut out = Attached::default();
        let mut fresh = Vec::new();
        for (sector, length) in replicas(&found.disk, replica).await? {
            if self.location(sector, replica).await?.is_some() {
                out.known.push(sector);
                continue;
            }
            match flaw(&found.disk, sector, length, replica, links).await? {
                Some(why) => {
                    out.refused.insert(sector, why);
                }
                None => {
                    fresh.push(Location {
                        sector,
                        replica,
                        sealed: store.to_owned(),
                        cache: store.to_owned(),
                    });
                    out.added.push(sector);
                }
            }
        }
        self.put_locations(fresh).await?;
        tracing::info!(
            store,
            added = out.added.len(),
            known = out.known.len(),
            refused = out.refused.len(),
            "looked through the store for sectors"
        );
        for (sector, why) in &out.refused {
            tracing::warn!(store, %sector, why, "a sector in the store is not usable");
        }
        Ok(out)
    }
}

/// Sectors by the names in the store's directory of big files, with the length of each.
async fn replicas(disk: &Disk, replica: Replica) -> Result<BTreeMap<SectorId, u64>, Unreachable> {
    disk.call(SCAN_LIMIT, move |root| {
        let dir = match root.join(layout::sealed_root(replica)).read_dir() {
            Ok(dir) => dir,
            // nothing was put here yet; a missing root on the other hand is an error
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return root.canonicalize().map(|_| BTreeMap::new());
            }
            Err(e) => return Err(e),
        };
        let mut out = BTreeMap::new();
        for entry in dir {
            let entry = entry?;
            // foreign files and half-written ones (`.tmp`) are nobody's sectors
            let name = entry.file_name();
            if let Some(sector) = name.to_str().and_then(|n| n.parse::<SectorId>().ok()) {
                let length = entry.path().metadata().map_or(0, |m| m.len());
                out.insert(sector, length);
            }
        }
        Ok(out)
    })
    .await
}

/// Why the replica is not usable. Its size is taken from the file, as nobody else knows it.
async fn flaw(
    disk: &Disk,
    sector: SectorId,
    length: u64,
    replica: Replica,
    links: Links,
) -> Result<Option<String>, Unreachable> {
    let Some(size) = SectorSize::from_bytes(length) else {
        return Ok(Some(format!("{length} bytes is not a sector size")));
    };
    let mut files = layout::needed_cache(sector, size, replica);
    files.push(layout::needed_sealed(sector, Some(size), replica));
    let flaws = disk.inspect(files, links, LOOK_LIMIT).await?;
    Ok(in_words(&flaws))
}

/// All flaws in one sentence; none when there are none.
pub(super) fn in_words(flaws: &[Flaw]) -> Option<String> {
    let all: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
