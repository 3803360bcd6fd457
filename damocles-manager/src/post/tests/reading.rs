//! Sectors that cannot be read: each costs itself only, whoever finds it.

use super::*;
use std::sync::atomic::Ordering;

/// Sectors 1 to 8 in one partition of one store.
async fn house() -> House {
    House::new(&[&[1, 2, 3, 4, 5, 6, 7, 8]]).await
}

fn unread(house: &House, number: SectorNumber, why: &str, wrong: bool) {
    let mut unread = house.prover.unread.lock();
    unread.insert(number, (why.to_owned(), wrong));
}

fn without(bad: &[SectorNumber]) -> Vec<SectorNumber> {
    (1..9).filter(|n| !bad.contains(n)).collect()
}

#[tokio::test]
async fn a_strict_check_finds_what_is_wrong_before_the_prover_does() {
    let house = house().await;
    unread(&house, 3, "its sealed file is another one's", true);
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!(house.proven(), [without(&[3])]);
    assert_eq!(house.prover.reads.lock().len(), 1);
    let seed = house.prover.tasks.lock()[0].seed;
    assert_eq!(
        record.skipped,
        [(3, "its sealed file is another one's".to_owned())]
    );
    assert_eq!(seed, record.randomness.unwrap().as_field_element());
}

#[tokio::test]
async fn what_does_not_answer_is_waited_for_and_then_left_out_alone() {
    let house = house().await;
    unread(&house, 5, "Input/output error (os error 5)", false);
    let mut poster = house.start();
    for height in START..60 {
        house.at(&mut poster, height).await;
    }
    assert!(
        house.proven().is_empty(),
        "it may come back until the opening"
    );
    let waits = house.one().error.unwrap();
    assert!(
        waits.contains("os error 5") && waits.contains("until epoch 60"),
        "{waits}"
    );
    for height in 60..SEND + 4 {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.proven(), [without(&[5])]);
    assert_eq!(house.one().skipped.len(), 1);
    assert_eq!(house.messages().len(), 1);

    // one that came back is proven with the others
    let house = self::house().await;
    unread(&house, 5, "Input/output error (os error 5)", false);
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    house.prover.unread.lock().clear();
    for height in START + 1..60 {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.proven(), [without(&[])]);
    assert!(house.one().skipped.is_empty());
}

#[tokio::test]
async fn one_that_ends_the_reading_process_is_found_by_halves() {
    let house = house().await;
    house.prover.deadly.lock().push(6);
    let mut poster = house.start();
    for height in START..SEND + 4 {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.proven(), [without(&[6])]);
    let skipped = house.one().skipped;
    assert!(
        skipped.len() == 1 && skipped[0].1.contains("lost"),
        "{skipped:?}"
    );
    let first: Vec<_> = house.prover.reads.lock()[..7].to_vec();
    assert_eq!(first[0].len(), 8);
    assert!(first.iter().any(|read| *read == [6]), "{first:?}");
}

#[tokio::test]
async fn a_prover_that_fails_without_a_word_has_the_sectors_read_one_by_one() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    unread(
        &house,
        2,
        "what it holds at leaf 3 is not what was sealed",
        true,
    );
    house.order(Order::Die);
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    assert_eq!(house.proven(), [without(&[]), without(&[2])]);
    assert_eq!(house.prover.reads.lock().len(), 1);
    let skipped = house.one().skipped;
    assert!(
        skipped.len() == 1 && skipped[0].1.contains("leaf 3"),
        "{skipped:?}"
    );

    // all can be read: it was killed by somebody else, and nothing is skipped
    let mut house = self::house().await;
    house.policy.post.strict_check = false;
    house.order(Order::Die);
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    assert_eq!(house.states(), [PostState::Proving]);
    house.at(&mut poster, START + 1).await;
    assert_eq!(house.proven(), [without(&[]), without(&[])]);
    assert!(house.one().skipped.is_empty());
}

#[tokio::test]
async fn one_that_the_prover_names_is_waited_for_where_its_disk_does_not_answer() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    unread(&house, 4, "Stale file handle (os error 116)", false);
    house.order(Order::Fault(vec![4]));
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    assert_eq!(house.proven(), [without(&[])]);
    assert!(house.one().error.unwrap().contains("os error 116"));
    house.prover.unread.lock().clear();
    house.at(&mut poster, START + 1).await;
    assert_eq!(house.states(), [PostState::Proved]);
    assert!(house.one().skipped.is_empty());
}

/// Once the prover is at it, the heads come one after the other.
async fn heads_come(house: &House, heads: std::ops::Range<Epoch>) {
    house.prover.hanging.notified().await;
    for height in heads {
        house.tell(height);
        tokio::task::yield_now().await;
    }
}

/// The prover is asked at START and never answers; the heads come one after the other.
async fn while_it_hangs(house: &House, heads: std::ops::Range<Epoch>) {
    house.order(Order::Hang);
    let mut poster = house.start();
    let start = house.tell(START);
    let both = async { tokio::join!(poster.settle(start), heads_come(house, heads)) };
    let given_up = tokio::time::timeout(Duration::from_secs(60), both).await;
    given_up.expect("nobody waits for ever for a prover that hangs");
}

#[tokio::test]
async fn a_prover_that_a_disk_holds_goes_on_without_the_sectors_of_that_disk() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    // found, and then nothing answers any more
    unread(&house, 7, "reading it has not ended within 10s", false);
    while_it_hangs(&house, START + 1..80).await;
    // the window is open, and nobody knows how long a proof takes: it is not waited for
    assert_eq!(house.proven(), [without(&[]), without(&[7])]);
    let record = house.one();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!(record.skipped.len(), 1);
    assert_eq!(house.prover.reads.lock().len(), 1);
}

#[tokio::test]
async fn a_prover_that_is_slow_for_no_sector_is_left_at_its_work() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    house.order(Order::Slow);
    let mut poster = house.start();
    let start = house.tell(START);
    let others = async {
        heads_come(&house, START + 1..80).await;
        until(|| !house.prover.reads.lock().is_empty()).await;
        house.prover.go_on.notify_one();
    };
    tokio::join!(poster.settle(start), others);
    assert_eq!(house.proven(), [without(&[])]);
    assert!(house.one().skipped.is_empty());
}

#[tokio::test]
async fn a_prover_that_proves_for_others_too_is_not_ended_for_one() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    house.prover.shared.store(true, Ordering::SeqCst);
    unread(&house, 7, "reading it has not ended within 10s", false);
    house.order(Order::Slow);
    let mut poster = house.start();
    let start = house.tell(START);
    let others = async {
        heads_come(&house, START + 1..90).await;
        house.prover.go_on.notify_one();
    };
    tokio::join!(poster.settle(start), others);
    assert_eq!(house.proven(), [without(&[])]);
    assert!(house.prover.reads.lock().is_empty());
    assert!(house.one().skipped.is_empty());
}

#[tokio::test]
async fn a_proof_that_waits_for_its_turn_is_not_doubted() {
    let mut house = house().await;
    house.policy.post.strict_check = false;
    house.order(Order::Queue);
    let mut poster = house.start();
    let start = house.tell(START);
    let others = async {
        heads_come(&house, START + 1..90).await;
        house.prover.go_on.notify_one();
    };
    tokio::join!(poster.settle(start), others);
    assert_eq!(house.proven(), [without(&[])]);
    assert!(house.prover.reads.lock().is_empty());
    // what others took before it is no measure of what it takes
    assert_eq!(house.one().proving_epochs, Some(1));
}

async fn until(mut come: impl FnMut() -> bool) {
    while !come() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_prover_that_hangs_for_no_sector_is_given_up_for_another_one() {
    let house = house().await;
    let before = PostKey {
        miner: MINER,
        open: 0,
        first: 0,
    };
    let record = PostRecord {
        partitions: vec![0],
        state: PostState::Landed,
        proving_epochs: Some(5),
        ..PostRecord::planned(before, 0, -20, 60)
    };
    house.db.plan_posts(&[record]).unwrap();
    // doubted at 60, and at 70 it has taken four times as long as the one before
    while_it_hangs(&house, START + 1..75).await;
    assert_eq!(house.proven(), [without(&[]), without(&[])]);
    let record = house.records().pop().unwrap();
    assert_eq!(record.state, PostState::Proved);
    assert!(record.skipped.is_empty());
}
