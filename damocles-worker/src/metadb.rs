//! The database of one sealing thread: the document of its sector, the large outputs, and the
//! timeline. Every transition is one synced batch (law 1). Nothing here is ever wiped because
//! it cannot be read: a damaged or newer document is reported, and stays.

use crate::{
    document::{Document, Output, VERSION},
    stores::{Database, SealingStore, Seen, StoreError, look},
};
use damocles_api::{
    sector::AllocateSectorSpec,
    timeline::{Ending, TimelineEntry},
};
use damocles_kv::{ACCEPT_CUT, Batch, Durability, Kv, KvError, OpenError, Schema, Table, Trouble};
use damocles_processor::Opaque;
use damocles_types::{Failure, SectorId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use strum::IntoEnumIterator;
use uuid::Uuid;

const SECTOR: Table = Table("sector");
const OUTPUT: Table = Table("output");
const TIMELINE: Table = Table("timeline");
const STORE: Table = Table("store");
/// Key of the document of the sector at work.
const NOW: &[u8] = b"now";
/// Key of [`Last`].
const LAST: &[u8] = b"last";
/// Key of the request for a sector number that has not come to a sector yet.
const REQUEST: &[u8] = b"request";
/// Key of the ended attempts of sectors before this one that the manager has not heard of.
const FORMER: &[u8] = b"former";
/// Of so many sectors before this one at most; a manager that takes news of none of them for
/// longer has other things to learn.
const MOST_FORMER: usize = 16;

/// The database as this program knows it.
pub const SCHEMA: Schema = Schema {
    owner: "damocles-worker",
    tables: &[SECTOR, OUTPUT, TIMELINE, STORE],
    migrations: &[],
};

/// The sector whose timeline is kept; it may have ended already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    sector: SectorId,
    /// Entries before this one have reached the manager.
    reported: u64,
    /// The manager that allocated it, as in the document.
    #[serde(default)]
    manager: Option<String>,
}

/// Ended attempts at a sector's steps, in their order, that the manager has not heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    pub sector: SectorId,
    /// The manager that allocated it.
    pub manager: Option<String>,
    pub entries: Vec<TimelineEntry>,
}

/// A question for a sector number, as it was written down before it was asked.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    id: String,
    /// What was asked for; another wish is another question.
    spec: AllocateSectorSpec,
}

/// Why the database or what is in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error(transparent)]
    Open(OpenError),
    /// The store is away, or its database is not its own.
    #[error(transparent)]
    Store(StoreError),
    #[error("the sector document in {dir} has version {found}; this program knows up to {VERSION}")]
    Newer { dir: PathBuf, found: u32 },
    #[error("the sector document in {dir} is damaged: {reason}")]
    Damaged { dir: PathBuf, reason: String },
    #[error("the database of the sealing thread failed: {0}")]
    Kv(#[from] KvError),
}

impl MetaError {
    /// What it means for the thread: it stops, everything stays as it is.
    pub fn failure(&self) -> Failure {
        let hint = match self {
            Self::Store(error) => error.hint(),
            Self::Open(OpenError::Busy { .. }) => {
                "stop the other worker that uses this sealing store, then resume the thread".to_owned()
            }
            Self::Open(OpenError::Newer { .. }) | Self::Newer { .. } => {
                "start the newer damocles-worker that wrote it; nothing was changed".to_owned()
            }
            Self::Open(OpenError::Foreign { .. }) => {
                "finish the sector with the program that began it, or give the thread a new location; nothing was changed".to_owned()
            }
            Self::Open(OpenError::Missing { dir }) => format!(
                "bring {} back (a backup, lost+found), then resume the thread; nothing was changed",
                dir.display()
            ),
            Self::Open(OpenError::DamagedLog { dir, .. }) => format!(
                "restore {0} from a backup; or go on without what was written last: `touch {1}`, then resume the thread",
                dir.display(),
                dir.join(ACCEPT_CUT).display()
            ),
            Self::Open(OpenError::Failing { .. }) => {
                "see `dmesg` for the disk and `ulimit -n` for the worker, then resume the thread; nothing was changed".to_owned()
            }
            Self::Open(_) | Self::Kv(_) => {
                "check the disk (dmesg, df), then resume the thread; nothing was changed".to_owned()
            }
            Self::Damaged { dir, .. } => format!(
                "restore {0} from a backup; or give the sector up: move {0} away and clear the data directory beside it; the manager keeps its record of the sector",
                dir.display()
            ),
        };
        Failure::critical(damocles_types::chain(self)).hint(hint)
    }
}

/// The open database.
#[derive(Clone, Debug)]
pub struct MetaDb {
    dir: PathBuf,
    kv: Kv,
    /// Held while what is unsent is looked through and written anew: the thread begins a sector,
    /// the reporter notes what has arrived.
    reported: Arc<Mutex<()>>,
}

/// What goes down together in a transition.
#[derive(Debug, Default)]
pub struct Transition<'a> {
    pub keep: Option<(Output, &'a Opaque)>,
    pub drop: &'a [Output],
    pub entry: Option<&'a TimelineEntry>,
}

fn seq_key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

impl MetaDb {
    /// Opens the database in `dir`, or makes it.
    pub fn open(dir: &Path) -> Result<Self, MetaError> {
        Self::with(dir, Kv::open(dir, &SCHEMA))
    }

    /// One that is not on disk, for tests of what follows when it fails.
    pub fn in_memory() -> Self {
        Self {
            dir: PathBuf::from("(memory)"),
            kv: Kv::in_memory(&SCHEMA),
            reported: Arc::default(),
        }
    }

    /// For tests: from now on writes to one in memory fail for this reason, or succeed again.
    pub fn fail_writes(&self, reason: Option<&str>) {
        self.kv.fail_writes(reason);
    }

    fn with(dir: &Path, opened: Result<Kv, OpenError>) -> Result<Self, MetaError> {
        Ok(Self {
            dir: dir.to_owned(),
            kv: opened.map_err(MetaError::Open)?,
            reported: Arc::default(),
        })
    }

    /// Why it cannot be written, if it cannot.
    pub fn trouble(&self) -> Option<Trouble> {
        self.kv.trouble()
    }

    /// Tries to write.
    pub fn probe(&self) -> Result<(), MetaError> {
        Ok(self.kv.probe()?)
    }

    /// The database of a sealing store; made only where there never was one (see
    /// [`crate::stores::database`]).
    pub fn of(store: &SealingStore) -> Result<Self, MetaError> {
        let dir = store.meta();
        let meta = match store.database().map_err(MetaError::Store)? {
            Database::New => Self::open(&dir)?,
            Database::There => Self::with(&dir, Kv::open_existing(&dir, &SCHEMA))?,
        };
        store
            .belongs_to(&meta.id(), !meta.is_blank()?)
            .map_err(MetaError::Store)?;
        Ok(meta)
    }

    /// Whether it has never known a sector.
    pub fn is_blank(&self) -> Result<bool, MetaError> {
        Ok(self.kv.get(SECTOR, NOW)?.is_none() && self.kv.get(SECTOR, LAST)?.is_none())
    }

    /// The sealing store at a place and its database. A place that hangs is given up after
    /// `limit`; what comes of it later is closed again.
    pub fn at(location: &Path, limit: Duration) -> Result<(SealingStore, Self), MetaError> {
        let place = location.to_owned();
        let found = look::within(limit, location, move || {
            let store = SealingStore::open(&place).map_err(MetaError::Store)?;
            let meta = Self::of(&store)?;
            Ok((store, meta))
        });
        found.map_err(MetaError::Store)?
    }

    /// The database's own name.
    pub fn id(&self) -> String {
        self.kv.id().to_string()
    }

    /// The id of the mark with which an attached store was seen.
    pub fn seen(&self, store: &str) -> Result<Option<Seen>, MetaError> {
        Ok(self.kv.get_json(STORE, store.as_bytes())?)
    }

    /// All attached stores that were seen with a mark.
    pub fn all_seen(&self) -> Result<Vec<Seen>, MetaError> {
        Ok(self.kv.scan_json(STORE, b"")?)
    }

    /// Remembers a store. Synced: what follows is that a sector is moved there.
    pub fn remember(&self, seen: &Seen) -> Result<(), MetaError> {
        if self.seen(&seen.name)?.as_ref() == Some(seen) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put_json(STORE, seen.name.as_str(), seen)?;
        Ok(self.kv.write(batch, Durability::Synced)?)
    }

    /// The document, if a sector is at work.
    pub fn load(&self) -> Result<Option<Document>, MetaError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Some(bytes) = self.kv.get(SECTOR, NOW)? else {
            return Ok(None);
        };
        let damaged = |error: serde_json::Error| MetaError::Damaged {
            dir: self.dir.clone(),
            reason: error.to_string(),
        };
        // the version first: a newer document may have any form
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        if head.version > VERSION {
            return Err(MetaError::Newer {
                dir: self.dir.clone(),
                found: head.version,
            });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// A large output, if its step is done.
    pub fn output(&self, which: Output) -> Result<Option<Opaque>, MetaError> {
        let Some(bytes) = self.kv.get(OUTPUT, which.key().as_bytes())? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| MetaError::Damaged {
                dir: self.dir.clone(),
                reason: format!("output of {}: {error}", which.key()),
            })
    }

    /// The id of the question for a sector number: the same until a sector was begun.
    pub fn request_id(&self, spec: &AllocateSectorSpec) -> Result<String, MetaError> {
        let open: Option<Request> = self.kv.get_json(SECTOR, REQUEST)?;
        if let Some(open) = open.filter(|open| open.spec == *spec) {
            return Ok(open.id);
        }
        let request = Request {
            id: Uuid::new_v4().to_string(),
            spec: spec.clone(),
        };
        let mut batch = Batch::new();
        batch.put_json(SECTOR, REQUEST, &request)?;
        self.kv.write(batch, Durability::Synced)?;
        Ok(request.id)
    }

    /// A new sector: the timeline of the one before goes, its first entries come.
    pub fn begin(&self, document: &Document, entry: &TimelineEntry) -> Result<(), MetaError> {
        let _held = self.reported.lock();
        let mut batch = Batch::new();
        let mut former = self.former()?;
        former.extend(self.present()?);
        former.drain(..former.len().saturating_sub(MOST_FORMER));
        batch.put_json(SECTOR, FORMER, &former)?;
        for (key, _) in self.kv.scan(TIMELINE, b"", usize::MAX)? {
            batch.delete(TIMELINE, key);
        }
        for output in Output::iter() {
            batch.delete(OUTPUT, output.key());
        }
        let last = Last {
            sector: document.sector(),
            reported: 0,
            manager: document.manager.clone(),
        };
        batch.delete(SECTOR, REQUEST);
        batch.put_json(SECTOR, LAST, &last)?;
        batch.put_json(TIMELINE, seq_key(entry.seq), entry)?;
        batch.put_json(SECTOR, NOW, document)?;
        Ok(self.kv.write(batch, Durability::Synced)?)
    }

    /// One transition, synced: when this returns, it has happened.
    pub fn commit(&self, document: &Document, with: &Transition<'_>) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        if let Some((which, output)) = with.keep {
            batch.put(OUTPUT, which.key(), output.text());
        }
        for which in with.drop {
            batch.delete(OUTPUT, which.key());
        }
        if let Some(entry) = with.entry {
            batch.put_json(TIMELINE, seq_key(entry.seq), entry)?;
        }
        batch.put_json(SECTOR, NOW, document)?;
        Ok(self.kv.write(batch, Durability::Synced)?)
    }

    /// Notes an attempt that begins or goes on. Not synced: nobody acts upon it.
    pub fn note(&self, entry: &TimelineEntry) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        batch.put_json(TIMELINE, seq_key(entry.seq), entry)?;
        Ok(self.kv.write(batch, Durability::Buffered)?)
    }

    /// The sector is done with. Its timeline stays until the next one begins.
    pub fn end(&self, entry: Option<&TimelineEntry>) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        batch.delete(SECTOR, NOW);
        for output in Output::iter() {
            batch.delete(OUTPUT, output.key());
        }
        if let Some(entry) = entry {
            batch.put_json(TIMELINE, seq_key(entry.seq), entry)?;
        }
        Ok(self.kv.write(batch, Durability::Synced)?)
    }

    /// Attempts that were running when the daemon ended are marked as such.
    pub fn close_interrupted(&self) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        for mut entry in self.timeline()? {
            if entry.ending.is_none() {
                entry.ending = Some(Ending::Interrupted);
                batch.put_json(TIMELINE, seq_key(entry.seq), &entry)?;
            }
        }
        Ok(self.kv.write(batch, Durability::Buffered)?)
    }

    /// The timeline of the sector at work, or of the last one.
    pub fn timeline(&self) -> Result<Vec<TimelineEntry>, MetaError> {
        Ok(self.kv.scan_json(TIMELINE, b"")?)
    }

    /// What the manager has not heard of, oldest first. An attempt that goes on holds back what
    /// came after it.
    pub fn unsent(&self) -> Result<Vec<Unsent>, MetaError> {
        let _held = self.reported.lock();
        let mut unsent = self.former()?;
        unsent.extend(self.present()?);
        Ok(unsent)
    }

    fn former(&self) -> Result<Vec<Unsent>, MetaError> {
        Ok(self.kv.get_json(SECTOR, FORMER)?.unwrap_or_default())
    }

    fn present(&self) -> Result<Option<Unsent>, MetaError> {
        let Some(last) = self.kv.get_json::<Last>(SECTOR, LAST)? else {
            return Ok(None);
        };
        let entries = self.timeline()?.into_iter();
        let entries: Vec<_> = entries
            .skip_while(|e| e.seq < last.reported)
            .take_while(|e| e.ending.is_some())
            .collect();
        let unsent = Unsent {
            sector: last.sector,
            manager: last.manager,
            entries,
        };
        Ok(Some(unsent).filter(|unsent| !unsent.entries.is_empty()))
    }

    /// Entries of a sector below `next` have reached the manager.
    pub fn sent(&self, sector: SectorId, next: u64) -> Result<(), MetaError> {
        let _held = self.reported.lock();
        let mut batch = Batch::new();
        match self.kv.get_json::<Last>(SECTOR, LAST)? {
            Some(last) if last.sector == sector => {
                let last = Last {
                    reported: next,
                    ..last
                };
                batch.put_json(SECTOR, LAST, &last)?;
            }
            _ => {
                let mut former = self.former()?;
                for unsent in former.iter_mut().filter(|u| u.sector == sector) {
                    unsent.entries.retain(|e| e.seq >= next);
                }
                former.retain(|u| !u.entries.is_empty());
                batch.put_json(SECTOR, FORMER, &former)?;
            }
        }
        Ok(self.kv.write(batch, Durability::Buffered)?)
    }

    /// Puts raw bytes in the document's place.
    #[cfg(test)]
    pub(crate) fn damage(&self, bytes: &[u8]) {
        let mut batch = Batch::new();
        batch.put(SECTOR, NOW, bytes);
        self.kv.write(batch, Durability::Synced).unwrap();
    }
}

#[cfg(test)]
mod tests;
