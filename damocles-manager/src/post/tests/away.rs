//! A store that does not answer while a window is open.

use super::*;

/// Sector 1 lies in the store a and sector 2 in b, which does not answer; a proof took the miner
/// `proving` epochs the day before.
async fn house(proving: Option<Epoch>) -> House {
    let mut house = House::new(&[&[1]]).await;
    let before = PostKey {
        miner: MINER,
        open: 0,
        first: 0,
    };
    let record = PostRecord {
        partitions: vec![0],
        state: PostState::Landed,
        proving_epochs: proving,
        ..PostRecord::planned(before, 0, -20, 60)
    };
    house.db.plan_posts(&[record]).unwrap();
    let root = house.dir.path().to_owned();
    put_sector(&root.join("b"), 2);
    let stores = ["a", "b"].map(|name| store(name, root.join(name)));
    house.stores = Stores::new(house.db.clone(), stores.into()).unwrap();
    house.stores.attach("b", Replica::Normal).await.unwrap();
    let sealed = |n| Commitment([u8::try_from(n).unwrap(); 32]).sealed_cid();
    house.chain.place(MINER, 1, vec![vec![1, 2]], sealed);
    fs::rename(root.join("b"), root.join("gone")).unwrap();
    house
}

fn skipped(house: &House) -> Vec<SectorNumber> {
    let records = house.records();
    let last = records.last().unwrap();
    last.skipped.iter().map(|(number, _)| *number).collect()
}

#[tokio::test]
async fn a_manager_that_starts_within_a_window_waits_for_a_store_that_is_away_for_a_minute() {
    let house = house(Some(10)).await;
    let mut poster = house.start();
    for height in [70, 72] {
        house.at(&mut poster, height).await;
    }
    assert!(house.proven().is_empty(), "sector 2 may come back");
    let waits = house.records().pop().unwrap().error.unwrap();
    assert!(waits.contains("until epoch 88"), "{waits}");
    fs::rename(house.dir.path().join("gone"), house.dir.path().join("b")).unwrap();
    for height in 73..80 {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.proven(), [vec![1, 2]]);
    assert!(skipped(&house).is_empty());
    assert_eq!(house.messages().len(), 1);
}

#[tokio::test]
async fn a_store_that_stays_away_costs_only_its_own_sectors() {
    for (proving, last) in [(Some(10), 87), (None, 59)] {
        let house = house(proving).await;
        let mut poster = house.start();
        for height in START..=last {
            house.at(&mut poster, height).await;
        }
        assert!(house.proven().is_empty(), "{proving:?}");
        for height in last + 1..CLOSE {
            house.at(&mut poster, height).await;
        }
        assert_eq!(house.proven(), [vec![1]], "{proving:?}");
        assert_eq!(skipped(&house), [2]);
        assert_eq!(house.messages().len(), 1);
    }
}

#[tokio::test]
async fn a_store_is_waited_for_although_one_proof_of_the_day_before_hung() {
    let house = house(Some(10)).await;
    for (open, proving) in [(-300, 10), (-240, 50), (-180, 10), (-120, 10)] {
        let key = PostKey {
            miner: MINER,
            open,
            first: 0,
        };
        let record = PostRecord {
            partitions: vec![0],
            state: PostState::Landed,
            proving_epochs: Some(proving),
            ..PostRecord::planned(key, 0, open - 20, open + 60)
        };
        house.db.plan_posts(&[record]).unwrap();
    }
    let mut poster = house.start();
    house.at(&mut poster, 70).await;
    let waits = house.records().pop().unwrap().error.unwrap();
    assert!(waits.contains("until epoch 88"), "{waits}");
}
