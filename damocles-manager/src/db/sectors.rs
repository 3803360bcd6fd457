//! Sectors: numbers handed out once ever, records online and offline in one table, and the
//! list of those that wait for a message, which follows from the records.

use crate::{
    db::{
        Db, DbError, keys,
        messages::put_wanted,
        readable,
        record::{Carriage, MessageRecord, SectorRecord},
        schema::{NUMBERS, READY, SECTORS},
    },
    model::{Commitment, unix_ms},
};
use damocles_kv::{Batch, Durability, KvError};
use damocles_types::{ActorId, SealProof, SectorId, SectorNumber};
use std::ops::ControlFlow;

/// Writes a record, and what is listed because of it.
pub(in crate::db) fn put(batch: &mut Batch, record: &SectorRecord) -> Result<(), KvError> {
    batch.put_json(SECTORS, keys::sector(record.id), record)?;
    for kind in Commitment::ALL {
        let key = keys::ready(kind, record.id);
        if record.online && matches!(record.carriage(kind), Some(Carriage::Ready { .. })) {
            batch.put(READY, key, Vec::new());
        } else {
            batch.delete(READY, key);
        }
    }
    Ok(())
}

impl Db {
    /// Hands out the next number of the miner: greater than every one handed out before and
    /// than `min`, and not below what `free_from` makes of it (the first number that the chain
    /// has not seen). Counter and record go down together. None: it would be above `max`.
    pub fn allocate(
        &self,
        miner: ActorId,
        proof_type: SealProof,
        min: SectorNumber,
        max: SectorNumber,
        free_from: impl FnOnce(SectorNumber) -> Option<SectorNumber>,
    ) -> Result<Option<SectorRecord>, DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            let last: u64 = kv.get_json(NUMBERS, &keys::miner(miner))?.unwrap_or(0);
            let number = last
                .max(min)
                .checked_add(1)
                .and_then(free_from)
                .filter(|n| *n <= max);
            let Some(number) = number else {
                return Ok(None);
            };
            let record = SectorRecord::new(SectorId::new(miner, number), proof_type, unix_ms());
            batch.put_json(NUMBERS, keys::miner(miner), &number)?;
            put(batch, &record)?;
            Ok(Some(record))
        })
    }

    /// The record of a sector, online or offline.
    pub fn sector(&self, id: SectorId) -> Result<Option<SectorRecord>, DbError> {
        Ok(self.kv().get_json(SECTORS, &keys::sector(id))?)
    }

    /// The record of a sector that is online.
    ///
    /// # Errors
    /// [`DbError::NoSector`] for one that is unknown or offline.
    pub fn online(&self, id: SectorId) -> Result<SectorRecord, DbError> {
        self.sector(id)?
            .filter(|record| record.online)
            .ok_or(DbError::NoSector(id))
    }

    /// All sectors that are online, or all that are not, in the order of their names.
    pub fn sectors(&self, online: bool) -> Result<Vec<SectorRecord>, DbError> {
        let all: Vec<SectorRecord> = self.kv().scan_json(SECTORS, b"")?;
        Ok(all.into_iter().filter(|r| r.online == online).collect())
    }

    /// Changes the record of a sector with nobody else in between. An error of `change` leaves
    /// it as it is.
    ///
    /// # Errors
    /// [`DbError::NoSector`] for one that is unknown; whatever `change` says.
    pub fn change<T, E: From<DbError>>(
        &self,
        id: SectorId,
        durability: Durability,
        change: impl FnOnce(&mut SectorRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        // The store wants one error type that its own errors turn into.
        enum Stop<E> {
            Kv(KvError),
            Other(E),
        }
        impl<E> From<KvError> for Stop<E> {
            fn from(e: KvError) -> Self {
                Self::Kv(e)
            }
        }
        let done = self.kv().update(durability, |kv, batch| {
            let mut record: SectorRecord = kv
                .get_json(SECTORS, &keys::sector(id))?
                .ok_or_else(|| Stop::Other(DbError::NoSector(id).into()))?;
            let before = record.clone();
            let out = change(&mut record).map_err(Stop::Other)?;
            if record != before {
                put(batch, &record)?;
            }
            Ok(out)
        });
        done.map_err(|stop| match stop {
            Stop::Kv(e) => DbError::Kv(e).into(),
            Stop::Other(e) => e,
        })
    }

    /// The same for a sector that must be online.
    ///
    /// # Errors
    /// [`DbError::NoSector`] for one that is unknown or offline; whatever `change` says.
    pub fn change_online<T, E: From<DbError>>(
        &self,
        id: SectorId,
        durability: Durability,
        change: impl FnOnce(&mut SectorRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change(id, durability, |record| {
            if !record.online {
                return Err(DbError::NoSector(id).into());
            }
            change(record)
        })
    }

    /// Sectors whose commitment of this kind waits for a message.
    pub fn ready(&self, kind: Commitment) -> Result<Vec<SectorRecord>, DbError> {
        let mut ids = Vec::new();
        let prefix = keys::ready_kind(kind);
        self.kv().walk(READY, &prefix, &prefix, |key, _| {
            ids.extend(keys::read_sector(key));
            ControlFlow::Continue(())
        })?;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            out.extend(readable(self.kv().get_json(SECTORS, &keys::sector(id)))?);
        }
        Ok(out)
    }

    /// Stores a message that carries the commitments of its sectors, and with it that they are
    /// carried.
    ///
    /// # Errors
    /// [`DbError::Changed`] when one of them does not wait any more, or is not online: nothing
    /// is stored then.
    pub fn send_commitments(
        &self,
        kind: Commitment,
        message: &MessageRecord,
    ) -> Result<(), DbError> {
        self.kv().update(Durability::Synced, |kv, batch| {
            for id in &message.sectors {
                let record: Option<SectorRecord> = kv.get_json(SECTORS, &keys::sector(*id))?;
                let mut record = record.ok_or(DbError::NoSector(*id))?;
                // given up since it was listed: its deposit would be lost
                let online = record.online;
                match record.carriage_mut(kind) {
                    Some(carriage @ Carriage::Ready { .. }) if online => {
                        *carriage = Carriage::In {
                            message: message.id,
                        };
                    }
                    _ => return Err(DbError::Changed(*id)),
                }
                put(batch, &record)?;
            }
            Ok(put_wanted(batch, message)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::SectorSize;
    use std::{collections::BTreeSet, thread};

    const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

    fn any(n: u64) -> Option<u64> {
        Some(n)
    }

    #[test]
    fn numbers_begin_above_the_minimum_and_end_at_the_maximum() {
        let db = Db::in_memory();
        let next = |min, max| {
            db.allocate(1000, KIND, min, max, any)
                .unwrap()
                .map(|r| r.id.number)
        };
        assert_eq!(next(0, u64::MAX), Some(1));
        assert_eq!(next(0, u64::MAX), Some(2));
        assert_eq!(next(99, u64::MAX), Some(100));
        assert_eq!(next(0, 101), Some(101));
        assert_eq!(next(0, 101), None);
        assert_eq!(next(u64::MAX, u64::MAX), None, "no overflow");
        let other = db.allocate(1001, KIND, 0, 10, any).unwrap().unwrap();
        assert_eq!(other.id.number, 1, "miners count apart");
    }

    #[test]
    fn numbers_that_the_chain_has_seen_are_passed_in_one_go() {
        let db = Db::in_memory();
        let skip = |n: u64| Some(if n < 500 { 500 } else { n });
        let got = db.allocate(1000, KIND, 0, 1000, skip).unwrap().unwrap();
        assert_eq!(got.id.number, 500);
        let full = db.allocate(1000, KIND, 0, 1000, |_| None).unwrap();
        assert!(full.is_none());
        let next = db.allocate(1000, KIND, 0, 1000, any).unwrap().unwrap();
        assert_eq!(next.id.number, 501);
    }

    #[test]
    fn a_number_is_handed_out_once_even_to_many_at_a_time_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            let db = Db::open(dir.path()).unwrap();
            let askers: Vec<_> = (0..4)
                .map(|_| {
                    let db = db.clone();
                    thread::spawn(move || {
                        (0..25)
                            .map(|_| {
                                let got = db.allocate(1000, KIND, 0, u64::MAX, any).unwrap();
                                got.unwrap().id.number
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            for asker in askers {
                for number in asker.join().unwrap() {
                    assert!(seen.insert(number), "{number} was handed out twice");
                }
            }
        }
        assert_eq!(seen.len(), 200);
        assert_eq!(seen.last(), Some(&200));
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let db = Db::in_memory();
        let id = db.allocate(1000, KIND, 0, 9, any).unwrap().unwrap().id;
        let failed: Result<(), DbError> = db.change_online(id, Durability::Synced, |r| {
            r.finalized = true;
            Err(DbError::Interrupted)
        });
        assert!(matches!(failed, Err(DbError::Interrupted)));
        assert!(!db.sector(id).unwrap().unwrap().finalized);
    }

    #[test]
    fn an_offline_sector_is_not_found_online() {
        let db = Db::in_memory();
        let id = db.allocate(1000, KIND, 0, 9, any).unwrap().unwrap().id;
        db.change(id, Durability::Synced, |r| {
            r.online = false;
            Ok::<_, DbError>(())
        })
        .unwrap();
        assert!(matches!(db.online(id), Err(DbError::NoSector(_))));
        let refused: Result<(), DbError> = db.change_online(id, Durability::Synced, |_| Ok(()));
        assert!(matches!(refused, Err(DbError::NoSector(_))));
        assert_eq!(db.sectors(false).unwrap().len(), 1);
        assert!(db.sectors(true).unwrap().is_empty());
        let unknown = SectorId::new(1, 1);
        assert!(matches!(db.online(unknown), Err(DbError::NoSector(_))));
    }
}
