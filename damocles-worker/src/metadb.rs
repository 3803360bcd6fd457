//! The database of one sealing thread: the document of its sector, the large outputs, and the
//! timeline. Every transition is one synced transaction (law 1). Nothing here is ever wiped because
//! it cannot be read: a damaged or newer document is reported, and stays.
//!
//! Two write here: the thread itself, and the reporter, which notes what the manager has heard of.
//! What both write is read in the transaction that writes it; what the thread alone writes
//! (document, outputs, timeline) goes down as the thread has it.

use crate::{
    document::{Document, Output, VERSION},
    draining::Order,
    stores::{Database, SealingStore, Seen, StoreError, look},
};
use damocles_api::{
    sector::AllocateSectorSpec,
    timeline::{Ending, TimelineEntry},
};
use damocles_kv::{
    ACCEPT_CUT,
    Durability::{Buffered, Synced},
    KvError, Migration, OpenError, Record, Schema, Span, Store, StoreError as TransactionError,
    Table, Transaction, Trouble, Work,
};
use damocles_processor::Opaque;
use damocles_types::{Failure, SectorId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    path::{Path, PathBuf},
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
/// Key of the last order to drain, or to work again.
const ORDER: &[u8] = b"order";
/// Of so many sectors before this one at most; a manager that takes news of none of them for
/// longer has other things to learn.
const MOST_FORMER: usize = 16;

/// The database as this program knows it.
pub const SCHEMA: Schema = Schema {
    owner: "damocles-worker",
    tables: &[SECTOR, OUTPUT, TIMELINE, STORE],
    // a record without a version gets one when it is written. But a program of before would take
    // a record with one for damage
    migrations: &[Migration {
        what: "all records carry a version",
        work: Work::Nothing,
    }],
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
    Kv(KvError),
    /// Of a transaction, and none of [`Self::Kv`].
    #[error("the database of the sealing thread: {0}")]
    Transaction(TransactionError),
}

impl From<TransactionError> for MetaError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Kv(error) => Self::Kv(error),
            other => Self::Transaction(other),
        }
    }
}

impl MetaError {
    /// Others were in the way, and it is tried again: no failure, and nothing is counted.
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::Transaction(error) if error.is_wait())
    }

    /// What it means for the thread: it stops, everything stays as it is.
    pub fn failure(&self) -> Failure {
        if self.is_wait() {
            return Failure::temporary(damocles_types::chain(self));
        }
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
            Self::Transaction(_) => "this is a fault in the program; report it".to_owned(),
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
    records: Store,
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

fn note(t: &mut Transaction<'_>, entry: &TimelineEntry) -> Result<(), TransactionError> {
    t.overwrite_json(TIMELINE, seq_key(entry.seq), entry)
}

/// All that a table has, in the order of its keys.
fn all<T: DeserializeOwned>(
    t: &mut Transaction<'_>,
    table: Table,
) -> Result<Vec<T>, TransactionError> {
    let records = t.scan(table, &Span::all(), usize::MAX)?;
    let values = records
        .iter()
        .map(Record::json)
        .filter_map(Result::transpose);
    values.collect()
}

fn former(record: &Record) -> Result<Vec<Unsent>, TransactionError> {
    Ok(record.json()?.unwrap_or_default())
}

/// What the manager has not heard of the sector at work, or of the last one.
fn present(t: &mut Transaction<'_>) -> Result<Option<Unsent>, TransactionError> {
    let Some(last) = t.get_json::<Last>(SECTOR, LAST)? else {
        return Ok(None);
    };
    let entries = all::<TimelineEntry>(t, TIMELINE)?.into_iter();
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

impl MetaDb {
    /// Opens the database in `dir`, or makes it.
    pub fn open(dir: &Path) -> Result<Self, MetaError> {
        Self::with(dir, Store::open(dir, &SCHEMA))
    }

    /// One that is not on disk, for tests of what follows when it fails.
    pub fn in_memory() -> Self {
        Self {
            dir: PathBuf::from("(memory)"),
            records: Store::in_memory(&SCHEMA),
        }
    }

    /// For tests: from now on writes to one in memory fail for this reason, or succeed again.
    pub fn fail_writes(&self, reason: Option<&str>) {
        self.records.fail_writes(reason);
    }

    fn with(dir: &Path, opened: Result<Store, OpenError>) -> Result<Self, MetaError> {
        Ok(Self {
            dir: dir.to_owned(),
            records: opened.map_err(MetaError::Open)?,
        })
    }

    /// Why it cannot be written, if it cannot.
    pub fn trouble(&self) -> Option<Trouble> {
        self.records.trouble()
    }

    /// Tries to write.
    pub fn probe(&self) -> Result<(), MetaError> {
        Ok(self.records.probe()?)
    }

    /// The database of a sealing store; made only where there never was one (see
    /// [`crate::stores::database`]).
    pub fn of(store: &SealingStore) -> Result<Self, MetaError> {
        let dir = store.meta();
        let meta = match store.database().map_err(MetaError::Store)? {
            Database::New => Self::open(&dir)?,
            Database::There => Self::with(&dir, Store::open_existing(&dir, &SCHEMA))?,
        };
        store
            .belongs_to(&meta.id(), !meta.is_blank()?)
            .map_err(MetaError::Store)?;
        Ok(meta)
    }

    /// Whether it has never known a sector.
    pub fn is_blank(&self) -> Result<bool, MetaError> {
        self.records
            .read(|t| Ok(!t.get(SECTOR, NOW)?.exists() && !t.get(SECTOR, LAST)?.exists()))
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
        self.records.id().to_string()
    }

    /// The id of the mark with which an attached store was seen.
    pub fn seen(&self, store: &str) -> Result<Option<Seen>, MetaError> {
        self.records
            .read(|t| Ok(t.get_json(STORE, store.as_bytes())?))
    }

    /// All attached stores that were seen with a mark.
    pub fn all_seen(&self) -> Result<Vec<Seen>, MetaError> {
        self.records.read(|t| Ok(all(t, STORE)?))
    }

    /// Remembers a store. Synced: what follows is that a sector is moved there.
    pub fn remember(&self, seen: &Seen) -> Result<(), MetaError> {
        self.records.transact(Synced, |t| {
            let known = t.get(STORE, seen.name.as_bytes())?;
            if known.json()?.as_ref() != Some(seen) {
                t.put_json(&known, seen)?;
            }
            Ok(())
        })
    }

    /// The document, if a sector is at work.
    pub fn load(&self) -> Result<Option<Document>, MetaError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let document = self.record(SECTOR, NOW)?;
        let Some(bytes) = document.bytes() else {
            return Ok(None);
        };
        let damaged = |error: serde_json::Error| MetaError::Damaged {
            dir: self.dir.clone(),
            reason: error.to_string(),
        };
        // the version first: a newer document may have any form
        let head: Head = serde_json::from_slice(bytes).map_err(damaged)?;
        if head.version > VERSION {
            return Err(MetaError::Newer {
                dir: self.dir.clone(),
                found: head.version,
            });
        }
        serde_json::from_slice(bytes).map(Some).map_err(damaged)
    }

    /// A large output, if its step is done.
    pub fn output(&self, which: Output) -> Result<Option<Opaque>, MetaError> {
        let output = self.record(OUTPUT, which.key().as_bytes())?;
        let Some(bytes) = output.bytes() else {
            return Ok(None);
        };
        serde_json::from_slice(bytes)
            .map(Some)
            .map_err(|error| MetaError::Damaged {
                dir: self.dir.clone(),
                reason: format!("output of {}: {error}", which.key()),
            })
    }

    fn record(&self, table: Table, key: &[u8]) -> Result<Record, MetaError> {
        self.records.read(|t| Ok(t.get(table, key)?))
    }

    /// The id of the question for a sector number: the same until a sector was begun.
    pub fn request_id(&self, spec: &AllocateSectorSpec) -> Result<String, MetaError> {
        let new = Request {
            id: Uuid::new_v4().to_string(),
            spec: spec.clone(),
        };
        self.records.transact(Synced, |t| {
            let open = t.get(SECTOR, REQUEST)?;
            match open.json::<Request>()? {
                Some(open) if open.spec == *spec => Ok(open.id),
                _ => {
                    t.put_json(&open, &new)?;
                    Ok(new.id.clone())
                }
            }
        })
    }

    /// The last order to drain, or to work again.
    pub fn order(&self) -> Result<Option<Order>, MetaError> {
        self.records.read(|t| Ok(t.get_json(SECTOR, ORDER)?))
    }

    /// Writes an order down; an older one than that which is there changes nothing.
    pub fn give_order(&self, order: &Order) -> Result<(), MetaError> {
        self.records.transact(Synced, |t| {
            let known = t.get(SECTOR, ORDER)?;
            if known
                .json::<Order>()?
                .is_none_or(|known| known.at <= order.at)
            {
                t.put_json(&known, order)?;
            }
            Ok(())
        })
    }

    /// A new sector: the timeline of the one before goes, its first entries come.
    pub fn begin(&self, document: &Document, entry: &TimelineEntry) -> Result<(), MetaError> {
        self.records.transact(Synced, |t| {
            let kept = t.get(SECTOR, FORMER)?;
            let mut unsent = former(&kept)?;
            unsent.extend(present(t)?);
            unsent.drain(..unsent.len().saturating_sub(MOST_FORMER));
            t.put_json(&kept, &unsent)?;
            for old in t.scan(TIMELINE, &Span::all(), usize::MAX)? {
                t.delete(&old)?;
            }
            for output in Output::iter() {
                t.erase(OUTPUT, output.key())?;
            }
            t.erase(SECTOR, REQUEST)?;
            let last = t.get(SECTOR, LAST)?;
            let this = Last {
                sector: document.sector(),
                reported: 0,
                manager: document.manager.clone(),
            };
            t.put_json(&last, &this)?;
            note(t, entry)?;
            Ok(t.overwrite_json(SECTOR, NOW, document)?)
        })
    }

    /// One transition, synced: when this returns, it has happened.
    pub fn commit(&self, document: &Document, with: &Transition<'_>) -> Result<(), MetaError> {
        self.records.transact(Synced, |t| {
            if let Some((which, output)) = with.keep {
                t.overwrite(OUTPUT, which.key(), output.text())?;
            }
            for which in with.drop {
                t.erase(OUTPUT, which.key())?;
            }
            if let Some(entry) = with.entry {
                note(t, entry)?;
            }
            Ok(t.overwrite_json(SECTOR, NOW, document)?)
        })
    }

    /// Notes an attempt that begins or goes on. Not synced: nobody acts upon it.
    pub fn note(&self, entry: &TimelineEntry) -> Result<(), MetaError> {
        self.records.transact(Buffered, |t| Ok(note(t, entry)?))
    }

    /// The sector is done with. Its timeline stays until the next one begins.
    pub fn end(&self, entry: Option<&TimelineEntry>) -> Result<(), MetaError> {
        self.records.transact(Synced, |t| {
            t.erase(SECTOR, NOW)?;
            for output in Output::iter() {
                t.erase(OUTPUT, output.key())?;
            }
            Ok(entry.map_or(Ok(()), |entry| note(t, entry))?)
        })
    }

    /// Attempts that were running when the daemon ended are marked as such.
    pub fn close_interrupted(&self) -> Result<(), MetaError> {
        self.records.transact(Buffered, |t| {
            for record in t.scan(TIMELINE, &Span::all(), usize::MAX)? {
                if let Some(mut entry) = record.json::<TimelineEntry>()?
                    && entry.ending.is_none()
                {
                    entry.ending = Some(Ending::Interrupted);
                    t.put_json(&record, &entry)?;
                }
            }
            Ok(())
        })
    }

    /// The timeline of the sector at work, or of the last one.
    pub fn timeline(&self) -> Result<Vec<TimelineEntry>, MetaError> {
        self.records.read(|t| Ok(all(t, TIMELINE)?))
    }

    /// What the manager has not heard of, oldest first. An attempt that goes on holds back what
    /// came after it.
    pub fn unsent(&self) -> Result<Vec<Unsent>, MetaError> {
        self.records.read(|t| {
            let mut unsent = former(&t.get(SECTOR, FORMER)?)?;
            unsent.extend(present(t)?);
            Ok(unsent)
        })
    }

    /// Entries of a sector below `next` have reached the manager.
    pub fn sent(&self, sector: SectorId, next: u64) -> Result<(), MetaError> {
        self.records.transact(Buffered, |t| {
            let last = t.get(SECTOR, LAST)?;
            if let Some(mut of) = last.json::<Last>()?
                && of.sector == sector
            {
                of.reported = next;
                return Ok(t.put_json(&last, &of)?);
            }
            // another one was begun meanwhile
            let kept = t.get(SECTOR, FORMER)?;
            let mut unsent = former(&kept)?;
            for of in unsent.iter_mut().filter(|u| u.sector == sector) {
                of.entries.retain(|e| e.seq >= next);
            }
            unsent.retain(|u| !u.entries.is_empty());
            Ok(t.put_json(&kept, &unsent)?)
        })
    }

    /// Puts raw bytes in the document's place.
    #[cfg(test)]
    pub(crate) fn damage(&self, bytes: &[u8]) {
        let done: Result<(), MetaError> = self
            .records
            .transact(Synced, |t| Ok(t.overwrite(SECTOR, NOW, bytes)?));
        done.unwrap();
    }
}

#[cfg(test)]
mod tests;
