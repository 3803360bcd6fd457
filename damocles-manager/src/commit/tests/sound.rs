//! One sector that the chain does not take holds up nobody else; deadlines and the market decide
//! when the others go.

use super::*;
use crate::{db::record::Carriage, model::Commitment as Kind};
use damocles_flow::message::MessageState;
use std::time::Duration;

impl House {
    async fn submitted(&self) -> SectorId {
        let id = self.sector();
        let info = self.info().await;
        assert_eq!(self.submit(id, info, false).await.res, R::Accepted);
        id
    }

    fn in_message(&self, id: SectorId) -> Vec<SectorId> {
        let of = self.messages(id).pop();
        of.map(|m| m.sectors).unwrap_or_default()
    }

    fn waits(&self, id: SectorId) -> Option<(bool, String)> {
        let record = self.rig.db.sector(id).unwrap().unwrap();
        match record.carriage(Kind::PreCommit)? {
            Carriage::Ready { alone, error, .. } => Some((*alone, error.clone()?)),
            _ => None,
        }
    }
}

#[tokio::test]
async fn one_sector_that_the_chain_refuses_goes_alone_and_the_others_together() {
    for poisoned in [0, 3, 6] {
        let house = House::new(|m| m.pre.batch.threshold = 7);
        let mut ids = Vec::new();
        for _ in 0..7 {
            ids.push(house.submitted().await);
        }
        house.rig.chain.edit().poison = [ids[poisoned].number].into();
        house.commit.reconcile().await;
        let bad = ids.remove(poisoned);
        for id in &ids {
            assert_eq!(house.in_message(*id), ids, "{poisoned}");
        }
        let (alone, why) = house.waits(bad).unwrap();
        assert!(alone && why.contains("is refused (16)"), "{why}");
        // what the actor says of it at head after head ends it, and nothing else
        house.commit.reconcile().await;
        for _ in 0..6 {
            house.rig.advance(1);
            house.rig.round().await;
        }
        let ended = house.messages(bad).pop().unwrap();
        assert_eq!(
            (ended.state, ended.sectors),
            (MessageState::Rejected, vec![bad])
        );
        let sent = house.messages(ids[0]).pop().unwrap();
        assert_eq!(sent.state, MessageState::Pushed);
        let asked = house.rig.chain.edit().asked["GasEstimateGasLimit"];
        assert!(asked <= 20, "{asked} questions for one of seven");
    }
}

/// It is the miner, its node or its purse then: halving would find nothing.
#[tokio::test]
async fn what_is_refused_of_all_of_them_keeps_them_together() {
    let house = House::new(|m| m.pre.batch.threshold = 4);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(house.submitted().await);
    }
    house.rig.chain.edit().poison = ids.iter().map(|id| id.number).collect();
    house.commit.reconcile().await;
    assert_eq!(house.in_message(ids[0]), ids);
    let message = house.messages(ids[0]).pop().unwrap();
    assert_eq!(message.deadline, Some(4000 + 3780 + 1), "the ticket's");
}

#[tokio::test]
async fn dear_blocks_hold_back_whatever_has_time() {
    let house = House::new(|m| {
        m.pre.batch.threshold = 2;
        m.pre.batch.max_base_fee = TokenAmount::from_nano(3);
        m.pre.batch.slack = Duration::from_secs(600);
    });
    let ids = [house.submitted().await, house.submitted().await];
    house.rig.chain.edit().base_fee = TokenAmount::from_nano(4);
    house.commit.reconcile().await;
    let (alone, why) = house.waits(ids[0]).unwrap();
    assert!(!alone && why.contains("MaxBaseFee"), "{why}");
    assert!(house.messages(ids[0]).is_empty());
    // ten minutes before the ticket is too old they go at any price
    house.rig.advance(4000 + 3780 + 1 - 20 - 5000);
    house.commit.reconcile().await;
    assert_eq!(house.in_message(ids[0]), ids);
}

/// What a batch ends with may be said of it long after one of its sectors was sent away.
#[tokio::test]
async fn what_is_said_of_a_sector_does_not_change_how_it_goes() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let id = house.submitted().await;
    let before = house.rig.db.sector(id).unwrap().unwrap();
    let commit = &house.commit;
    commit.send_alone(Kind::PreCommit, id, "no".into()).await;
    commit.note(Kind::PreCommit, &[before], "not now").await;
    assert_eq!(house.waits(id), Some((true, "not now".into())));
}
