//! What a person tries and orders.

use super::*;
use crate::model::MessageKind;
use damocles_flow::recovery::RecoveryState;
use damocles_types::Randomness;
use fil_actor_miner_state::v18::CompactPartitionsParams;
use fvm_ipld_bitfield::BitField;

impl House {
    /// Who answers what a person asks.
    fn asked(&self) -> Asked {
        Asked {
            db: self.db.clone(),
            chain: self.chain.clone(),
            served: Served::new(vec![self.policy.clone()]),
            parts: Some(self.parts()),
        }
    }
}

const DUE: Tried = Tried::Due { faulty: false };

#[tokio::test]
async fn a_try_proves_what_would_be_due_and_sends_nothing() {
    let house = House::new(&[&[1, 2], &[3, 4]]).await;
    house.tell(200);
    house.windows(|w| (w.faulty, w.recovering) = (vec![4], vec![]));
    let asked = house.asked();
    let challenge = Randomness([7; 32]);
    let view = asked.simulate(MINER, 1, 1, DUE, Some(challenge)).await;
    let view = view.unwrap();
    assert!(view.verified && view.skipped.is_empty(), "{view:?}");
    assert_eq!((view.deadline, view.partition, view.sectors), (1, 1, 1));
    assert_eq!(view.challenge, hex::encode([7; 32]));
    assert!(view.proving_ms.is_some());
    assert_eq!(house.proven(), [vec![3]]);
    let seed = house.prover.tasks.lock()[0].seed;
    assert_eq!(seed, challenge.as_field_element());

    // the faulty one too, which cannot be read
    let short = ("its sealed file is short".to_owned(), true);
    house.prover.unread.lock().insert(4, short);
    let faulty = Tried::Due { faulty: true };
    let view = asked.simulate(MINER, 1, 1, faulty, None).await.unwrap();
    assert_eq!(view.skipped[&4], "its sealed file is short");
    assert!(view.verified && view.sectors == 1, "{view:?}");
    // those that are named, of whichever partition
    let named = Tried::Sectors(BitField::try_from_bits([1, 3]).unwrap());
    let view = asked.simulate(MINER, 1, 0, named, None).await.unwrap();
    assert_eq!((view.verified, view.sectors), (true, 2));

    assert!(house.messages().is_empty() && house.records().is_empty());
    let nowhere = asked.simulate(MINER, 1, 2, DUE, None).await;
    assert!(matches!(nowhere, Err(AskError::NoPartition(MINER))));
    let strange = asked.simulate(MINER + 1, 1, 0, DUE, None).await;
    assert!(matches!(strange, Err(AskError::NoMiner(_))));
}

#[tokio::test]
async fn a_try_that_comes_to_nothing_says_why() {
    let house = House::new(&[&[1, 2]]).await;
    house.tell(200);
    let asked = house.asked();
    house.order(Order::Lie);
    let view = asked.simulate(MINER, 1, 0, DUE, None).await.unwrap();
    assert!(!view.verified && view.error.unwrap().contains("does not verify"));
    house.order(Order::Die);
    let view = asked.simulate(MINER, 1, 0, DUE, None).await.unwrap();
    assert!(!view.verified && view.proving_ms.is_none());
    assert!(view.error.unwrap().contains("killed by a test"));
    house.order(Order::Fault(vec![1]));
    let view = asked.simulate(MINER, 1, 0, DUE, None).await.unwrap();
    assert!(view.verified && view.skipped.contains_key(&1), "{view:?}");
}

#[tokio::test]
async fn what_is_due_goes_before_a_try() {
    let house = House::new(&[&[1, 2]]).await;
    house.tell(0);
    let asked = house.asked();
    let key = PostKey {
        miner: MINER,
        open: 60,
        first: 0,
    };
    let due = PostRecord {
        partitions: vec![0],
        ..PostRecord::planned(key, 1, 40, CLOSE)
    };
    house.order(Order::Hang);
    let tried = asked.simulate(MINER, 1, 0, DUE, None);
    let comes = async {
        house.prover.hanging.notified().await;
        house.db.plan_posts(&[due]).unwrap();
        house.tell(START);
    };
    let (tried, ()) = tokio::join!(tried, comes);
    assert!(
        matches!(tried, Err(AskError::Due { deadline: 1, .. })),
        "{tried:?}"
    );
    // it is refused at once as long as that waits
    let again = asked.simulate(MINER, 1, 0, DUE, None).await;
    assert!(matches!(again, Err(AskError::Due { .. })), "{again:?}");
    assert_eq!(house.proven().len(), 1);
}

#[tokio::test]
async fn a_sector_is_read_as_a_winning_proof_does() {
    let house = House::new(&[&[1, 2]]).await;
    house.tell(200);
    let asked = house.asked();
    let one = SectorId::new(MINER, 1);
    let view = asked.winning(one, None).await.unwrap();
    assert_eq!((view.sector, &view.error), (one, &None));
    assert!(
        view.sealed_file.ends_with("a/sealed/s-t01000-1"),
        "{view:?}"
    );
    let why = "what it holds at leaf 3 is not what was sealed".to_owned();
    house.prover.unread.lock().insert(1, (why.clone(), true));
    let files = Some(("/elsewhere/sealed".into(), "/elsewhere/cache".into()));
    let view = asked.winning(one, files).await.unwrap();
    assert_eq!(
        (view.error, view.cache_dir.as_str()),
        (Some(why), "/elsewhere/cache")
    );
    assert_eq!(*house.prover.reads.lock(), [[1], [1]]);
    let none = asked.winning(SectorId::new(MINER, 9), None).await;
    assert!(matches!(none, Err(AskError::NoSector(_))), "{none:?}");
    assert!(house.messages().is_empty());
}

#[tokio::test]
async fn faulty_sectors_are_declared_when_a_person_says_so_and_once() {
    let house = House::new(&[&[1, 2]]).await;
    house.windows(|w| w.faulty = vec![2]);
    // deadline 1 closed at 120; its next cut-off is far away
    let mut poster = house.start();
    house.at(&mut poster, 125).await;
    assert!(house.messages().is_empty());
    let asked = house.asked();
    let view = asked.recover(MINER, 1).await.unwrap();
    assert_eq!((view.state.as_str(), view.deadline), ("Looking", 1));
    assert!(view.open > 125 && view.cutoff < view.open, "{view:?}");
    house.at(&mut poster, 126).await;
    let [message] = &house.messages()[..] else {
        panic!("{:?}", house.messages())
    };
    assert_eq!(message.kind, MessageKind::DeclareRecoveries);
    let view = asked.recover(MINER, 1).await.unwrap();
    assert_eq!(
        (view.state.as_str(), &view.declared[..]),
        ("Declared", &[2][..])
    );
    assert_eq!(view.messages, [message.id.to_string()]);
    house.at(&mut poster, 127).await;
    assert_eq!(house.messages().len(), 1);
    let stored = house.db.recovery(MINER, view.open).unwrap().unwrap();
    assert_eq!(stored.state, RecoveryState::Declared);
}

#[tokio::test]
async fn a_person_hears_why_there_is_nothing_to_recover() {
    let house = House::new(&[&[1, 2]]).await;
    house.tell(125);
    let asked = house.asked();
    let view = asked.recover(MINER, 1).await.unwrap();
    assert_eq!(view.state, "Cleared");
    assert_eq!(house.db.recovery(MINER, view.open).unwrap(), None);
    house.tell(70);
    let open = asked.recover(MINER, 1).await;
    assert!(
        matches!(open, Err(AskError::Open { close: CLOSE, .. })),
        "{open:?}"
    );
    let none = asked.recover(MINER, 77).await;
    assert!(matches!(none, Err(AskError::NoDeadline(MINER, 77))));
}

#[tokio::test]
async fn partitions_are_dissolved_by_one_message() {
    let house = House::new(&[&[1, 2], &[3], &[4]]).await;
    house.tell(125);
    let asked = house.asked();
    let view = asked.compact(MINER, 1, &[0, 2]).await.unwrap();
    let again = asked.compact(MINER, 1, &[0, 2]).await.unwrap();
    assert_eq!(again.message, view.message);
    let [message] = &house.messages()[..] else {
        panic!("{:?}", house.messages())
    };
    assert_eq!(message.id.to_string(), view.message);
    assert_eq!(
        (message.method, message.kind),
        (19, MessageKind::CompactPartitions)
    );
    assert_eq!(message.deadline, Some(view.until));
    let params: CompactPartitionsParams = fvm_ipld_encoding::from_slice(&message.params.0).unwrap();
    assert_eq!(params.deadline, 1);
    assert_eq!(params.partitions.iter().collect::<Vec<_>>(), [0, 2]);
    for partitions in [&[3][..], &[]] {
        let none = asked.compact(MINER, 1, partitions).await;
        assert!(matches!(none, Err(AskError::NoPartition(MINER))));
    }
    assert_eq!(house.messages().len(), 1);
}
