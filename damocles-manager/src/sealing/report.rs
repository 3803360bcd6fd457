//! What workers report: where sectors stand, what was attempted, and that they are alive.

use crate::{
    db::{
        Db,
        record::{VERSION, WorkerRecord},
    },
    model::unix_ms,
    sealing::{Sealing, SealingError},
};
use damocles_api::{
    damocles::AbortedBy,
    sector::{ReportStateReq, SectorStanding},
    timeline::TimelineEntry,
    workers::{WorkerPing, WorkerPingInfo},
};
use damocles_kv::Durability;
use damocles_types::SectorId;

impl From<WorkerRecord> for WorkerPingInfo {
    fn from(r: WorkerRecord) -> Self {
        Self {
            info: r.ping,
            last_ping: r.last_ping,
        }
    }
}

impl Sealing {
    /// Stores where the worker stands. For a sector that is not online any more nothing is
    /// stored; the answer tells the worker that it was finished or given up.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown.
    pub async fn report_state(
        &self,
        sector: SectorId,
        report: ReportStateReq,
    ) -> Result<SectorStanding, SealingError> {
        let store = move |db: &Db| {
            // The worker keeps the truth; a report lost in a power cut is repeated by the next.
            db.change(sector, Durability::Buffered, |record| {
                if record.online {
                    record.report = Some(report);
                    record.reported_at = Some(unix_ms());
                }
                Ok::<_, SealingError>(SectorStanding {
                    id: sector,
                    finalized: record.finalized,
                    abort_reason: record.abort_reason.clone(),
                })
            })
        };
        self.db.call(store).await
    }

    /// The sector is proven and stored: it goes offline. Again does no harm.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown or was given up.
    pub async fn report_finalized(&self, sector: SectorId) -> Result<(), SealingError> {
        let store = move |db: &Db| {
            db.change(sector, Durability::Synced, |record| {
                if !record.online && !record.finalized {
                    return Err(SealingError::NoSector(sector));
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

    /// The sector is given up: it goes offline with the reason. Again does no harm. A message
    /// that carries it already is followed to its end.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown or finished.
    pub async fn report_aborted(
        &self,
        sector: SectorId,
        reason: String,
    ) -> Result<(), SealingError> {
        let said = reason.clone();
        let store = move |db: &Db| {
            db.change(sector, Durability::Synced, |record| {
                if !record.online {
                    return if record.finalized {
                        Err(SealingError::NoSector(sector))
                    } else {
                        Ok(())
                    };
                }
                record.online = false;
                record.aborted_by = Some(AbortedBy::Worker);
                // An empty reason would say that it was not aborted.
                record.abort_reason = if said.is_empty() {
                    "aborted by the worker without a reason".to_owned()
                } else {
                    said
                };
                Ok(())
            })
        };
        self.db.call(store).await?;
        tracing::warn!(%sector, reason, "a sector was given up");
        Ok(())
    }

    /// Stores entries of a sector's timeline; known ones are replaced.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown.
    pub async fn report_timeline(
        &self,
        sector: SectorId,
        instance: String,
        entries: Vec<TimelineEntry>,
    ) -> Result<(), SealingError> {
        let store = move |db: &Db| {
            db.sector(sector)?.ok_or(SealingError::NoSector(sector))?;
            Ok(db.put_timeline(sector, &instance, entries)?)
        };
        self.db.call(store).await
    }

    /// The timeline of a sector, by `seq`.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown.
    pub async fn timeline(&self, sector: SectorId) -> Result<Vec<TimelineEntry>, SealingError> {
        let load = move |db: &Db| {
            db.sector(sector)?.ok_or(SealingError::NoSector(sector))?;
            Ok(db.timeline(sector)?)
        };
        self.db.call(load).await
    }

    /// Notes that a worker is alive.
    ///
    /// # Errors
    /// [`SealingError::NamelessWorker`].
    pub async fn ping(&self, ping: WorkerPing) -> Result<(), SealingError> {
        if ping.name.is_empty() || ping.dest.is_empty() {
            return Err(SealingError::NamelessWorker);
        }
        let record = WorkerRecord {
            v: VERSION,
            ping,
            last_ping: i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX),
            left: false,
        };
        Ok(self.db.call(move |db| db.put_worker(&record)).await?)
    }

    /// All workers that ever called, by name.
    ///
    /// # Errors
    /// A failing database.
    pub async fn workers(&self) -> Result<Vec<WorkerPingInfo>, SealingError> {
        let all = self.db.call(|db| db.workers()).await?;
        Ok(all.into_iter().map(Into::into).collect())
    }

    /// The worker of that name.
    ///
    /// # Errors
    /// A failing database.
    pub async fn worker(&self, name: String) -> Result<Option<WorkerPingInfo>, SealingError> {
        Ok(self
            .db
            .call(move |db| db.worker(&name))
            .await?
            .map(Into::into))
    }

    /// Forgets a worker.
    ///
    /// # Errors
    /// A failing database.
    pub async fn remove_worker(&self, name: String) -> Result<(), SealingError> {
        Ok(self.db.call(move |db| db.remove_worker(&name)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::tests::room;

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
        let id = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        let standing = room.report_state(id, report("Allocated")).await.unwrap();
        assert!(!standing.finalized && standing.abort_reason.is_empty());
        assert_eq!(
            room.db.online(id).unwrap().report,
            Some(report("Allocated"))
        );

        room.report_aborted(id, "no disk".into()).await.unwrap();
        let standing = room.report_state(id, report("Later")).await.unwrap();
        assert_eq!(standing.abort_reason, "no disk");
        let record = room.db.sector(id).unwrap().unwrap();
        assert_eq!(record.report, Some(report("Allocated")));
        let unknown = room.report_state(SectorId::new(1, 1), report("x")).await;
        assert!(matches!(unknown, Err(SealingError::NoSector(_))));
    }

    #[tokio::test]
    async fn finishing_and_giving_up_can_be_repeated_but_not_mixed() {
        let (room, _) = room(1000);
        let finished = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        let aborted = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
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
    async fn workers_are_remembered_by_name() {
        let (room, _) = room(1000);
        let ping = |name: &str| WorkerPing {
            name: name.into(),
            dest: "127.0.0.1:1".into(),
            version: String::new(),
            summary: Default::default(),
        };
        room.ping(ping("b")).await.unwrap();
        room.ping(ping("a")).await.unwrap();
        room.ping(ping("b")).await.unwrap();
        let nameless = room.ping(ping("")).await;
        assert!(matches!(nameless, Err(SealingError::NamelessWorker)));
        let names: Vec<_> = room.workers().await.unwrap();
        let names: Vec<_> = names.into_iter().map(|w| w.info.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(room.worker("a".into()).await.unwrap().unwrap().last_ping > 0);
        room.remove_worker("a".into()).await.unwrap();
        assert!(room.worker("a".into()).await.unwrap().is_none());
    }
}
