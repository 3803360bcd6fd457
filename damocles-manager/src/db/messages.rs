//! Messages: stored before they leave, followed until nothing more can happen to them.

use crate::{
    db::{
        Db, DbError, bodies,
        damaged::readable,
        keys,
        listed::leave_chain,
        pages::Wanted,
        record::{GasRecord, Landing, LostAttempt, MessageRecord},
        schema::{BODIES, LOOKED, MESSAGES, MESSAGES_OPEN, MESSAGES_WATCHED, SECTOR_MESSAGES},
        spent,
    },
    model::{MessageId, MessageKind},
};
use damocles_api::lists::Page;
use damocles_flow::{
    message::{MessageEvent, MessageFlow},
    table::Table as _,
};
use damocles_kv::{Durability, Record, Span, StoreError, Table, Transaction};
use damocles_node::{SignedMessage, TipSetKey};
use damocles_types::{ActorId, Epoch, SectorId};
use fvm_shared::address::Address;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a message that ended on chain without reading all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub id: MessageId,
    pub epoch: Option<Epoch>,
    pub tipset: Option<TipSetKey>,
}

/// The records of a message as a transaction saw them.
pub(in crate::db) struct SeenMessage {
    small: Record,
    body: Record,
}

/// The records of a message, and what they say; none if there is none.
pub(in crate::db) fn seen_message(
    t: &mut Transaction<'_>,
    id: MessageId,
) -> Result<(SeenMessage, Option<MessageRecord>), StoreError> {
    let key = keys::message(id);
    let (small, body) = (t.get(MESSAGES, &key)?, t.get(BODIES, &key)?);
    let record: Option<MessageRecord> = small.json()?;
    let record = record.map(|record| bodies::joined(record, &body));
    Ok((SeenMessage { small, body }, record.transpose()?))
}

/// Stores a wanted message in the transaction of whoever wants it.
pub(in crate::db) fn put_wanted(
    t: &mut Transaction<'_>,
    record: &MessageRecord,
) -> Result<(), StoreError> {
    for sector in &record.sectors {
        let key = keys::sector_message(*sector, record.id);
        t.overwrite(SECTOR_MESSAGES, key, [])?;
    }
    let (seen, _) = seen_message(t, record.id)?;
    put(t, &seen, record)
}

/// The list in which a message stands, and what it says there. Pure.
pub(in crate::db) fn listed(record: &MessageRecord) -> Option<(Table, Option<Landing>)> {
    if record.state.is_watched() {
        let landing = Landing {
            epoch: record.epoch,
            tipset: record.tipset.clone(),
        };
        return Some((MESSAGES_WATCHED, Some(landing)));
    }
    (!record.state.is_final()).then_some((MESSAGES_OPEN, None))
}

/// The lists of which a message stands in one at most.
pub(in crate::db) const LISTS: [Table; 2] = [MESSAGES_OPEN, MESSAGES_WATCHED];

/// Writes a message in the place of what was seen there, and what is listed because of it.
pub(in crate::db) fn put(
    t: &mut Transaction<'_>,
    seen: &SeenMessage,
    record: &MessageRecord,
) -> Result<(), StoreError> {
    let (key, listed) = (keys::message(record.id), listed(record));
    let list = listed.as_ref().map(|(list, _)| *list);
    if list != Some(MESSAGES_OPEN) {
        t.erase(LOOKED, key.clone())?;
    }
    for other in LISTS.into_iter().filter(|other| Some(*other) != list) {
        t.erase(other, key.clone())?;
    }
    match listed {
        Some((list, Some(landing))) => t.overwrite_json(list, key, &landing)?,
        Some((list, None)) => t.overwrite(list, key, [])?,
        None => {}
    }
    let (small, body) = bodies::divided(record);
    bodies::put(t, &seen.body, record, &body)?;
    t.put_json(&seen.small, &small)
}

/// Looks at every message that is on its way, without its large parts.
fn each_open(t: &mut Transaction<'_>, mut look: impl FnMut(MessageRecord)) -> Result<(), DbError> {
    /// Records that are read at a time.
    const SOME: usize = 200;
    let mut span = Span::all();
    loop {
        let entries = t.scan(MESSAGES_OPEN, &span, SOME)?;
        let keys: Vec<_> = entries.iter().map(|entry| entry.key().to_vec()).collect();
        for seen in t.get_all(MESSAGES, &keys)? {
            let small: Option<MessageRecord> = readable(seen.json())?;
            small.into_iter().for_each(&mut look);
        }
        match entries.last().filter(|_| entries.len() == SOME) {
            Some(entry) => span = span.after(entry.key()),
            None => return Ok(()),
        }
    }
}

/// The highest nonce of the sender's messages that are on their way.
fn last_nonce(t: &mut Transaction<'_>, from: &Address) -> Result<Option<u64>, DbError> {
    let mut last = None;
    each_open(t, |m| last = last.max(m.nonce.filter(|_| m.from == *from)))?;
    Ok(last)
}

/// The messages on their way that are like that.
fn open_like(
    t: &mut Transaction<'_>,
    like: impl Fn(&MessageRecord) -> bool,
) -> Result<Vec<MessageId>, DbError> {
    let mut all = Vec::new();
    each_open(t, |m| all.extend(like(&m).then_some(m.id)))?;
    Ok(all)
}

impl Db {
    /// Stores a wanted message that nothing else goes with. One with the same id is left as it
    /// is, and comes back.
    pub fn want(&self, record: MessageRecord) -> Result<MessageRecord, DbError> {
        self.write(Durability::Synced, |t| {
            if let (_, Some(known)) = seen_message(t, record.id)? {
                return Ok(known);
            }
            put_wanted(t, &record)?;
            Ok(record.clone())
        })
    }

    /// The same, but for one that says just what another does that is on its way: its id comes back.
    pub fn want_once(&self, record: MessageRecord) -> Result<MessageId, DbError> {
        let says = |m: &MessageRecord| (m.kind, m.from, m.to, m.method, m.value.clone());
        self.write(Durability::Synced, |t| {
            if seen_message(t, record.id)?.1.is_some() {
                return Ok(record.id);
            }
            for open in open_like(t, |m| says(m) == says(&record))? {
                let whole = seen_message(t, open)?.1;
                if whole.is_some_and(|m| m.params == record.params) {
                    return Ok(open);
                }
            }
            put_wanted(t, &record)?;
            Ok(record.id)
        })
    }

    /// What a person ordered of that miner's actor and is on its way, without its large parts.
    pub fn open_orders(&self, miner: ActorId) -> Result<Vec<MessageRecord>, DbError> {
        self.load(MESSAGES_OPEN, b"", false, |m| {
            m.kind == MessageKind::ActorOrder && m.miner == miner
        })
    }

    /// The message of that id.
    pub fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, DbError> {
        self.read(|t| Ok(seen_message(t, id)?.1))
    }

    /// These messages, as far as they are there, without their large parts.
    pub fn messages_briefly(
        &self,
        ids: &[MessageId],
    ) -> Result<BTreeMap<MessageId, MessageRecord>, DbError> {
        self.read(|t| {
            let keys: Vec<_> = ids.iter().map(|id| keys::message(*id)).collect();
            let mut found = BTreeMap::new();
            for (id, seen) in ids.iter().zip(t.get_all(MESSAGES, &keys)?) {
                let record: Option<MessageRecord> = readable(seen.json())?;
                found.extend(record.map(|record| (*id, record)));
            }
            Ok(found)
        })
    }

    /// All messages that are on their way, oldest first. Those that ended and are watched are not
    /// among them.
    pub fn open_messages(&self) -> Result<Vec<MessageRecord>, DbError> {
        self.load(MESSAGES_OPEN, b"", true, |_| true)
    }

    /// The same without their large parts.
    pub fn open_messages_briefly(&self) -> Result<Vec<MessageRecord>, DbError> {
        self.load(MESSAGES_OPEN, b"", false, |_| true)
    }

    /// All messages of one sender that are on their way, oldest first.
    pub fn open_messages_of(&self, from: Address) -> Result<Vec<MessageRecord>, DbError> {
        self.load(MESSAGES_OPEN, b"", true, |m| m.from == from)
    }

    /// Who sends messages that are on their way.
    pub fn senders(&self) -> Result<BTreeSet<Address>, DbError> {
        let open = self.open_messages_briefly()?;
        Ok(open.into_iter().map(|m| m.from).collect())
    }

    /// Who sent messages that ended on chain and are not final yet.
    pub fn watched_senders(&self) -> Result<BTreeSet<Address>, DbError> {
        let senders = self.listed_in(MESSAGES_WATCHED, Span::all(), MESSAGES, |entry| {
            keys::read_message(entry.key()).map(keys::message)
        })?;
        let senders = senders.into_iter().map(|m: MessageRecord| m.from);
        Ok(senders.collect())
    }

    /// All messages that ended on chain and are not final yet; of one sender, if one is given.
    pub fn watched_messages(&self, from: Option<Address>) -> Result<Vec<Watched>, DbError> {
        let named = |entry: &Record| keys::read_message(entry.key()).map(keys::message);
        let about = |entry: &Record| from.and(named(entry)).map(|key| (MESSAGES, key));
        self.paged(MESSAGES_WATCHED, Span::all(), about, |t, entry| {
            if let (Some(from), Some(key)) = (from, named(entry)) {
                let record: Option<MessageRecord> = readable(t.get_json(MESSAGES, &key))?;
                if record.is_none_or(|record| record.from != from) {
                    return Ok(None);
                }
            }
            // what cannot be read is said where the message is wanted
            let landing = entry.bytes().and_then(|v| serde_json::from_slice(v).ok());
            let watched = |(id, Landing { epoch, tipset })| Watched { id, epoch, tipset };
            Ok(keys::read_message(entry.key()).zip(landing).map(watched))
        })
    }

    /// Notes up to which heads messages were looked for and not found.
    pub fn put_looked(&self, looked: &[(MessageId, Epoch)]) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            for (id, head) in looked {
                let seen = t.get(LOOKED, &keys::message(*id))?;
                if seen.json::<Epoch>()? != Some(*head) {
                    t.put_json(&seen, head)?;
                }
            }
            Ok(())
        })
    }

    /// The head up to which a message was looked for and not found. None: it was not looked for,
    /// or it is not in the pool of the node any more.
    pub fn looked_at(&self, id: MessageId) -> Result<Option<Epoch>, DbError> {
        self.read(|t| Ok(t.get_json(LOOKED, &keys::message(id))?))
    }

    /// Whether there is any of those.
    pub fn watches_messages(&self) -> Result<bool, DbError> {
        self.read(|t| Ok(!t.scan(MESSAGES_WATCHED, &Span::all(), 1)?.is_empty()))
    }

    /// A page of all messages, or of those that are on their way, newest first, without their
    /// large parts: those that `keep` keeps.
    pub fn messages_page(
        &self,
        open: bool,
        want: &Wanted,
        keep: impl Fn(&MessageRecord) -> bool,
    ) -> Result<Page<MessageRecord>, DbError> {
        let list = if open { MESSAGES_OPEN } else { MESSAGES };
        let about = |entry: &Record| open.then(|| (MESSAGES, entry.key().to_vec()));
        self.page(list, Span::all().backwards(), want, about, |t, entry| {
            let record = if open {
                readable(t.get_json(MESSAGES, entry.key()))?
            } else {
                readable(entry.json())?
            };
            Ok(record.filter(&keep))
        })
    }

    /// All messages that carry or carried the sector, oldest first, without their large parts.
    pub fn messages_of(&self, sector: SectorId) -> Result<Vec<MessageRecord>, DbError> {
        self.load(SECTOR_MESSAGES, &keys::sector(sector), false, |_| true)
    }

    fn load(
        &self,
        list: Table,
        prefix: &[u8],
        whole: bool,
        keep: impl Fn(&MessageRecord) -> bool,
    ) -> Result<Vec<MessageRecord>, DbError> {
        let about = |entry: &Record| {
            let id = keys::read_message(entry.key())?;
            Some((MESSAGES, keys::message(id)))
        };
        let mut out = self.paged(list, Span::prefix(prefix), about, |t, entry| {
            let Some(id) = keys::read_message(entry.key()) else {
                return Ok(None);
            };
            let small: Option<MessageRecord> = readable(t.get_json(MESSAGES, &keys::message(id)))?;
            match small.filter(&keep) {
                Some(small) if whole => Ok(Some(bodies::whole(t, small)?)),
                small => Ok(small),
            }
        })?;
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
        learn: impl Fn(&mut MessageRecord),
    ) -> Result<MessageRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = seen_message(t, id)?;
            let mut record = record.ok_or(DbError::NoMessage(id))?;
            let (state, paid) = (record.state, record.paid.clone());
            record.state =
                MessageFlow::next(state, event).ok_or(DbError::IllegalStep { id, state, event })?;
            // A step forward ends the row of failed attempts at the one before.
            record.tries = 0;
            record.retry_at = None;
            record.error = None;
            record.failing_since = None;
            learn(&mut record);
            put(t, &seen, &record)?;
            spent::count(t, paid.as_ref(), &record)?;
            if matches!(
                event,
                MessageEvent::Unpack
                    | MessageEvent::Fail
                    | MessageEvent::Lose
                    | MessageEvent::Refuse
            ) {
                leave_chain(t, &record)?;
            }
            Ok(record)
        })
    }

    /// Signs a wanted message and stores it with its nonce: the one that it has, or else the
    /// sender's next, which is `least` unless others of his messages on their way have that or
    /// later ones. What was signed under the nonce before is remembered, for it may have left.
    /// `sign` gets message and nonce, gives fees and bytes, and may be called again; where it
    /// gives none, nothing is changed.
    pub fn sign_message(
        &self,
        id: MessageId,
        least: u64,
        head: Epoch,
        sign: impl Fn(&MessageRecord, u64) -> Option<(GasRecord, SignedMessage)>,
    ) -> Result<Option<MessageRecord>, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = seen_message(t, id)?;
            let mut record = record.ok_or(DbError::NoMessage(id))?;
            let (state, event) = (record.state, MessageEvent::Push);
            if MessageFlow::next(state, event).is_none() {
                return Err(DbError::IllegalStep { id, state, event });
            }
            let nonce = match record.nonce {
                Some(nonce) => nonce,
                None => last_nonce(t, &record.from)?.map_or(least, |last| least.max(last + 1)),
            };
            let Some((gas, signed)) = sign(&record, nonce) else {
                return Ok(None);
            };
            let cid = signed.cid();
            let before = record.cid.replace(cid).filter(|before| *before != cid);
            record.lost.retain(|lost| lost.cid != cid);
            record.lost.extend(before.map(|cid| LostAttempt {
                cid,
                nonce,
                at: head,
            }));
            record.nonce = Some(nonce);
            record.gas = Some(gas);
            record.signed = Some(signed);
            record.pushed_at.get_or_insert(head);
            put(t, &seen, &record)?;
            Ok(Some(record))
        })
    }

    /// Notes something about a message that stays in its state.
    pub fn note_message(
        &self,
        id: MessageId,
        note: impl Fn(&mut MessageRecord),
    ) -> Result<MessageRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = seen_message(t, id)?;
            let mut record = record.ok_or(DbError::NoMessage(id))?;
            let (state, paid) = (record.state, record.paid.clone());
            note(&mut record);
            record.state = state;
            put(t, &seen, &record)?;
            spent::count(t, paid.as_ref(), &record)?;
            Ok(record)
        })
    }
}
