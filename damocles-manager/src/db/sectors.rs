//! Sectors: numbers handed out once ever, records online and offline in one table, and the
//! lists that follow from the records: which wait for a message, which request got which.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys,
        listed::{put, seen_sector},
        messages::{self, put_wanted, seen_message},
        owner::Speaker,
        pages::Wanted,
        record::{Carriage, Claimant, MessageRecord, SectorRecord},
        schema::{DONE, IN_WORK, NUMBERS, REQUESTS, SECTORS},
        strays::{FRESH_MS, above_strays, is_known},
    },
    model::{Commitment, MessageId, UnixMs, unix_ms},
};
use damocles_api::{caller::Caller, lists::Page};
use damocles_flow::{
    message::{MessageEvent, MessageFlow, MessageState},
    table::Table as _,
};
use damocles_kv::{Durability, Record, Span, StoreError, Table, Transaction};
use damocles_types::{ActorId, SealProof, SectorId, SectorNumber};

impl Db {
    /// [`Self::allocate_for`] a request without an id.
    pub fn allocate(
        &self,
        miner: ActorId,
        proof_type: SealProof,
        min: SectorNumber,
        max: SectorNumber,
        free_from: impl Fn(SectorNumber) -> Option<SectorNumber>,
    ) -> Result<Option<SectorRecord>, DbError> {
        self.allocate_for(None, miner, proof_type, min, max, free_from)
    }

    /// Hands out the next number of the miner: greater than every one handed out before, than
    /// every one that was heard of, and than `min`, and not below what `free_from` makes of it
    /// (the first number that the chain has not seen). Counter, record and request go down
    /// together. A request whose sector is online gets that one again. None: it would be above
    /// `max`.
    ///
    /// # Errors
    /// [`DbError::NotOwner`] when another one's request has that id.
    pub fn allocate_for(
        &self,
        request: Option<&str>,
        miner: ActorId,
        proof_type: SealProof,
        min: SectorNumber,
        max: SectorNumber,
        free_from: impl Fn(SectorNumber) -> Option<SectorNumber>,
    ) -> Result<Option<SectorRecord>, DbError> {
        let handed_out = self.write(Durability::Synced, |t| {
            if let Some(record) = self.requested_in(t, request)? {
                return Ok(Some(record));
            }
            let counter = t.get(NUMBERS, &keys::miner(miner))?;
            let last = counter.json::<u64>()?.unwrap_or(0);
            let last = last.max(min).max(self.highest(miner));
            let last = above_strays(t, miner, last, max)?;
            let mut next = last.checked_add(1).and_then(&free_from);
            while let Some(number) = next.filter(|n| *n <= max) {
                let id = SectorId::new(miner, number);
                if is_known(t, id)? {
                    next = number.checked_add(1).and_then(&free_from);
                    continue;
                }
                let mut record = SectorRecord::new(id, proof_type, unix_ms());
                record.owner = self
                    .speaker
                    .caller()
                    .filter(|c| !c.location.is_empty())
                    .cloned();
                if let Some(request) = request {
                    record.request = Some(request.to_owned());
                    let open = t.get(REQUESTS, request.as_bytes())?;
                    t.put_json(&open, &id)?;
                }
                t.put_json(&counter, &number)?;
                let (seen, _) = seen_sector(t, id)?;
                put(t, &seen, None, &record)?;
                return Ok(Some(record));
            }
            Ok::<_, DbError>(None)
        })?;
        if let Some(record) = &handed_out {
            self.handed_out(miner, record.id.number);
        }
        Ok(handed_out)
    }

    /// The sector that a request with this id got, while it is online.
    ///
    /// # Errors
    /// [`DbError::NotOwner`] when it is another one's.
    pub fn requested(&self, request: &str) -> Result<Option<SectorRecord>, DbError> {
        self.read(|t| self.requested_in(t, Some(request)))
    }

    fn requested_in(
        &self,
        t: &mut Transaction<'_>,
        request: Option<&str>,
    ) -> Result<Option<SectorRecord>, DbError> {
        let Some(request) = request else {
            return Ok(None);
        };
        let Some(id) = t.get_json::<SectorId>(REQUESTS, request.as_bytes())? else {
            return Ok(None);
        };
        let record: Option<SectorRecord> = t.get_json(SECTORS, &keys::sector(id))?;
        let Some(mut record) = record.filter(|r| r.online) else {
            return Ok(None);
        };
        self.admit(&mut record)?;
        Ok(Some(record))
    }

    /// Whether the speaker may act on the sector; notes in the record that it has it now.
    fn admit(&self, record: &mut SectorRecord) -> Result<(), DbError> {
        self.speaker
            .admitted(record)
            .map_err(|refused| DbError::NotOwner {
                sector: record.id,
                taken: refused.taken,
                owner: Box::new(refused.owner),
            })
    }

    /// Notes who wants a sector that another one has. True: it is news.
    pub fn note_claimant(
        &self,
        sector: SectorId,
        caller: Option<Caller>,
        now: UnixMs,
    ) -> Result<bool, DbError> {
        self.change(sector, Durability::Buffered, |record| {
            let same = |c: &Claimant| c.caller == caller && now.saturating_sub(c.at) < FRESH_MS;
            if record.claimant.as_ref().is_some_and(same) {
                return Ok(false);
            }
            let news = record.claimant.as_ref().is_none_or(|c| c.caller != caller);
            record.claimant = Some(Claimant {
                caller: caller.clone(),
                at: now,
            });
            Ok::<_, DbError>(news)
        })
    }

    /// The record of a sector, online or offline.
    pub fn sector(&self, id: SectorId) -> Result<Option<SectorRecord>, DbError> {
        self.read(|t| Ok(t.get_json(SECTORS, &keys::sector(id))?))
    }

    /// The record of a sector, which must have one.
    ///
    /// # Errors
    /// [`DbError::Unknown`]; [`DbError::NotOwner`].
    pub fn known(&self, id: SectorId) -> Result<SectorRecord, DbError> {
        let mut record = self.sector(id)?.ok_or(DbError::Unknown(id))?;
        self.admit(&mut record)?;
        Ok(record)
    }

    /// The record of a sector that is online.
    ///
    /// # Errors
    /// [`DbError::Unknown`]; [`DbError::NoSector`] for one that is offline; [`DbError::NotOwner`].
    pub fn online(&self, id: SectorId) -> Result<SectorRecord, DbError> {
        let record = self.known(id)?;
        if record.online {
            Ok(record)
        } else {
            Err(DbError::NoSector(id))
        }
    }

    /// Refuses who may not act on the sector, inside the transaction that is about to do so.
    /// The manager itself may do anything.
    pub(in crate::db) fn guard(
        &self,
        t: &mut Transaction<'_>,
        id: SectorId,
    ) -> Result<(), DbError> {
        if matches!(self.speaker, Speaker::Manager) {
            return Ok(());
        }
        let record: Option<SectorRecord> = t.get_json(SECTORS, &keys::sector(id))?;
        self.admit(&mut record.ok_or(DbError::Unknown(id))?)
    }

    /// All sectors that are in work, or all that are not, in the order of their names.
    pub fn sectors(&self, in_work: bool) -> Result<Vec<SectorRecord>, DbError> {
        let list = if in_work { IN_WORK } else { DONE };
        self.listed(list, b"")
    }

    /// A page of the sectors that are in work, or of those that are not, in the order of their
    /// names, of a miner or of all: those that `keep` keeps.
    pub fn sectors_page(
        &self,
        in_work: bool,
        miner: Option<ActorId>,
        want: &Wanted,
        keep: impl Fn(&SectorRecord) -> bool,
    ) -> Result<Page<SectorRecord>, DbError> {
        let list = if in_work { IN_WORK } else { DONE };
        let span = Span::prefix(miner.map(keys::miner).unwrap_or_default());
        let about = |entry: &Record| {
            let id = keys::read_sector(entry.key())?;
            Some((SECTORS, keys::sector(id)))
        };
        self.page(list, span, want, about, |t, entry| {
            let Some(id) = keys::read_sector(entry.key()) else {
                return Ok(None);
            };
            let record: Option<SectorRecord> = readable(t.get_json(SECTORS, &keys::sector(id)))?;
            Ok(record.filter(&keep))
        })
    }

    /// Changes the record of a sector with nobody else in between. An error of `change` leaves
    /// it as it is.
    ///
    /// # Errors
    /// [`DbError::Unknown`]; [`DbError::NotOwner`]; whatever `change` says.
    pub fn change<T, E: From<DbError>>(
        &self,
        id: SectorId,
        durability: Durability,
        mut change: impl FnMut(&mut SectorRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_in(id, durability, |_, record| change(record))
    }

    /// The same together with what else `change` does in the transaction.
    pub(in crate::db) fn change_in<T, E: From<DbError>>(
        &self,
        id: SectorId,
        durability: Durability,
        mut change: impl FnMut(&mut Transaction<'_>, &mut SectorRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        // The store wants one error type that its own errors turn into.
        enum Stop<E> {
            Db(DbError),
            Other(E),
        }
        impl<E> From<DbError> for Stop<E> {
            fn from(e: DbError) -> Self {
                Self::Db(e)
            }
        }
        impl<E> From<StoreError> for Stop<E> {
            fn from(e: StoreError) -> Self {
                Self::Db(e.into())
            }
        }
        let done = self.write(durability, |t| {
            let (seen, before) = seen_sector(t, id)?;
            let before = before.ok_or(DbError::Unknown(id))?;
            let mut record = before.clone();
            self.admit(&mut record)?;
            let out = change(t, &mut record).map_err(Stop::Other)?;
            if record != before {
                put(t, &seen, Some(&before), &record)?;
            }
            if before.online
                && !record.online
                && let Some(request) = &record.request
            {
                t.erase(REQUESTS, request.as_bytes())?;
            }
            Ok(out)
        });
        done.map_err(|stop| match stop {
            Stop::Db(e) => e.into(),
            Stop::Other(e) => e,
        })
    }

    /// The same for a sector that must be online.
    ///
    /// # Errors
    /// [`DbError::NoSector`] for one that is offline; whatever [`Self::change`] says.
    pub fn change_online<T, E: From<DbError>>(
        &self,
        id: SectorId,
        durability: Durability,
        mut change: impl FnMut(&mut SectorRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change(id, durability, |record| {
            if !record.online {
                return Err(DbError::NoSector(id).into());
            }
            change(record)
        })
    }

    /// The sectors of a list, a page at a time: each page is of one moment.
    pub(in crate::db) fn listed(
        &self,
        list: Table,
        prefix: &[u8],
    ) -> Result<Vec<SectorRecord>, DbError> {
        self.listed_in(list, Span::prefix(prefix), SECTORS, |entry| {
            keys::read_sector(entry.key()).map(keys::sector)
        })
    }

    /// Stores a message that carries the commitments of its sectors, and with it that they are
    /// carried.
    ///
    /// # Errors
    /// [`DbError::Changed`] when one of them does not wait any more, or is not in work: nothing
    /// is stored then.
    pub fn send_commitments(
        &self,
        kind: Commitment,
        message: &MessageRecord,
    ) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            for id in &message.sectors {
                let (seen, before) = seen_sector(t, *id)?;
                let before = before.ok_or(DbError::Unknown(*id))?;
                let mut record = before.clone();
                // given up since it was listed: its deposit would be lost
                let in_work = record.in_work();
                match record.carriage_mut(kind) {
                    Some(carriage @ Carriage::Ready { .. }) if in_work => {
                        *carriage = Carriage::In {
                            message: message.id,
                        };
                    }
                    _ => return Err(DbError::Changed(*id)),
                }
                put(t, &seen, Some(&before), &record)?;
            }
            put_wanted(t, message)?;
            Ok(())
        })
    }

    /// Those of the sectors that were given up.
    pub fn given_up(&self, sectors: &[SectorId]) -> Result<Vec<SectorId>, DbError> {
        let mut out = Vec::new();
        for id in sectors {
            let record = self.sector(*id)?;
            out.extend(
                record
                    .filter(|r| r.fate().aborted_by.is_some())
                    .map(|r| r.id),
            );
        }
        Ok(out)
    }

    /// Ends a wanted message that has not left, if sectors of it were given up; the others wait
    /// for a message again. Returns those that were given up: none, and nothing is changed.
    pub fn withdraw_message(&self, id: MessageId) -> Result<Vec<SectorId>, DbError> {
        self.write(Durability::Synced, |t| {
            let (at, message) = seen_message(t, id)?;
            let mut message = message.ok_or(DbError::NoMessage(id))?;
            let Some(kind) = message.kind.commitment() else {
                return Ok(Vec::new());
            };
            let mut given_up = Vec::new();
            let mut others = Vec::new();
            for sector in &message.sectors {
                match seen_sector(t, *sector)? {
                    (_, Some(r)) if r.fate().aborted_by.is_some() => given_up.push(r.id),
                    (seen, Some(r)) if r.in_work() => others.push((seen, r)),
                    _ => {}
                }
            }
            let state = message.state;
            if given_up.is_empty() || state != MessageState::Wanted || message.has_left() {
                return Ok(Vec::new());
            }
            for (seen, before) in others {
                let mut record = before.clone();
                if let Some(carriage) = record.carriage_mut(kind)
                    && *carriage == (Carriage::In { message: id })
                {
                    *carriage = Carriage::Ready {
                        since: unix_ms(),
                        alone: false,
                        error: None,
                    };
                    put(t, &seen, Some(&before), &record)?;
                }
            }
            let event = MessageEvent::Refuse;
            message.state =
                MessageFlow::next(state, event).ok_or(DbError::IllegalStep { id, state, event })?;
            message.error =
                Some("withdrawn before it was sent: a sector of it was given up".into());
            message.retry_at = None;
            messages::put(t, &at, &message)?;
            Ok(given_up)
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
            // what passes them over when their records are gone
            let highest = db.highest_numbers().unwrap();
            assert_eq!(highest.get(&1000), seen.last());
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
        assert!(matches!(db.online(unknown), Err(DbError::Unknown(_))));
    }

    fn worker(store: &str) -> Caller {
        Caller {
            worker: "w".into(),
            location: format!("/{store}"),
            store: store.into(),
        }
    }

    #[test]
    fn a_request_that_is_repeated_gets_the_same_sector_over_a_restart_and_burns_no_number() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |db: &Db, request: &str| {
            let got = db.allocate_for(Some(request), 1000, KIND, 0, 99, any);
            got.unwrap().unwrap().id
        };
        let first = {
            let db = Db::open(dir.path()).unwrap().for_worker(Some(worker("a")));
            let first = ask(&db, "one");
            assert_eq!(ask(&db, "one"), first);
            assert_ne!(ask(&db, "two"), first);
            first
        };
        let plain = Db::open(dir.path()).unwrap();
        let db = plain.for_worker(Some(worker("a")));
        assert_eq!(ask(&db, "one"), first);
        assert_eq!(db.requested("one").unwrap().unwrap().id, first);
        assert_eq!(plain.sectors(true).unwrap().len(), 2);
        // another's request is not answered with this one's sector
        let other = plain.for_worker(Some(worker("b")));
        let refused = other.allocate_for(Some("one"), 1000, KIND, 0, 99, any);
        assert!(matches!(refused, Err(DbError::NotOwner { .. })));
        // once the sector is over, the id is free, and what comes then is not forgotten with it
        let give_up = |id| {
            plain.change(id, Durability::Synced, |r| {
                r.online = false;
                Ok::<_, DbError>(())
            })
        };
        give_up(first).unwrap();
        assert!(db.requested("one").unwrap().is_none());
        let again = ask(&db, "one");
        assert_ne!(again, first);
        give_up(first).unwrap();
        assert_eq!(ask(&db, "one"), again);
    }

    #[test]
    fn the_owner_is_asked_inside_the_transaction() {
        let plain = Db::in_memory();
        let (mine, other) = (worker("a"), worker("b"));
        let db = plain.for_worker(Some(mine.clone()));
        let id = db.allocate(1000, KIND, 0, 99, any).unwrap().unwrap().id;
        let change = |db: &Db| db.change_online(id, Durability::Synced, |_| Ok::<_, DbError>(()));
        let taken = |db: Db| matches!(change(&db), Err(DbError::NotOwner { .. }));
        change(&db).unwrap();
        assert!(taken(plain.for_worker(Some(other.clone()))));
        assert!(taken(plain.for_worker(None)));
        assert!(plain.for_worker(Some(other.clone())).online(id).is_err());
        // a person takes it away: the next other one has it, the former one not any more
        plain
            .change(id, Durability::Synced, |r| {
                r.taken_from = r.owner.take();
                Ok::<_, DbError>(())
            })
            .unwrap();
        assert!(taken(db.clone()));
        change(&plain.for_worker(Some(other.clone()))).unwrap();
        assert!(taken(db));
        let record = plain.sector(id).unwrap().unwrap();
        assert_eq!((record.owner, record.taken_from), (Some(other), None));
    }
}
