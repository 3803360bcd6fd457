//! Who has a sector, what became of it, and a person's way to take it from its worker or to
//! give it up. What is said here decides whether sealed data is destroyed somewhere.

use crate::{
    db::Db,
    sealing::{Sealing, SealingError},
};
use damocles_api::damocles::{AbortedBy, ManagerIdentity, SectorFate};
use damocles_daemon::build;
use damocles_kv::Durability;
use damocles_types::SectorId;

impl Sealing {
    /// Which manager this is.
    ///
    /// # Errors
    /// A failing database.
    pub async fn identity(&self) -> Result<ManagerIdentity, SealingError> {
        let network = self.db.call(|db| db.network()).await?;
        Ok(ManagerIdentity {
            database: self.db.id().to_string(),
            network,
            version: build::version(),
        })
    }

    /// What the record of a sector says; that there is none is an answer too.
    ///
    /// # Errors
    /// A failing database.
    pub async fn fate(&self, sector: SectorId) -> Result<SectorFate, SealingError> {
        let record = self.db.call(move |db| db.sector(sector)).await?;
        Ok(record.map_or_else(unknown, |record| record.fate()))
    }

    /// A person gives a sector up. A message that carries it already is followed to its end.
    /// Again does no harm; the first reason stays.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown or finished.
    pub async fn abort_by_person(
        &self,
        sector: SectorId,
        reason: String,
    ) -> Result<SectorFate, SealingError> {
        let store = move |db: &Db| {
            db.change(sector, Durability::Synced, |record| {
                if record.finalized {
                    return Err(SealingError::NoSector(sector));
                }
                if record.online {
                    record.online = false;
                    record.abort_reason = if reason.is_empty() {
                        "given up by the operator".to_owned()
                    } else {
                        reason
                    };
                }
                // a worker that gave it up by itself and a person who agrees: the person decides
                record.aborted_by = Some(AbortedBy::Person);
                Ok(record.fate())
            })
        };
        let fate = self.db.call(store).await?;
        tracing::warn!(%sector, reason = fate.abort_reason, "a sector was given up by a person");
        Ok(fate)
    }

    /// A person takes the sector from its owner: the next worker that calls about it has it.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is unknown or not online.
    pub async fn hand_over(&self, sector: SectorId) -> Result<SectorFate, SealingError> {
        let store = move |db: &Db| {
            db.change_online(sector, Durability::Synced, |record| {
                record.owner = None;
                record.fence += 1;
                Ok::<_, SealingError>(record.fate())
            })
        };
        let fate = self.db.call(store).await?;
        tracing::warn!(%sector, fence = fate.fence, "a sector was taken from its owner by a person");
        Ok(fate)
    }

    /// A worker stops in order. One that never called is no error.
    ///
    /// # Errors
    /// A failing database.
    pub async fn worker_leaves(&self, name: String) -> Result<(), SealingError> {
        let store = move |db: &Db| -> Result<(), SealingError> {
            if let Some(mut record) = db.worker(&name)? {
                record.left = true;
                record.ping.summary = Default::default();
                db.put_worker(&record)?;
            }
            Ok(())
        };
        self.db.call(store).await
    }
}

fn unknown() -> SectorFate {
    SectorFate {
        known: false,
        online: false,
        finalized: false,
        aborted_by: None,
        abort_reason: String::new(),
        owner: None,
        fence: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::tests::room;

    #[tokio::test]
    async fn the_fate_of_a_sector_says_who_ended_it() {
        let (room, _) = room(1000);
        let spec = Default::default();
        let by_worker = room.allocate(&spec).await.unwrap().unwrap().id;
        let by_person = room.allocate(&spec).await.unwrap().unwrap().id;
        let fate = room.fate(by_person).await.unwrap();
        assert!(fate.known && fate.online && fate.aborted_by.is_none());
        assert!(!room.fate(SectorId::new(1000, 77)).await.unwrap().known);

        room.report_aborted(by_worker, "no disk".into())
            .await
            .unwrap();
        let fate = room.fate(by_worker).await.unwrap();
        assert_eq!(fate.aborted_by, Some(AbortedBy::Worker));
        for reason in ["too slow", "again"] {
            let fate = room.abort_by_person(by_person, reason.into()).await;
            assert_eq!(fate.unwrap().abort_reason, "too slow");
        }
        let fate = room.fate(by_person).await.unwrap();
        assert_eq!(fate.aborted_by, Some(AbortedBy::Person));
    }

    #[tokio::test]
    async fn a_finished_sector_cannot_be_given_up_and_an_offline_one_not_be_handed_over() {
        let (room, _) = room(1000);
        let id = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        assert_eq!(room.hand_over(id).await.unwrap().fence, 1);
        room.report_finalized(id).await.unwrap();
        assert!(room.abort_by_person(id, "x".into()).await.is_err());
        assert!(room.hand_over(id).await.is_err());
        assert!(room.fate(id).await.unwrap().finalized);
    }

    #[tokio::test]
    async fn two_managers_have_two_identities() {
        let ((one, _), (other, _)) = (room(1000), room(1000));
        let identity = one.identity().await.unwrap();
        assert_eq!(identity, one.identity().await.unwrap());
        assert_ne!(identity.database, other.identity().await.unwrap().database);
    }
}
