//! Faulty sectors that can be read are declared recovered before their deadline's cut-off.

use super::*;
use crate::{db::recoveries::RecoveryRecord, model::MessageKind};
use damocles_flow::recovery::RecoveryState;
use fil_actor_miner_state::v18::DeclareFaultsRecoveredParams;
use fvm_shared::econ::TokenAmount;

/// Deadline 1 opens at 300 next; its faulty sectors are looked at from 170, its cut-off is 230.
const LOOK: Epoch = 170;
const CUTOFF: Epoch = 230;
const OPEN: Epoch = 300;

async fn house(faulty: &[SectorNumber]) -> House {
    let house = House::new(&[&[1, 2], &[3, 4]]).await;
    house.windows(|w| w.faulty = faulty.to_vec());
    house
}

fn recovery(house: &House) -> RecoveryRecord {
    house.db.recovery(MINER, OPEN).unwrap().unwrap()
}

fn declared(house: &House) -> Vec<MessageRecord> {
    let all = house.messages().into_iter();
    all.filter(|m| m.kind == MessageKind::DeclareRecoveries)
        .collect()
}

/// Deadline, partition and sectors of each declaration, message by message.
fn params(house: &House) -> Vec<Vec<(u64, u64, Vec<SectorNumber>)>> {
    let read = |m: MessageRecord| -> Vec<_> {
        let params: DeclareFaultsRecoveredParams =
            fvm_ipld_encoding::from_slice(&m.params.0).unwrap();
        let all = params.recoveries.into_iter();
        all.map(|r| (r.deadline, r.partition, r.sectors.iter().collect()))
            .collect()
    };
    declared(house).into_iter().map(read).collect()
}

async fn over(house: &House, poster: &mut MinerLoop, heights: std::ops::Range<Epoch>) {
    for height in heights {
        house.at(poster, height).await;
    }
}

#[tokio::test]
async fn faulty_sectors_that_can_be_read_are_declared_once_and_over_restarts() {
    let house = house(&[2, 3, 4]).await;
    house
        .prover
        .unread
        .lock()
        .insert(4, ("it is gone".into(), true));
    let mut poster = house.start();
    house.at(&mut poster, LOOK - 1).await;
    assert!(declared(&house).is_empty());
    house.at(&mut poster, LOOK).await;
    house.at(&mut poster, LOOK + 1).await;
    assert_eq!(params(&house), [[(1, 0, vec![2]), (1, 1, vec![3])]]);
    let message = declared(&house).remove(0);
    assert_eq!((message.method, message.deadline), (11, Some(CUTOFF)));
    let record = recovery(&house);
    assert_eq!(record.state, RecoveryState::Declared);
    assert_eq!(record.faulty, [(4, "it is gone".to_owned())]);
    // another process
    let mut poster = house.start();
    over(&house, &mut poster, LOOK + 2..LOOK + 6).await;
    assert_eq!(declared(&house).len(), 1);
    house.execute(MessageEvent::Land, LOOK + 5, 0);
    house.windows(|w| w.recovering = vec![2, 3]);
    over(&house, &mut poster, LOOK + 6..CUTOFF + 5).await;
    assert_eq!(recovery(&house).state, RecoveryState::Landed);
    assert_eq!(declared(&house).len(), 1, "once in a proving period");
}

#[tokio::test]
async fn one_that_comes_back_in_time_is_declared_with_the_others() {
    let house = house(&[1, 2]).await;
    let away = ("Input/output error (os error 5)".to_owned(), false);
    house.prover.unread.lock().insert(2, away);
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..LOOK + 20).await;
    assert!(declared(&house).is_empty());
    let record = recovery(&house);
    assert_eq!(record.state, RecoveryState::Looking);
    assert!(record.error.unwrap().contains("os error 5"));
    house.prover.unread.lock().clear();
    over(&house, &mut poster, LOOK + 20..LOOK + 30).await;
    assert_eq!(params(&house), [[(1, 0, vec![1, 2])]]);
    assert!(recovery(&house).faulty.is_empty());
}

#[tokio::test]
async fn the_others_are_declared_when_one_stays_away() {
    let house = house(&[1, 2]).await;
    let away = ("Input/output error (os error 5)".to_owned(), false);
    house.prover.unread.lock().insert(2, away);
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..CUTOFF).await;
    assert_eq!(params(&house), [[(1, 0, vec![1])]]);
    assert_eq!(recovery(&house).faulty.len(), 1);
}

#[tokio::test]
async fn where_nothing_can_be_read_it_is_tried_until_the_cut_off_and_said() {
    let house = house(&[3]).await;
    house
        .prover
        .unread
        .lock()
        .insert(3, ("it is gone".into(), true));
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..CUTOFF + 2).await;
    let record = recovery(&house);
    assert_eq!(record.state, RecoveryState::Passed);
    assert_eq!(record.faulty, [(3, "it is gone".to_owned())]);
    assert!(declared(&house).is_empty());
    // a period later it is repaired
    house.prover.unread.lock().clear();
    over(&house, &mut poster, LOOK + 240..LOOK + 243).await;
    assert_eq!(params(&house), [[(1, 1, vec![3])]]);
}

#[tokio::test]
async fn what_the_miner_owes_is_paid_with_the_first_message() {
    let mut house = house(&[1, 3]).await;
    house.policy.post.max_partitions_per_recovery = 1;
    house.policy.post.fee.max_fee = TokenAmount::from_whole(5);
    let owed = TokenAmount::from_whole(-3);
    house.chain.edit().available.insert(MINER, owed);
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..LOOK + 2).await;
    let mut values: Vec<_> = declared(&house).into_iter().map(|m| m.value).collect();
    values.sort();
    assert_eq!(
        values,
        [
            TokenAmount::default(),
            TokenAmount::from_nano(3_300_000_000_u64)
        ]
    );
}

#[tokio::test]
async fn what_it_owes_beyond_the_operators_limit_is_named_and_waited_for() {
    let house = house(&[1]).await;
    let owed = TokenAmount::from_whole(-3);
    house.chain.edit().available.insert(MINER, owed);
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..LOOK + 10).await;
    assert!(declared(&house).is_empty());
    let why = recovery(&house).error.unwrap();
    assert!(
        why.contains("owes 3.0 FIL") && why.contains("t01000"),
        "{why}"
    );
    house.chain.edit().available.clear();
    over(&house, &mut poster, LOOK + 10..LOOK + 20).await;
    assert_eq!(declared(&house).len(), 1);
}

#[tokio::test]
async fn limits_of_the_operator_are_kept() {
    let mut house = house(&[1, 2, 3, 4]).await;
    house.policy.post.max_partitions_per_recovery = 1;
    house.policy.post.max_recovered_sectors = 3;
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..LOOK + 2).await;
    // wanted within the same millisecond, in any order
    let mut messages = params(&house);
    messages.sort();
    assert_eq!(messages, [[(1, 0, vec![1, 2])], [(1, 1, vec![3])]]);
    let faulty = recovery(&house).faulty;
    assert!(faulty[0].1.contains("MaxRecoverSectorLimit"), "{faulty:?}");
}

#[tokio::test]
async fn a_message_that_fails_is_followed_by_another_before_the_cut_off() {
    let house = house(&[1]).await;
    let mut poster = house.start();
    over(&house, &mut poster, LOOK..LOOK + 2).await;
    house.execute(MessageEvent::Fail, LOOK + 2, 18);
    over(&house, &mut poster, LOOK + 2..LOOK + 8).await;
    assert_eq!(declared(&house).len(), 2);
    assert_eq!(recovery(&house).state, RecoveryState::Declared);
    house.execute(MessageEvent::Fail, CUTOFF, 16);
    over(&house, &mut poster, CUTOFF..CUTOFF + 2).await;
    let record = recovery(&house);
    assert_eq!(record.state, RecoveryState::Passed);
    assert!(record.faulty[0].1.contains("exit code 16"), "{record:?}");
    assert_eq!(declared(&house).len(), 2);
}

#[tokio::test]
async fn what_another_declared_is_not_declared_again() {
    let house = house(&[1]).await;
    house.prover.unread.lock().insert(1, ("away".into(), false));
    let mut poster = house.start();
    house.at(&mut poster, LOOK).await;
    house.windows(|w| w.recovering = vec![1]);
    over(&house, &mut poster, LOOK + 1..LOOK + 10).await;
    assert_eq!(recovery(&house).state, RecoveryState::Cleared);
    assert!(declared(&house).is_empty());
}

#[tokio::test]
async fn a_node_that_is_away_is_asked_again() {
    let house = house(&[1]).await;
    house.chain.edit().down_for = Some("StateMinerPartitions");
    let mut poster = house.start();
    house.at(&mut poster, LOOK).await;
    house.chain.edit().down_for = None;
    over(&house, &mut poster, LOOK + 1..LOOK + 4).await;
    assert_eq!(declared(&house).len(), 1);
    // a deadline without faults is asked about once
    let before = house.chain.edit().asked["StateMinerPartitions"];
    over(&house, &mut poster, CUTOFF..CUTOFF + 9).await;
    let asked = house.chain.edit().asked["StateMinerPartitions"] - before;
    assert!(asked <= 2, "{asked}");
}
