//! Messages: stored before they leave, followed until nothing more can happen to them.

use crate::{
    db::{
        Db, DbError, keys,
        listed::leave_chain,
        readable,
        record::{Landing, MessageRecord},
        schema::{MESSAGES, MESSAGES_OPEN, SECTOR_MESSAGES},
    },
    model::MessageId,
};
use damocles_flow::{
    message::{MessageEvent, MessageFlow},
    table::Table as _,
};
use damocles_kv::{Batch, Durability, KvError};
use damocles_node::TipSetKey;
use damocles_types::{Epoch, SectorId};
use std::ops::ControlFlow;

/// What is known of a message that ended on chain without reading all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub id: MessageId,
    pub epoch: Option<Epoch>,
    pub tipset: Option<TipSetKey>,
}

/// Adds a wanted message to the batch of whoever wants it, so that the two are stored together.
pub(in crate::db) fn put_wanted(batch: &mut Batch, record: &MessageRecord) -> Result<(), KvError> {
    for sector in &record.sectors {
        let key = keys::sector_message(*sector, record.id);
        batch.put(SECTOR_MESSAGES, key, Vec::new());
    }
    put(batch, record)
}

pub(in crate::db) fn put(batch: &mut Batch, record: &MessageRecord) -> Result<(), KvError> {
    let key = keys::message(record.id);
    match record.state {
        state if state.is_watched() => {
            let landing = Landing {
                epoch: record.epoch,
                tipset: record.tipset.clone(),
            };
            batch.put_json(MESSAGES_OPEN, key, &landing)?;
        }
        state if state.is_final() => batch.delete(MESSAGES_OPEN, key),
        _ => batch.put(MESSAGES_OPEN, key, Vec::new()),
    }
    batch.put_json(MESSAGES, keys::message(record.id), record)
}

impl Db {
    /// Stores a wanted message that nothing else goes with. One with the same id is left as it
    /// is, and comes back.
    pub fn want(&self, record: MessageRecord) -> Result<MessageRecord, DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            if let Some(known) = kv.get_json(MESSAGES, &keys::message(record.id))? {
                return Ok(known);
            }
            put_wanted(batch, &record)?;
            Ok(record)
        })
    }

    /// The message of that id.
    pub fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, DbError> {
        Ok(self.kv().get_json(MESSAGES, &keys::message(id))?)
    }

    /// All messages that are on their way, oldest first. Those that ended and are watched are not
    /// among them.
    pub fn open_messages(&self) -> Result<Vec<MessageRecord>, DbError> {
        self.load(MESSAGES_OPEN, b"")
    }

    /// All messages that ended on chain and are not final yet.
    pub fn watched_messages(&self) -> Result<Vec<Watched>, DbError> {
        let mut out = Vec::new();
        self.kv().walk(MESSAGES_OPEN, b"", b"", |key, value| {
            if let (Some(id), Ok(landing)) = (
                keys::read_message(key),
                serde_json::from_slice::<Landing>(value),
            ) {
                let Landing { epoch, tipset } = landing;
                out.push(Watched { id, epoch, tipset });
            }
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }

    /// Whether there is any of those.
    pub fn watches_messages(&self) -> Result<bool, DbError> {
        let mut any = false;
        self.kv().walk(MESSAGES_OPEN, b"", b"", |_, value| {
            any = !value.is_empty();
            if any {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(any)
    }

    /// All messages that carry or carried the sector, oldest first.
    pub fn messages_of(&self, sector: SectorId) -> Result<Vec<MessageRecord>, DbError> {
        self.load(SECTOR_MESSAGES, &keys::sector(sector))
    }

    fn load(&self, list: damocles_kv::Table, prefix: &[u8]) -> Result<Vec<MessageRecord>, DbError> {
        let mut ids = Vec::new();
        self.kv().walk(list, prefix, prefix, |key, value| {
            // in the list of open ones those that landed have a value
            if value.is_empty() {
                ids.extend(keys::read_message(key));
            }
            ControlFlow::Continue(())
        })?;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            out.extend(readable(self.kv().get_json(MESSAGES, &keys::message(id)))?);
        }
        // An id that was derived from something else does not tell its time.
        out.sort_by_key(|m: &MessageRecord| m.wanted_at);
        Ok(out)
    }

    /// Takes a message one step further in the table of its life, with what was learnt. Finished
    /// sectors of one that is not on chain any more are not told as finished from then on.
    ///
    /// # Errors
    /// [`DbError::IllegalStep`] when the table has no such step from where the message stands.
    pub fn step_message(
        &self,
        id: MessageId,
        event: MessageEvent,
        learn: impl FnOnce(&mut MessageRecord),
    ) -> Result<MessageRecord, DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            let record: Option<MessageRecord> = kv.get_json(MESSAGES, &keys::message(id))?;
            let mut record = record.ok_or(DbError::NoMessage(id))?;
            let state = record.state;
            record.state =
                MessageFlow::next(state, event).ok_or(DbError::IllegalStep { id, state, event })?;
            // A step forward ends the row of failed attempts at the one before.
            record.tries = 0;
            record.retry_at = None;
            record.error = None;
            record.failing_since = None;
            learn(&mut record);
            put(batch, &record)?;
            if matches!(
                event,
                MessageEvent::Unpack
                    | MessageEvent::Fail
                    | MessageEvent::Lose
                    | MessageEvent::Refuse
            ) {
                leave_chain(kv, batch, &record)?;
            }
            Ok(record)
        })
    }

    /// Notes something about a message that stays in its state.
    pub fn note_message(
        &self,
        id: MessageId,
        note: impl FnOnce(&mut MessageRecord),
    ) -> Result<MessageRecord, DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            let record: Option<MessageRecord> = kv.get_json(MESSAGES, &keys::message(id))?;
            let mut record = record.ok_or(DbError::NoMessage(id))?;
            let state = record.state;
            note(&mut record);
            record.state = state;
            put(batch, &record)?;
            Ok(record)
        })
    }
}
