//! The database as this program writes it, and how one that an older version wrote is brought up
//! to date.

use crate::{
    db::{
        bodies,
        damaged::readable,
        keys,
        listed::lists,
        record::{Landing, MessageRecord, Proof, SectorRecord},
        schema::{
            BODIES, MESSAGES, MESSAGES_OPEN, MESSAGES_WATCHED, OVER, PROOFS, SECTORS, TABLES,
        },
    },
    model::{UnixMs, unix_ms},
};
use damocles_flow::message::MessageState;
use damocles_kv::{Migration, Record, Schema, StoreError, Transaction, Work};
use damocles_node::TipSetKey;
use damocles_types::{Base64, Epoch};
use serde::Deserialize;

pub(crate) const SCHEMA: Schema = Schema {
    owner: "damocles-manager",
    tables: TABLES,
    migrations: &[
        Migration {
            what: "messages that ended on chain lately are watched until they are final",
            work: Work::Each(MESSAGES, watch_lately),
        },
        // a record without a version gets one when it is written. But a program of before would
        // take a record with one for damage
        Migration {
            what: "records of workers carry a version",
            work: Work::Nothing,
        },
        Migration {
            what: "sectors are listed by whether they are in work; all records carry a version",
            work: Work::Each(SECTORS, list),
        },
        Migration {
            what: "messages that are watched have a list of their own",
            work: Work::Each(MESSAGES_OPEN, part),
        },
        Migration {
            what: "the large parts of messages lie apart",
            work: Work::Each(MESSAGES, divide),
        },
        Migration {
            what: "proofs lie apart; sectors that are over are listed by when they were",
            work: Work::Each(SECTORS, take_proof),
        },
        // a program of before would not withdraw what a person ordered to be withdrawn
        Migration {
            what: "what messages cost is summed by day; messages may be replaced and withdrawn; deals wait",
            work: Work::Nothing,
        },
        // a program of before would make a block beside one that was signed
        Migration {
            what: "blocks that miners make are kept",
            work: Work::Nothing,
        },
        // a program of before would send a second time what a messager has
        Migration {
            what: "messages may be given to a messager; deals of a market go back to it",
            work: Work::Nothing,
        },
    ],
};

/// Messages that ended on chain within so many milliseconds may not be final yet, on the slowest
/// network.
pub(in crate::db) const LATELY: UnixMs = 48 * 60 * 60 * 1000;

/// An older version did not watch what had ended on chain: what did so lately is watched from now
/// on.
fn watch_lately(t: &mut Transaction<'_>, message: &Record) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Ended {
        state: MessageState,
        wanted_at: UnixMs,
        epoch: Option<Epoch>,
        #[serde(default)]
        tipset: Option<TipSetKey>,
    }
    let after = unix_ms().saturating_sub(LATELY);
    // what cannot be read is said where it is wanted
    if let Ok(Some(ended)) = message.json::<Ended>()
        && ended.state.is_watched()
        && ended.wanted_at > after
    {
        let Ended { epoch, tipset, .. } = ended;
        let landing = Landing { epoch, tipset };
        t.overwrite_json(MESSAGES_OPEN, message.key(), &landing)?;
    }
    Ok(())
}

/// A sector stands in the lists in which it would stand had it been written today.
fn list(t: &mut Transaction<'_>, sector: &Record) -> Result<(), StoreError> {
    if let Some(record) = readable(sector.json::<SectorRecord>())? {
        for (table, key) in lists(&record) {
            t.overwrite(table, key, [])?;
        }
    }
    Ok(())
}

/// In the list of open messages those had a value that ended on chain.
fn part(t: &mut Transaction<'_>, entry: &Record) -> Result<(), StoreError> {
    match entry.bytes() {
        Some(landing) if !landing.is_empty() => {
            t.overwrite(MESSAGES_WATCHED, entry.key(), landing)?;
            t.delete(entry)
        }
        _ => Ok(()),
    }
}

/// A message as it would have been written today.
fn divide(t: &mut Transaction<'_>, message: &Record) -> Result<(), StoreError> {
    if let Some(record) = readable(message.json::<MessageRecord>())? {
        let (small, body) = bodies::divided(&record);
        let seen = t.get(BODIES, message.key())?;
        bodies::put(t, &seen, &record, &body)?;
        t.put_json(message, &small)?;
    }
    Ok(())
}

/// A sector as it would have been written today. When it was over was not noted: the last that
/// was heard of it is taken for that.
fn take_proof(t: &mut Transaction<'_>, sector: &Record) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Older {
        proof: Option<OlderProof>,
    }
    #[derive(Deserialize)]
    struct OlderProof {
        bytes: Base64,
    }
    let Some(mut record) = readable(sector.json::<SectorRecord>())? else {
        return Ok(());
    };
    if !record.in_work() {
        let over = record.reported_at.unwrap_or(record.allocated_at);
        t.overwrite(OVER, keys::over(over, record.id), [])?;
    }
    let older = readable(sector.json::<Older>())?.and_then(|older| older.proof);
    if let (Some(older), Some(proof)) = (older, &mut record.proof) {
        *proof = Proof::of(&older.bytes.0, proof.carriage.clone());
        if record.in_work() || record.finalized {
            t.overwrite(PROOFS, sector.key(), older.bytes.0)?;
        }
        t.put_json(sector, &record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Commitment;
    use crate::{db::Db, messages::tests::intent, model::MessageId};
    use damocles_kv::{Durability, Store};
    use damocles_types::{SealProof, SectorId, SectorSize};
    use std::path::Path;

    /// The database of a program of that version.
    fn older(dir: &Path, version: usize) -> Store {
        let schema = Schema {
            migrations: &SCHEMA.migrations[..version - 1],
            ..SCHEMA
        };
        Store::open(dir, &schema).unwrap()
    }

    fn write(store: &Store, mut body: impl FnMut(&mut Transaction<'_>) -> Result<(), StoreError>) {
        let done: Result<(), StoreError> = store.transact(Durability::Synced, |t| body(t));
        done.unwrap();
    }

    /// As the version before the watch left them: in no list.
    #[test]
    fn what_ended_lately_under_an_older_version_is_watched_again() {
        let home = tempfile::tempdir().unwrap();
        let store = older(home.path(), 1);
        let ended = |state, wanted_at| {
            let mut record = intent().record(MessageId::new());
            (record.state, record.wanted_at, record.epoch) = (state, wanted_at, Some(7));
            let key = keys::message(record.id);
            write(&store, |t| t.insert_json(MESSAGES, key.clone(), &record));
            record.id
        };
        let now = unix_ms();
        let landed = ended(MessageState::Landed, now);
        let failed = ended(MessageState::Failed, now - LATELY / 2);
        ended(MessageState::Landed, now - 2 * LATELY);
        ended(MessageState::Rejected, now);
        drop(store);
        let db = Db::open(home.path()).unwrap();
        let watched = db.watched_messages(None).unwrap();
        let mut ids: Vec<_> = watched.iter().map(|watched| watched.id).collect();
        ids.sort();
        let mut want = [landed, failed];
        want.sort();
        assert_eq!(ids, want);
        assert!(watched.iter().all(|watched| watched.epoch == Some(7)));
        assert!(db.open_messages().unwrap().is_empty());
    }

    /// More of them than fit into one transaction.
    #[test]
    fn sectors_of_an_older_version_are_listed_by_whether_they_are_in_work() {
        let home = tempfile::tempdir().unwrap();
        let store = older(home.path(), 3);
        write(&store, |t| {
            for number in 0..1200 {
                let id = SectorId::new(1000, number);
                let kind = SealProof::interactive(SectorSize::KiB2);
                let mut record = SectorRecord::new(id, kind, 0);
                record.online = number % 3 == 0;
                t.insert_json(SECTORS, keys::sector(id), &record)?;
            }
            t.insert(SECTORS, keys::sector(SectorId::new(1001, 1)), *b"damaged")
        });
        drop(store);
        let db = Db::open(home.path()).unwrap();
        let in_work = db.sectors(true).unwrap();
        assert_eq!(in_work.len(), 400);
        assert!(in_work.iter().all(|r| r.online));
        assert_eq!(db.sectors(false).unwrap().len(), 800);
        assert!(db.ready(Commitment::Proof, None).unwrap().is_empty());
        assert!(db.sector(SectorId::new(1001, 1)).is_err(), "it is kept");
    }

    #[test]
    fn of_the_open_messages_of_an_older_version_those_that_landed_are_watched() {
        let home = tempfile::tempdir().unwrap();
        let store = older(home.path(), 4);
        let mut open = intent().record(MessageId::new());
        let mut landed = intent().record(MessageId::new());
        open.state = MessageState::Pushed;
        (landed.state, landed.epoch) = (MessageState::Landed, Some(9));
        write(&store, |t| {
            for record in [&open, &landed] {
                t.insert_json(MESSAGES, keys::message(record.id), record)?;
            }
            t.insert(MESSAGES_OPEN, keys::message(open.id), [])?;
            let landing = Landing {
                epoch: Some(9),
                tipset: None,
            };
            t.insert_json(MESSAGES_OPEN, keys::message(landed.id), &landing)
        });
        drop(store);
        let db = Db::open(home.path()).unwrap();
        assert_eq!(db.open_messages().unwrap(), [open.clone()], "whole");
        let divided = db.read(|t| t.get(MESSAGES, &keys::message(open.id)));
        let divided: MessageRecord = divided.unwrap().json().unwrap().unwrap();
        assert!(divided.params.0.is_empty() && !open.params.0.is_empty());
        let watched = db.watched_messages(None).unwrap();
        assert_eq!(watched.len(), 1);
        assert_eq!((watched[0].id, watched[0].epoch), (landed.id, Some(9)));
    }
}
