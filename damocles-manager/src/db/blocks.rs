//! Blocks that miners won the right to make: one record per miner and epoch, and what became of all
//! the other rounds as counts. Here it is decided whether a block may be signed: what is stored of
//! the miner's blocks decides, in the transaction that stores this one as to be signed.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys,
        record::VERSION,
        schema::{BLOCKS, ROUNDS},
    },
    model::UnixMs,
};
use damocles_flow::{
    block::{BlockEvent, BlockFlow, BlockState},
    table::Table,
};
use damocles_kv::{Durability, Record, Span, StoreError, Transaction};
use damocles_node::{BlockMsg, TipSetKey};
use damocles_types::{ActorId, Epoch};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

/// So many records are forgotten in one transaction; an epoch brings one of a miner at most.
const FORGOTTEN: usize = 1000;
/// Unfinished blocks are looked for among so many: they are finished some epochs later.
const LATELY: usize = 100;

/// Why a block that was won did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString)]
pub enum Lost {
    /// The challenged sector was not read in time, or not at all.
    SlowRead,
    /// The proof was not there in time.
    SlowProof,
    /// The node did not answer in time.
    NodeLate,
    /// This manager was stopped in the middle.
    Stopped,
    /// The miner made another block with which this one would be a consensus fault.
    Fault,
}

/// Milliseconds from the start of a round to the end of each step; None: it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The node told power, sectors and beacon.
    pub base: Option<u64>,
    /// Election proof and ticket were there.
    pub elected: Option<u64>,
    /// The challenged sector was read.
    pub read: Option<u64>,
    pub proven: Option<u64>,
    /// The messages were chosen.
    pub chosen: Option<u64>,
    /// The block was made and signed.
    pub made: Option<u64>,
    pub sent: Option<u64>,
}

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    pub v: u32,
    pub miner: ActorId,
    /// The epoch of the block.
    pub height: Epoch,
    /// The tipset that it builds upon, and its epoch.
    pub parents: TipSetKey,
    pub base: Epoch,
    /// How often the round was won; 0: nobody knows, the time was over before.
    pub wins: i64,
    pub state: BlockState,
    /// Whether a signature may exist: then no other block of this epoch may ever be signed.
    pub asked: bool,
    /// The signed block; dropped when it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockMsg>,
    /// Its name on chain.
    #[serde(default, with = "damocles_node::wire")]
    pub cid: Option<cid::Cid>,
    pub lost: Option<Lost>,
    /// What went wrong last, as a sentence.
    pub error: Option<String>,
    pub times: Times,
    /// When the round began.
    pub began_at: UnixMs,
    /// The manager that took the last step.
    pub by: String,
    /// How often it was written: who writes it must have seen the last time.
    pub writes: u64,
}

impl BlockRecord {
    /// A round that was won.
    pub fn won(miner: ActorId, height: Epoch, (parents, base): (TipSetKey, Epoch)) -> Self {
        Self {
            v: VERSION,
            miner,
            height,
            parents,
            base,
            wins: 0,
            state: BlockFlow::START,
            asked: false,
            block: None,
            cid: None,
            lost: None,
            error: None,
            times: Times::default(),
            began_at: 0,
            by: String::new(),
            writes: 0,
        }
    }

    /// Takes the record along an edge of the table; None: there is none. Does not store it.
    #[must_use]
    pub fn step(self, event: BlockEvent) -> Option<Self> {
        let state = BlockFlow::next(self.state, event)?;
        let block = self.block.filter(|_| !state.is_final());
        Some(Self {
            state,
            block,
            asked: self.asked || state == BlockState::Signing,
            ..self
        })
    }
}

/// Whether a block may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaySign {
    /// Yes; it is stored that it is.
    Yes(Box<BlockRecord>),
    /// Another block of this miner, at that epoch, would make it a consensus fault.
    Fault { with: Epoch, why: &'static str },
}

/// What became of a miner's rounds, as far as nothing else is kept of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rounds {
    pub v: u32,
    /// The first round that is counted, and the last one.
    pub since: Epoch,
    pub last: Epoch,
    /// All that were tried.
    pub tried: u64,
    /// The miner had no sector to be proven, or might make no blocks.
    pub not_eligible: u64,
    /// The election was lost, which is the rule.
    pub not_won: u64,
    /// The time was over before the election was known.
    pub late: u64,
    /// The blocks that a miner of this power could expect in these rounds.
    pub expected: f64,
}

/// Which consensus fault two blocks of a miner are together, if any (Lotus
/// `chain/gen/slashfilter`). Pure.
fn faults(other: &BlockRecord, new: &BlockRecord) -> Option<&'static str> {
    if !other.asked {
        return None;
    }
    // one whose bytes never came here was sent by nobody
    let left_out = other.cid.is_some_and(|cid| !new.parents.0.contains(&cid));
    if other.height == new.height {
        Some("it has a block of this epoch already (double-fork mining)")
    } else if other.parents == new.parents {
        Some("it has a block on the same parents already (time-offset mining)")
    } else if other.height == new.base && left_out {
        Some(
            "it has a block of the epoch of the parents, which is not among them (parent grinding)",
        )
    } else {
        None
    }
}

/// The record with one more write, if nobody has written it since the caller saw it.
fn next(t: &mut Transaction<'_>, record: &BlockRecord) -> Result<(Record, BlockRecord), DbError> {
    let seen = t.get(BLOCKS, &keys::opening(record.miner, record.height))?;
    let stored: Option<BlockRecord> = seen.json()?;
    if stored.map_or(0, |stored| stored.writes) != record.writes {
        return Err(DbError::BlockChanged {
            miner: record.miner,
            height: record.height,
        });
    }
    let record = BlockRecord {
        writes: record.writes + 1,
        ..record.clone()
    };
    Ok((seen, record))
}

impl Db {
    /// Writes a record, which the caller has changed since it saw it or begins, and returns it as it
    /// is now.
    ///
    /// # Errors
    /// [`DbError::BlockChanged`] when somebody else has written it meanwhile.
    pub fn put_block(&self, record: &BlockRecord) -> Result<BlockRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = next(t, record)?;
            t.put_json(&seen, &record)?;
            Ok(record)
        })
    }

    /// Stores that a block is to be signed, unless another one of the miner makes it a consensus
    /// fault. Once this has returned the epoch is used up, whatever happens.
    ///
    /// # Errors
    /// [`DbError::BlockChanged`] when somebody else has written it meanwhile.
    pub fn may_sign(&self, record: &BlockRecord) -> Result<MaySign, DbError> {
        self.write(Durability::Synced, |t| {
            // another block of this epoch, or on these parents, lies above the parents; the one of
            // their epoch is the lowest that matters
            let from = keys::opening(record.miner, record.base);
            let span = Span::prefix(keys::miner(record.miner)).from(from);
            for seen in t.scan(BLOCKS, &span, usize::MAX)? {
                let Some(other) = seen.json::<BlockRecord>()? else {
                    continue;
                };
                if let Some(why) = faults(&other, record) {
                    let with = other.height;
                    return Ok(MaySign::Fault { with, why });
                }
            }
            let (seen, record) = next(t, record)?;
            let Some(record) = record.step(BlockEvent::Ask) else {
                return Ok(MaySign::Fault {
                    with: seen.json::<BlockRecord>()?.map_or(0, |r| r.height),
                    why: "its round is over",
                });
            };
            t.put_json(&seen, &record)?;
            Ok(MaySign::Yes(Box::new(record)))
        })
    }

    /// The record of an epoch, if there is one.
    pub fn block(&self, miner: ActorId, height: Epoch) -> Result<Option<BlockRecord>, DbError> {
        self.read(|t| Ok(t.get_json(BLOCKS, &keys::opening(miner, height))?))
    }

    /// A miner's blocks, newest first, at most `limit`.
    pub fn recent_blocks(&self, miner: ActorId, limit: usize) -> Result<Vec<BlockRecord>, DbError> {
        self.read(|t| {
            let span = Span::prefix(keys::miner(miner)).backwards();
            let mut out = Vec::new();
            for seen in t.scan(BLOCKS, &span, limit)? {
                out.extend(readable::<BlockRecord>(seen.json())?);
            }
            Ok(out)
        })
    }

    /// A miner's blocks that are not final, newest first.
    pub fn unfinished_blocks(&self, miner: ActorId) -> Result<Vec<BlockRecord>, DbError> {
        let mut lately = self.recent_blocks(miner, LATELY)?;
        lately.retain(|record| !record.state.is_final());
        Ok(lately)
    }

    /// Removes blocks of epochs before `height`, so many at a time.
    pub fn forget_blocks(&self, miner: ActorId, height: Epoch) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let span = Span::prefix(keys::miner(miner)).below(keys::opening(miner, height));
            for seen in t.scan(BLOCKS, &span, FORGOTTEN)? {
                t.delete(&seen)?;
            }
            Ok(())
        })
    }

    /// What became of a miner's rounds.
    pub fn rounds(&self, miner: ActorId) -> Result<Rounds, DbError> {
        self.read(|t| {
            let known: Option<Rounds> = t.get_json(ROUNDS, &keys::miner(miner))?;
            Ok(known.unwrap_or_default())
        })
    }

    /// Counts one more round.
    pub fn count_round(
        &self,
        miner: ActorId,
        height: Epoch,
        count: impl Fn(&mut Rounds),
    ) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let seen = t.get(ROUNDS, &keys::miner(miner))?;
            let mut rounds: Rounds = seen.json()?.unwrap_or_else(|| Rounds {
                v: VERSION,
                since: height,
                ..Rounds::default()
            });
            rounds.last = height;
            rounds.tried += 1;
            count(&mut rounds);
            t.put_json(&seen, &rounds)?;
            Ok::<_, StoreError>(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
