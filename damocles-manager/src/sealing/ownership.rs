//! Who has a sector, what became of it, and a person's way to take it from its worker or to
//! give it up. What is said here decides whether sealed data is destroyed somewhere.

use crate::{
    db::Db,
    sealing::{Sealing, SealingError, bounds},
};
use damocles_api::{
    damocles::{AbortedBy, ManagerIdentity, SectorFate},
    sector::SectorPiece,
};
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
            miners: self.served.all().iter().map(|miner| miner.actor).collect(),
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
    /// [`SealingError::Finished`]; one without a record.
    pub async fn abort_by_person(
        &self,
        sector: SectorId,
        mut reason: String,
    ) -> Result<SectorFate, SealingError> {
        bounds::text(&mut reason);
        let store = move |db: &Db| {
            db.change(sector, Durability::Synced, |record| {
                if record.is_finished() {
                    return Err(SealingError::Finished(sector));
                }
                if record.in_work() {
                    record.online = false;
                    record.finalized = false;
                    record.left_chain = None;
                    record.abort_reason = if reason.is_empty() {
                        "given up by the operator".to_owned()
                    } else {
                        reason.clone()
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

    /// A person takes back that a sector was given up: it is in work again, and the next worker that
    /// calls about it has it. Again does no harm.
    ///
    /// # Errors
    /// [`SealingError::NotGivenUp`]; [`SealingError::HadData`]; one without a record.
    pub async fn restore(&self, sector: SectorId) -> Result<SectorFate, SealingError> {
        let store = move |db: &Db| {
            db.change(sector, Durability::Synced, |record| {
                if record.in_work() {
                    return Ok(record.fate());
                }
                if record.is_finished() {
                    return Err(SealingError::NotGivenUp(sector));
                }
                if record.pieces.iter().flatten().any(SectorPiece::has_deal) {
                    return Err(SealingError::HadData(sector));
                }
                record.online = true;
                record.abort_reason.clear();
                record.aborted_by = None;
                // whoever had it before may have it again
                (record.owner, record.taken_from) = (None, None);
                record.fence += 1;
                Ok(record.fate())
            })
        };
        let fate = self.db.call(store).await?;
        tracing::warn!(%sector, "a sector that was given up is in work again, as a person says");
        Ok(fate)
    }

    /// A person takes the sector from its owner: the next other worker that calls about it has
    /// it. Again: the former owner may have it too.
    ///
    /// # Errors
    /// [`SealingError::NoSector`] for one that is not online; one without a record.
    pub async fn hand_over(&self, sector: SectorId) -> Result<SectorFate, SealingError> {
        let store = move |db: &Db| {
            db.change_online(sector, Durability::Synced, |record| {
                record.taken_from = record.owner.take();
                record.claimant = None;
                record.fence += 1;
                Ok::<_, SealingError>(record.fate())
            })
        };
        let fate = self.db.call(store).await?;
        tracing::warn!(%sector, fence = fate.fence, "a sector was taken from its owner by a person");
        Ok(fate)
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
    use crate::sealing::tests::{given, in_store, room};
    use damocles_api::caller::Caller;
    use damocles_types::Commitment;

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
    async fn what_was_given_up_is_taken_back_unless_it_had_data_or_is_finished() {
        let (room, chain) = room(1000);
        let id = given(&room).await;
        room.abort_by_person(id, "a mistake".into()).await.unwrap();
        assert!(room.assign_ticket(id).await.is_err());
        for _ in 0..2 {
            let fate = room.restore(id).await.unwrap();
            assert!(fate.online && fate.aborted_by.is_none() && fate.abort_reason.is_empty());
        }
        room.assign_ticket(id).await.unwrap();

        let with_data = given(&room).await;
        let dealt = |record: &mut crate::db::record::SectorRecord| {
            let piece = serde_json::json!({
                "Piece": {"Size": 2048, "PieceCID": {"/": Commitment([1; 32]).unsealed_cid().to_string()}},
                "DealInfo": {"DealID": 7, "AllocationID": 0, "PayloadSize": 9, "IsBuiltinMarket": true},
            });
            record.pieces = Some(vec![serde_json::from_value(piece).unwrap()]);
            Ok::<_, SealingError>(())
        };
        room.db
            .change(with_data, Durability::Synced, dealt)
            .unwrap();
        room.abort_by_person(with_data, "x".into()).await.unwrap();
        let refused = room.restore(with_data).await.unwrap_err();
        assert!(matches!(refused, SealingError::HadData(_)));

        chain.prove(id, None);
        room.db.put_locations(&[in_store(id, "a")]).unwrap();
        room.report_finalized(id).await.unwrap();
        let refused = room.restore(id).await.unwrap_err();
        assert!(matches!(refused, SealingError::NotGivenUp(_)));
    }

    #[tokio::test]
    async fn a_finished_sector_cannot_be_given_up_and_an_offline_one_not_be_handed_over() {
        let (room, chain) = room(1000);
        let id = given(&room).await;
        assert_eq!(room.hand_over(id).await.unwrap().fence, 1);
        chain.prove(id, None);
        room.db.put_locations(&[in_store(id, "a")]).unwrap();
        room.report_finalized(id).await.unwrap();
        assert!(room.abort_by_person(id, "x".into()).await.is_err());
        assert!(room.hand_over(id).await.is_err());
        assert!(room.fate(id).await.unwrap().finalized);
    }

    #[tokio::test]
    async fn a_sector_that_was_taken_goes_to_another_worker_or_back_when_a_person_says_so_twice() {
        let (room, _) = room(1000);
        let worker = |store: &str| {
            room.on(room.db.for_worker(Some(Caller {
                worker: "w".into(),
                location: format!("/{store}"),
                store: store.into(),
            })))
        };
        let (former, other) = (worker("aa"), worker("bb"));
        let id = given(&former).await;
        assert!(other.assign_ticket(id).await.is_err());
        room.hand_over(id).await.unwrap();
        assert!(former.assign_ticket(id).await.is_err(), "it was taken");
        room.hand_over(id).await.unwrap();
        former.assign_ticket(id).await.unwrap();
        assert_eq!(room.hand_over(id).await.unwrap().fence, 3);
        other.assign_ticket(id).await.unwrap();
        let owner = room.fate(id).await.unwrap().owner.unwrap();
        assert_eq!(owner.store, "bb");
        assert!(former.assign_ticket(id).await.is_err());
    }

    #[tokio::test]
    async fn two_managers_have_two_identities() {
        let ((one, _), (other, _)) = (room(1000), room(1000));
        let identity = one.identity().await.unwrap();
        assert_eq!(identity, one.identity().await.unwrap());
        assert_ne!(identity.database, other.identity().await.unwrap().database);
    }
}
