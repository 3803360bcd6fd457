//! The database of one sealing thread: the document of its sector, the large outputs, and the
//! timeline. Every transition is one synced batch (law 1). Nothing here is ever wiped because
//! it cannot be read: a damaged or newer document is reported, and stays.

use crate::document::{Document, Output, VERSION};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_kv::{Batch, Durability, Kv, KvError, OpenError, Schema, Table};
use damocles_processor::Opaque;
use damocles_types::{Failure, SectorId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use strum::IntoEnumIterator;

const SECTOR: Table = Table("sector");
const OUTPUT: Table = Table("output");
const TIMELINE: Table = Table("timeline");
/// Key of the document of the sector at work.
const NOW: &[u8] = b"now";
/// Key of [`Last`].
const LAST: &[u8] = b"last";

/// The database as this program knows it.
pub const SCHEMA: Schema = Schema {
    owner: "damocles-worker",
    tables: &[SECTOR, OUTPUT, TIMELINE],
    migrations: &[],
};

/// The sector whose timeline is kept; it may have ended already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub sector: SectorId,
    /// Entries before this one have reached the manager.
    pub reported: u64,
}

/// Why the database or what is in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error(transparent)]
    Open(OpenError),
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
            Self::Open(OpenError::Busy { .. }) => {
                "stop the other worker that uses this sealing store, then resume the thread".to_owned()
            }
            Self::Open(OpenError::Newer { .. }) | Self::Newer { .. } => {
                "start the newer damocles-worker that wrote it; nothing was changed".to_owned()
            }
            Self::Open(OpenError::Foreign { .. }) => {
                "finish the sector with the program that began it, or give the thread a new location; nothing was changed".to_owned()
            }
            Self::Open(_) | Self::Kv(_) => {
                "check the disk (dmesg, df), then resume the thread; nothing was changed".to_owned()
            }
            Self::Damaged { dir, .. } => format!(
                "restore {0} from a backup; or give the sector up: move {0} away and clear the data directory beside it; the manager keeps its record of the sector",
                dir.display()
            ),
        };
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Failure::critical(text).hint(hint)
    }
}

/// The open database.
#[derive(Clone, Debug)]
pub struct MetaDb {
    dir: PathBuf,
    kv: Kv,
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
    pub fn open(dir: &Path) -> Result<Self, MetaError> {
        let kv = Kv::open(dir, &SCHEMA).map_err(MetaError::Open)?;
        Ok(Self {
            dir: dir.to_owned(),
            kv,
        })
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

    /// A new sector: the timeline of the one before goes, its first entries come.
    pub fn begin(&self, document: &Document, entry: &TimelineEntry) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        for (key, _) in self.kv.scan(TIMELINE, b"", usize::MAX)? {
            batch.delete(TIMELINE, key);
        }
        for output in Output::iter() {
            batch.delete(OUTPUT, output.key());
        }
        let last = Last {
            sector: document.sector(),
            reported: 0,
        };
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

    /// Whose timeline that is, and how much of it the manager has.
    pub fn last(&self) -> Result<Option<Last>, MetaError> {
        Ok(self.kv.get_json(SECTOR, LAST)?)
    }

    pub fn set_last(&self, last: &Last) -> Result<(), MetaError> {
        let mut batch = Batch::new();
        batch.put_json(SECTOR, LAST, last)?;
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
mod tests {
    use super::*;
    use damocles_api::sector::AllocatedSector;
    use damocles_flow::{PlanName, State};
    use damocles_types::{Level, SealProof, SectorSize};

    fn document() -> Document {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        Document::new(PlanName::Sealer, allocated)
    }

    fn entry(seq: u64) -> TimelineEntry {
        TimelineEntry {
            seq,
            state: "Empty".into(),
            stage: "Allocate".into(),
            queued_at: 1,
            started_at: Some(1),
            ended_at: None,
            child: None,
            kernel: None,
            ending: None,
        }
    }

    #[test]
    fn a_transition_survives_reopening_and_the_state_is_stored_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut doc = document();
        {
            let db = MetaDb::open(dir.path()).unwrap();
            assert_eq!(db.load().unwrap(), None);
            db.begin(&doc, &entry(0)).unwrap();
            doc.advance(State::PC1Done);
            let output = Opaque::from_text("{\"x\":1}").unwrap();
            let with = Transition {
                keep: Some((Output::Pc1, &output)),
                entry: Some(&entry(1)),
                ..Transition::default()
            };
            db.commit(&doc, &with).unwrap();
            let bytes = db.kv.get(SECTOR, NOW).unwrap().unwrap();
            assert!(
                String::from_utf8(bytes)
                    .unwrap()
                    .contains("\"state\":\"PC1Done\"")
            );
        }
        let db = MetaDb::open(dir.path()).unwrap();
        assert_eq!(db.load().unwrap(), Some(doc));
        assert_eq!(db.output(Output::Pc1).unwrap().unwrap().text(), "{\"x\":1}");
        db.close_interrupted().unwrap();
        let endings: Vec<_> = db
            .timeline()
            .unwrap()
            .into_iter()
            .map(|e| e.ending)
            .collect();
        assert_eq!(
            endings,
            [Some(Ending::Interrupted), Some(Ending::Interrupted)]
        );

        db.end(None).unwrap();
        assert_eq!(db.load().unwrap(), None);
        assert_eq!(db.output(Output::Pc1).unwrap(), None);
        assert_eq!(
            db.timeline().unwrap().len(),
            2,
            "the last sector's timeline stays"
        );
        db.begin(&document(), &entry(0)).unwrap();
        assert_eq!(db.timeline().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_reported_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let db = MetaDb::open(dir.path()).unwrap();
        let whole = serde_json::to_vec(&document()).unwrap();
        let newer = br#"{"version":2,"anything":[]}"#.to_vec();
        for (bytes, words) in [
            (whole[..whole.len() / 2].to_vec(), "is damaged"),
            (b"".to_vec(), "is damaged"),
            (newer, "has version 2"),
        ] {
            db.damage(&bytes);
            let failure = db.load().unwrap_err().failure();
            assert_eq!(failure.level, Level::Critical);
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.hint.is_some());
            assert_eq!(db.kv.get(SECTOR, NOW).unwrap().unwrap(), bytes);
        }
        let busy = MetaDb::open(dir.path()).unwrap_err();
        assert!(
            matches!(busy, MetaError::Open(OpenError::Busy { .. })),
            "{busy}"
        );
    }
}
