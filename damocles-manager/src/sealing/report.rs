//! What workers report of sectors: where they stand, what was attempted, and how they ended.

use crate::{
    db::{Db, DbError, record::SectorRecord, stores::Replica},
    model::unix_ms,
    sealing::{Sealing, SealingError, bounds},
};
use damocles_api::{
    damocles::AbortedBy,
    sector::{ReportStateReq, SectorStanding},
    timeline::TimelineEntry,
};
use damocles_kv::Durability;
use damocles_types::SectorId;

/// A report that is older than the last one by no more than this (milliseconds) came late; one
/// that is older still comes from a clock that was set back.
const LATE: u64 = 10 * 60 * 1000;

/// Whether a report was said before the one that is stored. Those of upstream's workers do not
/// tell. Pure.
fn came_late(stored: Option<&ReportStateReq>, report: &ReportStateReq) -> bool {
    let (Some(newest), Some(at)) = (stored.and_then(|s| s.at), report.at) else {
        return false;
    };
    at < newest && newest - at <= LATE
}

fn cut(report: &mut ReportStateReq) {
    bounds::word(&mut report.worker.instance);
    bounds::text(&mut report.worker.location);
    let change = &mut report.state_change;
    for word in [&mut change.prev, &mut change.next, &mut change.event] {
        bounds::word(word);
    }
    if let Some(failure) = &mut report.failure {
        bounds::word(&mut failure.level);
        bounds::text(&mut failure.desc);
    }
}

impl Sealing {
    /// Stores where the worker stands. For a sector that is not online any more nothing is
    /// stored; the answer tells the worker that it was finished or given up.
    ///
    /// # Errors
    /// One without a record, or of another worker.
    pub async fn report_state(
        &self,
        sector: SectorId,
        mut report: ReportStateReq,
    ) -> Result<SectorStanding, SealingError> {
        cut(&mut report);
        let store = move |db: &Db| {
            // The worker keeps the truth; a report lost in a power cut is repeated by the next.
            db.change(sector, Durability::Buffered, |record| {
                if record.online && !came_late(record.report.as_ref(), &report) {
                    record.report = Some(report.clone());
                    record.reported_at = Some(unix_ms());
                }
                Ok::<_, SealingError>(SectorStanding {
                    id: sector,
                    // upstream's word for "done with it", whichever way
                    finalized: !record.in_work(),
                    abort_reason: record.abort_reason.clone(),
                })
            })
        };
        self.db.call(store).await
    }

    /// The sector is proven and stored: it goes offline. Again does no harm. That it is so is
    /// seen on chain and in the index of the stores, not merely believed: what is offline is
    /// looked after no more.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that was given up; [`SealingError::NotProven`],
    /// [`SealingError::OtherReplica`], [`SealingError::NotStored`].
    pub async fn report_finalized(&self, sector: SectorId) -> Result<(), SealingError> {
        let known = move |db: &Db| db.known(sector).map_err(SealingError::from);
        let record = self.db.call(known).await?;
        if record.is_finished() {
            return Ok(());
        }
        if !record.in_work() {
            return Err(SealingError::NoSector(sector));
        }
        self.is_proven(&record).await?;
        let store = move |db: &Db| {
            // what has a place keeps one, so it may be looked for before
            let stored = db.location(sector, Replica::Normal)?.is_some();
            db.change(sector, Durability::Synced, |record| {
                if !record.online && !record.finalized {
                    return Err(SealingError::NoSector(sector));
                }
                if !stored {
                    return Err(SealingError::NotStored(sector));
                }
                record.online = false;
                record.finalized = true;
                Ok(())
            })
        };
        self.db.call(store).await?;
        tracing::info!(%sector, "a sector is finished");
        Ok(())
    }

    async fn is_proven(&self, record: &SectorRecord) -> Result<(), SealingError> {
        let SectorId { miner, number } = record.id;
        let head = self.chain.head().await?;
        let on_chain = self.chain.sector_info(miner, number, &head.cids).await?;
        let proven = on_chain.ok_or(SealingError::NotProven(record.id))?;
        let ours = record.pre.as_ref().map(|pre| pre.comm_r.sealed_cid());
        if ours.is_some_and(|ours| ours != proven.sealed_cid) {
            return Err(SealingError::OtherReplica(record.id));
        }
        Ok(())
    }

    /// The sector is given up: it goes offline with the reason. Again does no harm. A message
    /// that carries it already is followed to its end. Of a sector without a record it is noted
    /// that nobody has it any more.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is finished; one of another worker.
    pub async fn report_aborted(
        &self,
        sector: SectorId,
        mut reason: String,
    ) -> Result<(), SealingError> {
        bounds::text(&mut reason);
        if reason.is_empty() {
            // it would say that it was not aborted
            reason = "aborted by the worker without a reason".to_owned();
        }
        let said = reason.clone();
        let store = move |db: &Db| {
            let given_up = db.change(sector, Durability::Synced, |record| {
                if !record.online {
                    return if record.finalized {
                        Err(SealingError::NoSector(sector))
                    } else {
                        Ok(())
                    };
                }
                record.online = false;
                record.aborted_by = Some(AbortedBy::Worker);
                record.abort_reason = said.clone();
                Ok(())
            });
            match given_up {
                Err(SealingError::Db(DbError::Unknown(_))) => {
                    db.note_stray(sector, None, None, true, unix_ms())?;
                    Ok(())
                }
                other => other,
            }
        };
        self.db.call(store).await?;
        tracing::warn!(%sector, reason, "a sector was given up");
        Ok(())
    }

    /// Stores entries of a sector's timeline; known ones are replaced.
    ///
    /// # Errors
    /// One without a record, or of another worker.
    pub async fn report_timeline(
        &self,
        sector: SectorId,
        mut instance: String,
        mut entries: Vec<TimelineEntry>,
    ) -> Result<(), SealingError> {
        if entries.len() > bounds::ENTRIES {
            return Err(SealingError::TooMany {
                given: entries.len(),
                most: bounds::ENTRIES,
            });
        }
        bounds::word(&mut instance);
        entries.iter_mut().for_each(bounds::entry);
        let store = move |db: &Db| {
            db.known(sector)?;
            Ok(db.put_timeline(sector, &instance, &entries)?)
        };
        self.db.call(store).await
    }

    /// The timeline of a sector, by `seq`.
    ///
    /// # Errors
    /// One without a record.
    pub async fn timeline(&self, sector: SectorId) -> Result<Vec<TimelineEntry>, SealingError> {
        let load = move |db: &Db| {
            db.known(sector)?;
            Ok(db.timeline(sector)?)
        };
        self.db.call(load).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::tests::{given, in_store, room};
    use damocles_api::caller::Caller;

    fn report(next: &str) -> ReportStateReq {
        serde_json::from_value(serde_json::json!({
            "Worker": {"Instance": "w", "Location": "/s"},
            "StateChange": {"Prev": "Empty", "Next": next, "Event": "Allocate"},
            "Failure": null,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_report_is_stored_while_online_and_answered_afterwards() {
        let (room, _) = room(1000);
        let id = given(&room).await;
        let standing = room.report_state(id, report("Allocated")).await.unwrap();
        assert!(!standing.finalized && standing.abort_reason.is_empty());
        assert_eq!(
            room.db.online(id).unwrap().report,
            Some(report("Allocated"))
        );

        room.report_aborted(id, "no disk".into()).await.unwrap();
        let standing = room.report_state(id, report("Later")).await.unwrap();
        assert_eq!(standing.abort_reason, "no disk");
        assert!(standing.finalized, "upstream's workers look at that alone");
        let record = room.db.sector(id).unwrap().unwrap();
        assert_eq!(record.report, Some(report("Allocated")));
        let unknown = room.report_state(SectorId::new(1, 1), report("x")).await;
        assert!(matches!(
            unknown,
            Err(SealingError::Db(DbError::Unknown(_)))
        ));
    }

    #[tokio::test]
    async fn a_report_that_comes_late_does_not_replace_a_newer_one() {
        let (room, _) = room(1000);
        let id = given(&room).await;
        let say = async |next: &str, at: Option<u64>| {
            let said = ReportStateReq { at, ..report(next) };
            room.report_state(id, said).await.unwrap();
            let stored = room.db.online(id).unwrap().report.unwrap();
            stored.state_change.next
        };
        let hour = 3_600_000;
        assert_eq!(say("PC1Done", Some(hour)).await, "PC1Done");
        assert_eq!(say("TicketAssigned", Some(hour - 5)).await, "PC1Done");
        assert_eq!(say("PC2Done", Some(hour + 5)).await, "PC2Done");
        assert_eq!(say("C1Done", Some(5)).await, "C1Done", "a clock set back");
        assert_eq!(say("C2Done", None).await, "C2Done", "upstream's");
    }

    #[tokio::test]
    async fn finishing_and_giving_up_can_be_repeated_but_not_mixed() {
        let (room, chain) = room(1000);
        let (finished, aborted) = (given(&room).await, given(&room).await);
        for id in [finished, aborted] {
            chain.prove(id, None);
            room.db.put_locations(&[in_store(id, "a")]).unwrap();
        }
        for _ in 0..2 {
            room.report_finalized(finished).await.unwrap();
            room.report_aborted(aborted, String::new()).await.unwrap();
        }
        assert!(room.report_finalized(aborted).await.is_err());
        assert!(room.report_aborted(finished, "x".into()).await.is_err());
        let finished = room.db.sector(finished).unwrap().unwrap();
        assert!(finished.finalized && finished.abort_reason.is_empty());
        let aborted = room.db.sector(aborted).unwrap().unwrap();
        assert!(!aborted.finalized && !aborted.abort_reason.is_empty());
    }

    #[tokio::test]
    async fn a_sector_is_finished_only_when_it_is_proven_and_stored_and_its_proof_is_not_dropped() {
        let (room, chain) = room(1000);
        let id = given(&room).await;
        crate::sealing::tests::proof_waits(&room, id);
        let waits = || {
            room.db
                .ready(crate::model::Commitment::Proof, None)
                .unwrap()
                .len()
        };
        let e = room.report_finalized(id).await.unwrap_err();
        assert!(matches!(e, SealingError::NotProven(_)), "{e}");
        chain.set_down(true);
        let e = room.report_finalized(id).await.unwrap_err();
        assert!(matches!(&e, SealingError::Chain(c) if c.is_unreachable()));
        chain.set_down(false);
        assert_eq!(waits(), 1, "the proof still waits for its message");

        let other = damocles_types::Commitment([9; 32]);
        chain.prove(id, Some(other));
        let e = room.report_finalized(id).await.unwrap_err();
        assert!(matches!(e, SealingError::OtherReplica(_)), "{e}");
        chain.prove(id, None);
        let e = room.report_finalized(id).await.unwrap_err();
        assert!(matches!(e, SealingError::NotStored(_)), "{e}");
        assert!(room.db.online(id).is_ok());
        room.db.put_locations(&[in_store(id, "a")]).unwrap();
        room.report_finalized(id).await.unwrap();
        assert!(room.db.sector(id).unwrap().unwrap().finalized);
    }

    #[tokio::test]
    async fn a_sector_without_a_record_may_be_given_up_and_its_number_is_not_handed_out() {
        let (room, _) = room(1000);
        let id = SectorId::new(1000, 5);
        room.report_aborted(id, "too old".into()).await.unwrap();
        let [stray] = &room.strays().await.unwrap()[..] else {
            panic!("one stray")
        };
        assert!(stray.id == id && stray.given_up);
        assert!(room.db.sector(id).unwrap().is_none());
        assert_eq!(given(&room).await.number, 6);
    }

    #[tokio::test]
    async fn long_texts_are_cut_and_too_many_entries_refused() {
        let (room, _) = room(1000);
        let id = given(&room).await;
        let long = "x".repeat(32 << 20);
        let mut loud = report(&long);
        loud.worker.location = long.clone();
        room.report_state(id, loud).await.unwrap();
        let stored = room.db.online(id).unwrap().report.unwrap();
        assert!(stored.worker.location.len() + stored.state_change.next.len() < 5000);

        let entry = |seq| TimelineEntry {
            seq,
            state: "x".repeat(9000),
            stage: "PC1".into(),
            queued_at: 1,
            started_at: None,
            ended_at: None,
            child: None,
            kernel: None,
            ending: None,
        };
        let report = |n| room.report_timeline(id, "w".into(), (0..n).map(entry).collect());
        let refused = report(1001).await;
        assert!(matches!(refused, Err(SealingError::TooMany { .. })));
        report(2).await.unwrap();
        assert!(room.timeline(id).await.unwrap()[1].state.len() <= 256);

        room.report_aborted(id, long).await.unwrap();
        let record = room.db.sector(id).unwrap().unwrap();
        assert!(record.abort_reason.len() <= 4096);
    }

    #[tokio::test]
    async fn no_report_of_another_worker_is_taken() {
        let (room, chain) = room(1000);
        let caller = |store: &str| {
            Some(Caller {
                worker: "w".into(),
                location: "/s".into(),
                store: store.into(),
            })
        };
        let speaking = |store| room.on(room.db.for_worker(caller(store)));
        let (mine, other) = (speaking("aa"), speaking("bb"));
        let id = given(&mine).await;
        chain.prove(id, None);
        mine.db.put_locations(&[in_store(id, "a")]).unwrap();
        let refused = |e: SealingError| matches!(e, SealingError::Db(DbError::NotOwner { .. }));
        let e = other.report_state(id, report("PC1Done")).await;
        assert!(e.is_err_and(refused));
        let e = other.report_aborted(id, "mine now".into()).await;
        assert!(e.is_err_and(refused));
        assert!(other.report_finalized(id).await.is_err_and(refused));
        let e = other.report_timeline(id, "w".into(), vec![]).await;
        assert!(e.is_err_and(refused));
        assert!(other.assign_ticket(id).await.is_err_and(refused));
        mine.report_state(id, report("PC1Done")).await.unwrap();
        mine.report_finalized(id).await.unwrap();
    }
}
