//! WindowPoSts: one record per miner, opening of a deadline, and batch of partitions that one
//! message proves. Unfinished ones are listed apart, so that looking for work stays cheap
//! however long the history is.

use crate::{
    db::{
        Db, DbError, keys, readable,
        record::{MessageRecord, VERSION},
        schema::{POSTS, POSTS_OPEN},
    },
    model::MessageId,
};
use damocles_flow::post::PostState;
use damocles_kv::{Batch, Durability, KvError};
use damocles_types::{ActorId, Base64, Epoch, Randomness, SectorNumber};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

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
    /// Failed attempts in a row.
    pub tries: u32,
    /// Not before this epoch is the next attempt made.
    pub retry_at: Option<Epoch>,
    /// What the last failed attempt said.
    pub error: Option<String>,
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
            tries: 0,
            retry_at: None,
            error: None,
        }
    }
}

fn window(miner: ActorId, open: Epoch) -> Vec<u8> {
    let mut key = keys::miner(miner);
    key.extend(keys::epoch(open));
    key
}

fn post_key(key: PostKey) -> Vec<u8> {
    let mut out = window(key.miner, key.open);
    out.extend(key.first.to_be_bytes());
    out
}

fn put(batch: &mut Batch, record: &PostRecord) -> Result<(), KvError> {
    let key = post_key(record.key);
    if record.state.is_final() {
        batch.delete(POSTS_OPEN, key.clone());
    } else {
        batch.put(POSTS_OPEN, key.clone(), []);
    }
    batch.put_json(POSTS, key, record)
}

impl Db {
    /// Writes the records of a window that was looked at for the first time. Partitions that a
    /// stored record of that window has already are left to that one. Returns how many records
    /// were new.
    pub fn plan_posts(&self, records: Vec<PostRecord>) -> Result<usize, DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            let mut added = 0;
            for mut record in records {
                let prefix = window(record.key.miner, record.key.open);
                let mut stored: Vec<PostRecord> = Vec::new();
                for (key, _) in kv.scan(POSTS, &prefix, usize::MAX)? {
                    stored.extend(readable(kv.get_json(POSTS, &key))?);
                }
                let taken = |p: &u64| {
                    let has = |r: &PostRecord| r.key.first == *p || r.partitions.contains(p);
                    stored.iter().any(has)
                };
                record.partitions.retain(|p| !taken(p));
                if let Some(first) = record.partitions.first() {
                    record.key.first = *first;
                    put(batch, &record)?;
                    added += 1;
                }
            }
            Ok(added)
        })
    }

    /// Writes a record as it is now.
    pub fn put_post(&self, record: &PostRecord) -> Result<(), DbError> {
        self.kv().update(Durability::Synced, |_, batch| {
            put(batch, record)?;
            Ok(())
        })
    }

    /// Writes a record together with the message that is to carry it: either both are stored
    /// or neither.
    pub fn submit_post(&self, record: &PostRecord, message: &MessageRecord) -> Result<(), DbError> {
        self.kv().update(Durability::Synced, |_, batch| {
            put(batch, record)?;
            super::messages::put_wanted(batch, message)?;
            Ok(())
        })
    }

    /// A record, if there is one.
    pub fn post(&self, key: PostKey) -> Result<Option<PostRecord>, DbError> {
        Ok(self.kv().get_json(POSTS, &post_key(key))?)
    }

    /// A miner's records that are not final, oldest window first.
    pub fn unfinished_posts(&self, miner: ActorId) -> Result<Vec<PostRecord>, DbError> {
        let open = self
            .kv()
            .scan(POSTS_OPEN, &keys::miner(miner), usize::MAX)?;
        let mut out = Vec::with_capacity(open.len());
        for (key, _) in open {
            out.extend(readable(self.kv().get_json(POSTS, &key))?);
        }
        Ok(out)
    }

    /// A miner's records, newest window first, at most `limit`.
    pub fn recent_posts(&self, miner: ActorId, limit: usize) -> Result<Vec<PostRecord>, DbError> {
        let mut found = Vec::new();
        self.kv().walk_back(POSTS, &keys::miner(miner), |key, _| {
            if found.len() == limit {
                return ControlFlow::Break(());
            }
            found.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        let mut out = Vec::with_capacity(found.len());
        for key in found {
            out.extend(self.kv().get_json(POSTS, &key)?);
        }
        Ok(out)
    }

    /// Records that landed, of windows that opened at `open` or later.
    pub fn landed_posts(&self, miner: ActorId, open: Epoch) -> Result<Vec<PostRecord>, DbError> {
        let mut keys_found = Vec::new();
        let from = window(miner, open);
        self.kv()
            .walk(POSTS, &keys::miner(miner), &from, |key, _| {
                keys_found.push(key.to_vec());
                ControlFlow::Continue(())
            })?;
        let mut out: Vec<PostRecord> = Vec::new();
        for key in keys_found {
            out.extend(readable(self.kv().get_json(POSTS, &key))?);
        }
        out.retain(|record| record.state == PostState::Landed);
        Ok(out)
    }

    /// Removes final records of windows that opened before `open`. Returns how many.
    pub fn forget_posts(&self, miner: ActorId, open: Epoch) -> Result<usize, DbError> {
        self.kv().update(Durability::Buffered, |kv, batch| {
            let end = window(miner, open);
            let prefix = keys::miner(miner);
            let mut old = Vec::new();
            kv.walk(POSTS, &prefix, &prefix, |key, _| {
                if key >= end.as_slice() {
                    return ControlFlow::Break(());
                }
                old.push(key.to_vec());
                ControlFlow::Continue(())
            })?;
            let mut forgotten = 0;
            for key in old {
                if kv.get(POSTS_OPEN, &key)?.is_none() {
                    batch.delete(POSTS, key);
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
        Ok(self.kv().scan_json(super::schema::MESSAGES, &[])?)
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
        assert_eq!(db.plan_posts(window()).unwrap(), 2);
        let mut proved = window().remove(0);
        proved.state = PostState::Proved;
        db.put_post(&proved).unwrap();
        assert_eq!(db.plan_posts(window()).unwrap(), 0);
        assert_eq!(db.post(proved.key).unwrap(), Some(proved));
        // another grouping after the operator changed the limit: nothing is proven twice, and
        // nothing is left out
        let regrouped = vec![record(1000, 60, &[1]), record(1000, 60, &[2, 4])];
        assert_eq!(db.plan_posts(regrouped).unwrap(), 1);
        let all = db.unfinished_posts(1000).unwrap();
        let partitions: Vec<_> = all.into_iter().map(|r| r.partitions).collect();
        assert_eq!(partitions, [vec![0, 1, 2], vec![3], vec![4]]);
    }

    #[test]
    fn finished_records_leave_the_list_of_work_and_stay_in_the_history() {
        let db = Db::in_memory();
        for open in [-60, 0, 60] {
            db.plan_posts(vec![record(1000, open, &[0])]).unwrap();
        }
        db.plan_posts(vec![record(1001, 60, &[0])]).unwrap();
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
