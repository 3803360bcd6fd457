//! Faulty sectors that are declared recovered: one record per miner and opening of a deadline that
//! has some. It is stored together with the messages that it names, so that there is never one
//! without the other.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys,
        record::{MessageRecord, VERSION},
        schema::RECOVERIES,
    },
    model::MessageId,
};
use damocles_flow::recovery::RecoveryState;
use damocles_kv::{Durability, Record, Span, Transaction};
use damocles_types::{ActorId, Epoch, SectorNumber};
use serde::{Deserialize, Serialize};

/// So many records are forgotten in one transaction; a proving period brings 48 at most.
const FORGOTTEN: usize = 1000;

/// Sectors of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    pub partition: u64,
    pub sectors: Vec<SectorNumber>,
}

/// A message, and what it declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    pub message: MessageId,
    pub partitions: Vec<Recovered>,
}

/// What is recovered of a deadline, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    pub v: u32,
    pub miner: ActorId,
    /// First epoch of the deadline's window, in which the sectors are to be proven again.
    pub open: Epoch,
    pub deadline: u64,
    /// First epoch in which its faulty sectors are looked at.
    pub from: Epoch,
    /// First epoch in which no declaration is taken any more.
    pub cutoff: Epoch,
    pub state: RecoveryState,
    /// The last messages that were sent.
    pub declared: Vec<Declaration>,
    /// Sectors that stay faulty, with the reason.
    pub faulty: Vec<(SectorNumber, String)>,
    /// Failed attempts in a row.
    pub tries: u32,
    /// Not before this epoch is the next attempt made.
    pub retry_at: Option<Epoch>,
    /// What the last failed attempt said.
    pub error: Option<String>,
    /// How often it was written: who writes it must have seen the last time.
    pub writes: u64,
}

impl RecoveryRecord {
    /// A deadline whose faulty sectors nobody has looked at yet.
    pub fn begun(
        miner: ActorId,
        deadline: u64,
        open: Epoch,
        (from, cutoff): (Epoch, Epoch),
    ) -> Self {
        Self {
            v: VERSION,
            miner,
            open,
            deadline,
            from,
            cutoff,
            state: RecoveryState::Looking,
            declared: Vec::new(),
            faulty: Vec::new(),
            tries: 0,
            retry_at: None,
            error: None,
            writes: 0,
        }
    }
}

/// The record with one more write, if nobody has written it since the caller saw it.
fn next(
    t: &mut Transaction<'_>,
    record: &RecoveryRecord,
) -> Result<(Record, RecoveryRecord), DbError> {
    let seen = t.get(RECOVERIES, &keys::opening(record.miner, record.open))?;
    let stored: Option<RecoveryRecord> = seen.json()?;
    if stored.map_or(0, |stored| stored.writes) != record.writes {
        return Err(DbError::RecoveryChanged {
            miner: record.miner,
            open: record.open,
        });
    }
    let writes = record.writes + 1;
    let record = RecoveryRecord {
        writes,
        ..record.clone()
    };
    Ok((seen, record))
}

impl Db {
    /// Writes a record, which the caller has changed since it saw it or begins, together with the
    /// messages that are to carry what it declares: either all are stored or nothing. Returns the
    /// record as it is now.
    ///
    /// # Errors
    /// [`DbError::RecoveryChanged`] when somebody else has written it meanwhile.
    pub fn put_recovery(
        &self,
        record: &RecoveryRecord,
        messages: &[MessageRecord],
    ) -> Result<RecoveryRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, record) = next(t, record)?;
            t.put_json(&seen, &record)?;
            for message in messages {
                super::messages::put_wanted(t, message)?;
            }
            Ok(record)
        })
    }

    /// The record of an opening, if there is one.
    pub fn recovery(&self, miner: ActorId, open: Epoch) -> Result<Option<RecoveryRecord>, DbError> {
        self.read(|t| Ok(t.get_json(RECOVERIES, &keys::opening(miner, open))?))
    }

    /// A miner's records of windows that open at `open` or later, the oldest first.
    pub fn recoveries(&self, miner: ActorId, open: Epoch) -> Result<Vec<RecoveryRecord>, DbError> {
        let span = Span::prefix(keys::miner(miner)).from(keys::opening(miner, open));
        self.all_of(RECOVERIES, span, |seen| Ok(readable(seen.json())?))
    }

    /// Removes records of windows that opened before `open`, so many at a time.
    pub fn forget_recoveries(&self, miner: ActorId, open: Epoch) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let span = Span::prefix(keys::miner(miner)).below(keys::opening(miner, open));
            for seen in t.scan(RECOVERIES, &span, FORGOTTEN)? {
                t.delete(&seen)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::tests::intent;

    #[test]
    fn a_declaration_and_its_messages_are_stored_once_or_not_at_all() {
        let db = Db::in_memory();
        let begun = RecoveryRecord::begun(1000, 1, 60, (-70, -10));
        let stored = db.put_recovery(&begun, &[]).unwrap();
        let message = intent().record(MessageId::new());
        let mut declared = stored.clone();
        declared.state = RecoveryState::Declared;
        declared.declared.push(Declaration {
            message: message.id,
            partitions: vec![Recovered {
                partition: 0,
                sectors: vec![7],
            }],
        });
        let message = std::slice::from_ref(&message);
        let now = db.put_recovery(&declared, message).unwrap();
        assert_eq!(db.recovery(1000, 60).unwrap(), Some(now));
        // who saw it before, another manager or a start over
        let other = intent().record(MessageId::new());
        for stale in [&begun, &declared] {
            let refused = db.put_recovery(stale, std::slice::from_ref(&other));
            assert!(
                matches!(refused, Err(DbError::RecoveryChanged { open: 60, .. })),
                "{refused:?}"
            );
        }
        assert_eq!(db.open_messages().unwrap(), message);
    }

    #[test]
    fn records_are_found_by_their_opening_and_forgotten() {
        let db = Db::in_memory();
        for (miner, open) in [(1000, 300), (1000, -60), (1000, 60), (1001, 60)] {
            let begun = RecoveryRecord::begun(miner, 1, open, (open - 130, open - 70));
            db.put_recovery(&begun, &[]).unwrap();
        }
        let opens = |from| -> Vec<Epoch> {
            let all = db.recoveries(1000, from).unwrap();
            all.into_iter().map(|r| r.open).collect()
        };
        assert_eq!(opens(-100), [-60, 60, 300]);
        assert_eq!(opens(60), [60, 300]);
        db.forget_recoveries(1000, 60).unwrap();
        assert_eq!(opens(-100), [60, 300]);
        assert_eq!(db.recoveries(1001, 0).unwrap().len(), 1);
    }
}
