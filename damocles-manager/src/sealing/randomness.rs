//! Tickets and seeds.

use crate::{
    chain::{DomainTag, entropy},
    sealing::{Sealing, SealingError},
};
use damocles_api::submit::WaitSeedResp;
use damocles_kv::Durability;
use damocles_node::TipSetKey;
use damocles_types::{Epoch, SealProof, SectorId, Seed, Ticket, proof::SealVersion};

/// A ticket is drawn so many epochs back, where the chain is final (Filecoin specification,
/// `SealRandomnessLookback` = `ChainFinality`; Lotus `policy.SealRandomnessLookback`).
pub(crate) const TICKET_LOOKBACK: Epoch = 900;
/// A seed is used only so many epochs after it is drawn, so that a short reorganisation does
/// not change it (Lotus `InteractivePoRepConfidence`).
const SEED_CONFIDENCE: Epoch = 6;

/// Epochs until the seed may be used; 0 when it may.
fn epochs_left(head: Epoch, seed_epoch: Epoch) -> u64 {
    let ready = seed_epoch.saturating_add(SEED_CONFIDENCE);
    u64::try_from(ready.saturating_sub(head)).unwrap_or(0)
}

impl Sealing {
    /// A fresh ticket for the sector, stored with it. On a young chain its epoch lies before
    /// genesis; the chain answers for those as well.
    ///
    /// # Errors
    /// [`SealingError::NoSector`]; a node that does not answer.
    pub async fn assign_ticket(&self, sector: SectorId) -> Result<Ticket, SealingError> {
        self.db.call(move |db| db.online(sector).map(drop)).await?;
        let head = self.chain.head().await?;
        let epoch = head.height - TICKET_LOOKBACK;
        let ticket = self
            .chain
            .ticket_randomness(
                DomainTag::SealRandomness,
                epoch,
                &entropy(sector.miner),
                &head.cids,
            )
            .await?;
        let ticket = Ticket { ticket, epoch };
        let store = move |db: &crate::db::Db| {
            db.change_online(sector, Durability::Synced, |record| {
                record.ticket = Some(ticket);
                Ok::<_, SealingError>(())
            })
        };
        self.db.call(store).await?;
        Ok(ticket)
    }

    /// The seed of a sector whose precommit is on chain, stored with it, or how long to wait.
    ///
    /// # Errors
    /// [`SealingError::NoSector`], [`SealingError::NotPreCommitted`]; a node that does not answer.
    pub async fn wait_seed(
        &self,
        sector: SectorId,
        proof: SealProof,
    ) -> Result<WaitSeedResp, SealingError> {
        self.db.call(move |db| db.online(sector).map(drop)).await?;
        if proof.version == SealVersion::V1_2NonInteractive {
            return Err(SealingError::NoSeed(proof));
        }
        let head = self.chain.head().await?;
        let on_chain = self
            .chain
            .precommit_info(sector.miner, sector.number, &TipSetKey::HEAD)
            .await?
            .ok_or(SealingError::NotPreCommitted(sector))?;
        let epoch = on_chain.pre_commit_epoch + self.facts.challenge_delay().await?;
        let left = epochs_left(head.height, epoch);
        if left > 0 {
            let block = self.facts.block_delay().await?.as_secs();
            return Ok(WaitSeedResp {
                should_wait: true,
                delay: left.saturating_mul(block),
                seed: None,
            });
        }
        let seed = self
            .chain
            .beacon_randomness(
                DomainTag::InteractiveSealChallengeSeed,
                epoch,
                &entropy(sector.miner),
                &head.cids,
            )
            .await?;
        let seed = Seed { seed, epoch };
        let store = move |db: &crate::db::Db| {
            db.change_online(sector, Durability::Synced, |record| {
                record.seed = Some(seed);
                Ok::<_, SealingError>(())
            })
        };
        self.db.call(store).await?;
        Ok(WaitSeedResp {
            should_wait: false,
            delay: 0,
            seed: Some(seed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chain::script::ScriptChain, sealing::tests::room};

    pub(crate) fn precommitted(chain: &ScriptChain, sector: SectorId, epoch: Epoch) {
        let cid = damocles_types::Commitment([1; 32]).sealed_cid();
        let info = serde_json::json!({
            "Info": {"SealProof": 5, "SectorNumber": sector.number,
                "SealedCID": {"/": cid.to_string()}, "SealRandEpoch": 0, "DealIDs": null,
                "Expiration": 600_000, "UnsealedCid": null},
            "PreCommitDeposit": "1", "PreCommitEpoch": epoch,
        });
        let info = serde_json::from_value(info).unwrap();
        let key = (sector.miner, sector.number);
        chain.edit().precommits.insert(key, info);
    }

    #[test]
    fn waiting_ends_six_epochs_after_the_seed() {
        for (head, seed, left) in [
            (100, 150, 56),
            (155, 150, 1),
            (156, 150, 0),
            (999, 150, 0),
            (i64::MIN, i64::MAX, i64::MAX as u64),
        ] {
            assert_eq!(epochs_left(head, seed), left, "{head} {seed}");
        }
    }

    #[tokio::test]
    async fn tickets_lie_900_epochs_back_and_are_fresh_each_time() {
        let (room, chain) = room(100);
        let id = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        let young = room.assign_ticket(id).await.unwrap();
        assert_eq!(young.epoch, -800);
        chain.advance(1000);
        let later = room.assign_ticket(id).await.unwrap();
        assert_eq!(later.epoch, 200);
        assert_ne!(young.ticket, later.ticket);
        let stored = room.db.sector(id).unwrap().unwrap().ticket;
        assert_eq!(stored, Some(later));
        let unknown = room.assign_ticket(SectorId::new(1000, 77)).await;
        assert!(matches!(
            unknown,
            Err(SealingError::Db(crate::db::DbError::Unknown(_)))
        ));
    }

    #[tokio::test]
    async fn a_seed_is_waited_for_then_given_and_stored() {
        let (room, chain) = room(1000);
        let proof = SealProof::from_number(5).unwrap();
        let id = room
            .allocate(&Default::default())
            .await
            .unwrap()
            .unwrap()
            .id;
        let early = room.wait_seed(id, proof).await;
        assert!(matches!(early, Err(SealingError::NotPreCommitted(_))));

        precommitted(&chain, id, 1000);
        // delay 10 and confidence 6, blocks of 4 seconds
        let wait = room.wait_seed(id, proof).await.unwrap();
        assert_eq!((wait.should_wait, wait.delay), (true, 64));
        chain.advance(16);
        let done = room.wait_seed(id, proof).await.unwrap();
        assert!(!done.should_wait);
        assert_eq!(done.seed.unwrap().epoch, 1010);
        assert_eq!(room.db.sector(id).unwrap().unwrap().seed, done.seed);

        let ni = SealProof::from_number(15).unwrap();
        let refused = room.wait_seed(id, ni).await;
        assert!(matches!(refused, Err(SealingError::NoSeed(_))));
    }
}
