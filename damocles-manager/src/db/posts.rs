//! WindowPoSts: one record per miner, opening of a deadline, and batch of partitions that one
//! message proves. Unfinished ones are listed apart, so that looking for work stays cheap
//! however long the history is.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys,
        record::{MessageRecord, VERSION},
        schema::{POSTS, POSTS_OPEN},
    },
    model::MessageId,
};
use damocles_flow::post::PostState;
use damocles_kv::{Durability, Record, Span, StoreError, Transaction};
use damocles_types::{ActorId, Base64, Epoch, Randomness, SectorNumber};
use serde::{Deserialize, Serialize};

/// So many records are forgotten in one transaction; a window brings fewer.
const FORGOTTEN: usize = 1000;

/// Names a WindowPoSt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PostKey {
    pub miner: ActorId,
    /// First epoch of the deadline's window.
    pub open: Epoch,
    /// The batch's first partition when it was planned.
    pub first: u64,
}

/// A partition as its proof covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenPartition {
    pub index: u64,
    /// Sectors left out that are not known as faulty on chain.
    pub skipped: Vec<SectorNumber>,
}

/// A verified proof, kept until its message has landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProof {
    /// Number of the proof type on chain.
    pub kind: i64,
    pub bytes: Base64,
    pub partitions: Vec<ProvenPartition>,
}

/// Heads at which a WindowPoSt came where it did, the last time in each case; None: not yet, or a
/// record of a version that did not note it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    /// It was known that it is due.
    pub seen: Option<Epoch>,
    pub challenged: Option<Epoch>,
    /// It was known which sectors can be proven.
    pub read: Option<Epoch>,
    pub proven: Option<Epoch>,
    /// The message engine had it.
    pub submitted: Option<Epoch>,
}

impl Steps {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A WindowPoSt as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostRecord {
    pub v: u32,
    pub key: PostKey,
    pub deadline: u64,
    pub challenge: Epoch,
    /// First epoch in which no proof is taken any more.
    pub close: Epoch,
    pub partitions: Vec<u64>,
    pub state: PostState,
    /// The challenge, once drawn.
    pub randomness: Option<Randomness>,
    pub proof: Option<StoredProof>,
    /// Sectors left out, with the reason.
    pub skipped: Vec<(SectorNumber, String)>,
    pub proving_ms: Option<u64>,
    /// How far the head came meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proving_epochs: Option<Epoch>,
    /// The message that carries it; the last one, if several were needed.
    pub message: Option<MessageId>,
    pub landed_at: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
    /// The manager that took the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Failed attempts in a row.
    pub tries: u32,
    /// Not before this epoch is the next attempt made.
    pub retry_at: Option<Epoch>,
    /// What the last failed attempt said.
    pub error: Option<String>,
    /// How often it was written: who writes it must have seen the last time.
    #[serde(default)]
    pub writes: u64,
}

impl PostRecord {
    /// A batch that nothing was done for yet.
    pub fn planned(key: PostKey, deadline: u64, challenge: Epoch, close: Epoch) -> Self {
        Self {
            v: VERSION,
            key,
            deadline,
            challenge,
            close,
            partitions: Vec::new(),
            state: PostState::Waiting,
            randomness: None,
            proof: None,
            skipped: Vec::new(),
            proving_ms: None,
            proving_epochs: None,
            message: None,
            landed_at: None,
            steps: Steps::default(),
            by: None,
            tries: 0,
            retry_at: None,
            error: None,
            writes: 0,
        }
    }
}

pub(in crate::db) fn post_key(key: PostKey) -> Vec<u8> {
    let mut out = keys::opening(key.miner, key.open);
    out.extend(key.first.to_be_bytes());
    out
}

/// Whether it stands in the list of those that are not final. Pure.
pub(in crate::db) fn is_listed(record: &PostRecord) -> bool {
    !record.state.is_final()
}

/// Writes a record in the place of what was seen there.
fn put(t: &mut Transaction<'_>, seen: &Record, record: &PostRecord) -> Result<(), StoreError> {
    if is_listed(record) {
        t.overwrite(POSTS_OPEN, seen.key(), [])?;
    } else {
        t.erase(POSTS_OPEN, seen.key())?;
    }
    t.put_json(seen, record)
}

/// The record with one more write, if nobody has written it since the caller saw it.
fn next(t: &mut Transaction<'_>, record: &PostRecord) -> Result<(Record, PostRecord), DbError> {
    let seen = t.get(POSTS, &post_key(record.key))?;
    let stored: Option<PostRecord> = seen.json()?;
    if stored.is_some_and(|stored| stored.writes != record.writes) {
        return Err(DbError::PostChanged {
            miner: record.key.miner,
            open: record.key.open,
        });
    }
    let writes = record.writes + 1;
    Ok((
        seen,
        PostRecord {
            writes,
            ..record.clone()
        },
    ))
}

impl Db {
    /// Writes the records of a window that was looked at for the first time. Partitions that a
    /// stored record of that window has already are left to that one. Returns how many records
    /// were new.
    pub fn plan_posts(&self, records: &[PostRecord]) -> Result<usize, DbError> {
        self.write(Durability::Synced, |t| {
            let mut added = 0;
            for record in records {
                let mut record = record.clone();
                let prefix = keys::opening(record.key.miner, record.key.open);
                let mut stored: Vec<PostRecord> = Vec::new();
                for seen in t.scan(POSTS, &Span::prefix(prefix), usize::MAX)? {
                    stored.extend(readable(seen.json())?);
                }
                let taken = |p: &u64| {
                    let has = |r: &PostRecord| r.key.first == *p || r.partitions.contains(p);
                    stored.iter().any(has)
                };
                record.partitions.retain(|p| !taken(p));
                if let Some(first) = record.partitions.first() {
                    record.key.first = *first;
                    let seen = t.get(POSTS, &post_key(record.key))?;
                    put(t, &seen, &record)?;
                    added += 1;
                }
            }
            Ok(added)
        })
    }

    /// Writes a record, which the caller has changed since it saw it, and returns it as it is
    /// now.
    ///
    /// # Errors
    /// [`DbError::PostChanged`] when somebody else has written it meanwhile.
    pub fn put_post(&self, record: &PostRecord) -> Result<PostRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = next(t, record)?;
            put(t, &seen, &record)?;
            Ok(record)
        })
    }

    /// Writes a record together with the message that is to carry it: either both are stored
    /// or neither.
    ///
    /// # Errors
    /// [`DbError::PostChanged`] when somebody else has written it meanwhile.
    pub fn submit_post(&self, record: &PostRecord, message: &MessageRecord) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = next(t, record)?;
            put(t, &seen, &record)?;
            super::messages::put_wanted(t, message)?;
            Ok(())
        })
    }

    /// A record, if there is one.
    pub fn post(&self, key: PostKey) -> Result<Option<PostRecord>, DbError> {
        self.read(|t| Ok(t.get_json(POSTS, &post_key(key))?))
    }

    /// A miner's records that are not final, oldest window first.
    pub fn unfinished_posts(&self, miner: ActorId) -> Result<Vec<PostRecord>, DbError> {
        let span = Span::prefix(keys::miner(miner));
        self.listed_in(POSTS_OPEN, span, POSTS, |entry| Some(entry.key().to_vec()))
    }

    /// A miner's records, newest window first, at most `limit`.
    pub fn recent_posts(&self, miner: ActorId, limit: usize) -> Result<Vec<PostRecord>, DbError> {
        self.read(|t| {
            let span = Span::prefix(keys::miner(miner)).backwards();
            let found = t.scan(POSTS, &span, limit)?;
            let mut out = Vec::with_capacity(found.len());
            for seen in found {
                out.extend(seen.json()?);
            }
            Ok(out)
        })
    }

    /// Records that landed, of windows that opened at `open` or later.
    pub fn landed_posts(&self, miner: ActorId, open: Epoch) -> Result<Vec<PostRecord>, DbError> {
        let span = Span::prefix(keys::miner(miner)).from(keys::opening(miner, open));
        let landed = |r: &PostRecord| r.state == PostState::Landed;
        self.all_of(
            POSTS,
            span,
            |seen| Ok(readable(seen.json())?.filter(landed)),
        )
    }

    /// Removes final records of windows that opened before `open`, so many at a time. Returns
    /// how many.
    pub fn forget_posts(&self, miner: ActorId, open: Epoch) -> Result<usize, DbError> {
        self.write(Durability::Buffered, |t| {
            let span = Span::prefix(keys::miner(miner)).below(keys::opening(miner, open));
            let mut forgotten = 0;
            let all = t.scan(POSTS, &span, FORGOTTEN)?;
            let keys: Vec<_> = all.iter().map(|seen| seen.key().to_vec()).collect();
            let open = t.get_all(POSTS_OPEN, &keys)?;
            for (seen, open) in all.iter().zip(open) {
                if !open.exists() {
                    t.delete(seen)?;
                    forgotten += 1;
                }
            }
            Ok(forgotten)
        })
    }
}

#[cfg(test)]
impl Db {
    /// Every message that was ever wanted, oldest first.
    pub(crate) fn every_message(&self) -> Result<Vec<MessageRecord>, DbError> {
        let about = super::pages::nothing_else;
        self.paged(super::schema::MESSAGES, Span::all(), about, |t, seen| {
            let small: Option<MessageRecord> = seen.json()?;
            Ok(small
                .map(|small| super::bodies::whole(t, small))
                .transpose()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(miner: ActorId, open: Epoch, partitions: &[u64]) -> PostRecord {
        let key = PostKey {
            miner,
            open,
            first: partitions[0],
        };
        PostRecord {
            partitions: partitions.to_vec(),
            ..PostRecord::planned(key, 1, open - 20, open + 60)
        }
    }

    #[test]
    fn planning_twice_writes_once() {
        let db = Db::in_memory();
        let window = || vec![record(1000, 60, &[0, 1, 2]), record(1000, 60, &[3])];
        assert_eq!(db.plan_posts(&window()).unwrap(), 2);
        let mut proved = window().remove(0);
        proved.state = PostState::Proved;
        let stale = proved.clone();
        let proved = db.put_post(&proved).unwrap();
        assert!(matches!(
            db.put_post(&stale),
            Err(DbError::PostChanged { open: 60, .. })
        ));
        assert_eq!(db.plan_posts(&window()).unwrap(), 0);
        assert_eq!(db.post(proved.key).unwrap(), Some(proved));
        // another grouping after the operator changed the limit: nothing is proven twice, and
        // nothing is left out
        let regrouped = vec![record(1000, 60, &[1]), record(1000, 60, &[2, 4])];
        assert_eq!(db.plan_posts(&regrouped).unwrap(), 1);
        let all = db.unfinished_posts(1000).unwrap();
        let partitions: Vec<_> = all.into_iter().map(|r| r.partitions).collect();
        assert_eq!(partitions, [vec![0, 1, 2], vec![3], vec![4]]);
    }

    #[test]
    fn finished_records_leave_the_list_of_work_and_stay_in_the_history() {
        let db = Db::in_memory();
        for open in [-60, 0, 60] {
            db.plan_posts(&[record(1000, open, &[0])]).unwrap();
        }
        db.plan_posts(&[record(1001, 60, &[0])]).unwrap();
        let mut done = record(1000, 0, &[0]);
        done.state = PostState::Landed;
        db.put_post(&done).unwrap();
        let opens = |records: Vec<PostRecord>| -> Vec<Epoch> {
            records.iter().map(|r| r.key.open).collect()
        };
        assert_eq!(opens(db.unfinished_posts(1000).unwrap()), [-60, 60]);
        assert_eq!(opens(db.recent_posts(1000, 2).unwrap()), [60, 0]);
        assert_eq!(opens(db.recent_posts(1000, 9).unwrap()), [60, 0, -60]);
        // unfinished ones are never forgotten
        assert_eq!(db.forget_posts(1000, 60).unwrap(), 1);
        assert_eq!(opens(db.recent_posts(1000, 9).unwrap()), [60, -60]);
        assert_eq!(db.recent_posts(1001, 9).unwrap().len(), 1);
    }
}
