//! What goes of the history after a while.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys, proofs,
        record::{MessageRecord, SectorRecord},
        schema::{BODIES, DONE, ENDED, MESSAGES, OVER, PROOFS, SECTORS, TIMELINES},
    },
    model::UnixMs,
};
use damocles_kv::{Durability, Span};

impl Db {
    /// Forgets the large parts of at most `limit` messages that nothing can happen to any more and
    /// that were wanted before that time, or of fewer that carry as many sectors. How many it were.
    pub fn forget_bodies(&self, before: UnixMs, limit: usize) -> Result<usize, DbError> {
        self.write(Durability::Buffered, |t| {
            let span = Span::all().below(before.to_be_bytes());
            let old = t.scan(ENDED, &span, limit)?;
            let ids = old.iter().filter_map(|e| keys::read_message(e.key()));
            let names: Vec<_> = ids.map(keys::message).collect();
            t.ahead(MESSAGES, &names)?;
            let (mut forgotten, mut sectors) = (0, 0);
            for entry in &old {
                if let Some(id) = keys::read_message(entry.key()) {
                    t.erase(BODIES, keys::message(id))?;
                    let message: Option<MessageRecord> =
                        readable(t.get_json(MESSAGES, &keys::message(id)))?;
                    if let Some(message) = message {
                        proofs::forget(t, &message)?;
                        sectors += message.sectors.len();
                    }
                }
                t.delete(entry)?;
                forgotten += 1;
                if sectors >= limit {
                    break;
                }
            }
            Ok(forgotten)
        })
    }

    /// Forgets the timelines, and proofs that are still kept, of at most `limit` sectors that were
    /// finished or given up before that time, and have not been in work again since. How many it
    /// were.
    pub fn forget_timelines(&self, before: UnixMs, limit: usize) -> Result<usize, DbError> {
        let span = Span::all().below(before.to_be_bytes());
        let old = self.read(|t| Ok::<_, DbError>(t.scan(OVER, &span, limit)?))?;
        for entry in &old {
            // one by one: a sector that failed often has a long one
            self.write(Durability::Buffered, |t| {
                if let Some(id) = keys::read_sector(entry.key()) {
                    let record: Option<SectorRecord> =
                        readable(t.get_json(SECTORS, &keys::sector(id)))?;
                    let last = t.get(DONE, &keys::sector(id))?;
                    let last = last.bytes().filter(|since| !since.is_empty());
                    let is_last = last.is_none_or(|since| entry.key().starts_with(since));
                    // of one that cannot be read nothing follows
                    if is_last && record.is_some_and(|record| !record.in_work()) {
                        let of_sector = Span::prefix(keys::sector(id));
                        for attempt in t.scan(TIMELINES, &of_sector, usize::MAX)? {
                            t.delete(&attempt)?;
                        }
                        // also one that no message of ours has brought
                        t.erase(PROOFS, keys::sector(id))?;
                    }
                }
                Ok::<_, DbError>(t.erase(OVER, entry.key())?)
            })?;
        }
        Ok(old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::record::{Carriage, LeftChain},
        messages::tests::intent,
        model::{Commitment, MessageId, MessageKind, unix_ms},
    };
    use damocles_api::timeline::TimelineEntry;
    use damocles_flow::message::MessageEvent;
    use damocles_types::{SealProof, SectorId, SectorSize};

    #[test]
    fn large_parts_lie_apart_and_go_when_nothing_can_happen_any_more() {
        let db = Db::in_memory();
        let wanted = |at| {
            let mut record = intent().record(MessageId::new());
            record.wanted_at = at;
            record.params = vec![7; 5000].into();
            db.want(record).unwrap()
        };
        let (old, young, open) = (wanted(10), wanted(30), wanted(10));
        for message in [&old, &young] {
            let refused = db.step_message(message.id, MessageEvent::Refuse, |_| {});
            assert!(refused.unwrap().state.is_final());
        }
        let size = |record: &MessageRecord| {
            let key = keys::message(record.id);
            let read = db.read(|t| t.get(MESSAGES, &key));
            read.unwrap().bytes().unwrap().len()
        };
        assert!(size(&open) < 1500, "{}", size(&open));
        assert_eq!(db.message(open.id).unwrap(), Some(open.clone()));
        assert_eq!(db.open_messages().unwrap(), std::slice::from_ref(&open));

        assert_eq!(db.forget_bodies(20, 10).unwrap(), 1);
        assert_eq!(db.forget_bodies(20, 10).unwrap(), 0, "once");
        let left = db.message(old.id).unwrap().unwrap();
        assert_eq!((left.id, left.params.0.len()), (old.id, 0));
        let kept = |id| db.message(id).unwrap().unwrap().params.0.len();
        assert_eq!((kept(young.id), kept(open.id)), (5000, 5000));
        // what is written of it later does not bring an empty body
        db.note_message(old.id, |m| m.error = Some("why".into()))
            .unwrap();
        assert_eq!(db.message(old.id).unwrap().unwrap().params.0.len(), 0);
        assert_eq!(db.forget_bodies(20, 10).unwrap(), 1);
    }

    fn sector(db: &Db) -> SectorId {
        let kind = SealProof::interactive(SectorSize::KiB2);
        let given = db.allocate(1000, kind, 0, 100, Some).unwrap().unwrap();
        given.id
    }

    fn finish(db: &Db, id: SectorId) {
        let done = db.change(id, Durability::Synced, |record| {
            (record.online, record.finalized) = (false, true);
            Ok::<_, DbError>(())
        });
        done.unwrap();
    }

    fn waits() -> Carriage {
        Carriage::Ready {
            since: 1,
            alone: false,
            error: None,
        }
    }

    #[test]
    fn a_proof_goes_with_the_message_that_brought_it_when_its_sector_is_over() {
        let db = Db::in_memory();
        let (over, sealing, given_up) = (sector(&db), sector(&db), sector(&db));
        for id in [over, sealing, given_up] {
            db.put_proof(id, None, &[7; 192], &waits()).unwrap();
            assert_eq!(db.proof(id).unwrap(), Some(vec![7; 192]));
        }
        let mut message = intent().record(MessageId::new());
        message.kind = MessageKind::ProveCommit;
        (message.sectors, message.wanted_at) = (vec![over, sealing], 10);
        db.send_commitments(Commitment::Proof, &message).unwrap();
        for event in [MessageEvent::Push, MessageEvent::Land, MessageEvent::Settle] {
            db.step_message(message.id, event, |_| {}).unwrap();
        }
        finish(&db, over);
        let done = db.change(given_up, Durability::Synced, |record| {
            record.online = false;
            Ok::<_, DbError>(())
        });
        done.unwrap();
        assert_eq!(db.proof(given_up).unwrap(), None, "nobody will send it");

        assert_eq!(db.forget_bodies(20, 10).unwrap(), 1);
        assert_eq!(db.proof(over).unwrap(), None);
        assert!(db.proof(sealing).unwrap().is_some(), "it is in work");
        let record = db.sector(over).unwrap().unwrap();
        assert!(record.proof.is_some_and(|proof| proof.is_of(&[7; 192])));
        let kept = db.proofs(&[over, sealing, given_up]).unwrap();
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), [sealing]);
    }

    fn attempt(seq: u64) -> TimelineEntry {
        TimelineEntry {
            seq,
            state: "PC1Done".into(),
            stage: "PC2".into(),
            queued_at: 1,
            started_at: None,
            ended_at: None,
            child: None,
            kernel: None,
            ending: None,
        }
    }

    #[test]
    fn a_timeline_goes_some_time_after_its_sector_was_over() {
        let db = Db::in_memory();
        let (over, again, sealing) = (sector(&db), sector(&db), sector(&db));
        for id in [over, again, sealing] {
            let both = [attempt(1), attempt(2)];
            db.put_timeline(id, "w", &both).unwrap();
        }
        finish(&db, over);
        finish(&db, again);
        let left = db.change(again, Durability::Synced, |record| {
            record.left_chain = Some(LeftChain {
                since: 1,
                why: "a branch".into(),
                stays: false,
            });
            Ok::<_, DbError>(())
        });
        left.unwrap();
        let count = |id| db.timeline(id).unwrap().len();
        assert_eq!(db.forget_timelines(unix_ms() - 60_000, 10).unwrap(), 0);
        assert_eq!(count(over), 2);
        let later = unix_ms() + 60_000;
        assert_eq!(db.forget_timelines(later, 10).unwrap(), 2);
        assert_eq!((count(over), count(again), count(sealing)), (0, 2, 2));
        // until it is over for good
        let back = db.change(again, Durability::Synced, |record| {
            record.left_chain = None;
            Ok::<_, DbError>(())
        });
        back.unwrap();
        assert_eq!(db.forget_timelines(later, 10).unwrap(), 1);
        assert_eq!((count(over), count(again), count(sealing)), (0, 0, 2));
        assert_eq!(db.forget_timelines(later, 10).unwrap(), 0);
        assert!(db.sector(over).unwrap().is_some());
    }

    #[test]
    fn a_timeline_stays_until_some_time_after_the_last_end() {
        let db = Db::in_memory();
        let id = sector(&db);
        let at = |online: bool| {
            let changed = db.change(id, Durability::Synced, |record| {
                (record.online, record.finalized) = (online, !online);
                Ok::<_, DbError>(())
            });
            changed.unwrap();
        };
        db.put_timeline(id, "w", &[attempt(1)]).unwrap();
        at(false);
        // long ago
        db.write::<_, DbError>(Durability::Synced, |t| {
            for end in t.scan(OVER, &Span::all(), 10)? {
                t.delete(&end)?;
            }
            t.overwrite(DONE, keys::sector(id), 1000_u64.to_be_bytes())?;
            Ok(t.overwrite(OVER, keys::over(1000, id), [])?)
        })
        .unwrap();
        at(true);
        at(false);
        let count = || db.timeline(id).unwrap().len();
        assert_eq!(db.forget_timelines(2000, 10).unwrap(), 1);
        assert_eq!(count(), 1, "it ended again since");
        assert_eq!(db.forget_timelines(unix_ms() + 60_000, 10).unwrap(), 1);
        assert_eq!(count(), 0);
    }
}
