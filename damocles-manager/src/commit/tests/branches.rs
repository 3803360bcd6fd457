//! The chain goes another way, or a message fails whose end was reached all the same.

use super::*;

/// A sector whose precommit landed by a message of ours, at that epoch.
async fn landed(house: &House) -> (SectorId, MessageRecord) {
    let id = house.sector();
    let info = house.info().await;
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    house.push().await;
    let message = house.messages(id)[0].clone();
    house.precommitted(id);
    house.run(&message, 0, RawBytes::default()).await;
    assert_eq!(house.pre_poll(id).await, (OnChainState::Landed, None));
    (id, message)
}

#[tokio::test]
async fn a_precommit_that_left_the_chain_is_brought_back_and_nobody_is_told_that_it_landed() {
    let house = House::new(|_| {});
    let (id, message) = landed(&house).await;
    // back below it, the number free again, the pool empty; the engine has not looked yet
    house.rig.reorganise(4990, 5);
    house.rig.chain.edit().allocated.clear();
    let waits = (OnChainState::Packed, Some(Reason::NotNow));
    assert_eq!(house.pre_poll(id).await, waits);
    let said = house.commit.pre_commit_is_missing(id).await;
    assert!(matches!(said, CommitError::NotSeen(_)) && said.is_wait());
    let early = house.commit.submit_proof(id, proof(b"x"), false).await;
    assert!(matches!(early, Err(CommitError::NotSeen(_))));

    house.rig.round().await;
    assert_eq!(house.pre_poll(id).await, (OnChainState::Pending, None));
    assert_eq!(house.rig.chain.edit().republished.len(), 1);
    house.precommitted(id);
    house.run(&message, 0, RawBytes::default()).await;
    assert_eq!(house.pre_poll(id).await, (OnChainState::Landed, None));
    assert_eq!(house.messages(id).len(), 1);
}

#[tokio::test]
async fn a_precommit_that_fails_on_the_new_branch_gets_another_message() {
    let house = House::new(|_| {});
    let (id, message) = landed(&house).await;
    house.rig.reorganise(4990, 5);
    house.rig.chain.edit().allocated.clear();
    house.rig.round().await;
    house.run(&message, 7, RawBytes::default()).await;
    assert_eq!(house.messages(id)[0].state, MessageState::Failed);
    // the worker, which waits for the seed, hears of a wait
    for _ in 0..2 {
        let said = house.commit.pre_commit_is_missing(id).await;
        assert!(matches!(said, CommitError::NotSeen(_)), "{said}");
    }
    house.push().await;
    assert_eq!(house.messages(id).len(), 2);
    house.precommitted(id);
    house
        .run(&house.messages(id)[1], 0, RawBytes::default())
        .await;
    assert_eq!(house.pre_poll(id).await, (OnChainState::Landed, None));
}

#[tokio::test]
async fn a_message_that_failed_while_the_chain_has_the_sector_is_no_failure() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.push().await;
    // its twin, or another manager's
    house.precommitted(id);
    let message = house.messages(id)[0].clone();
    house.run(&message, 16, RawBytes::default()).await;
    assert_eq!(house.messages(id)[0].state, MessageState::Failed);
    assert_eq!(house.pre_poll(id).await, (OnChainState::Landed, None));
}

#[tokio::test]
async fn a_precommit_that_failed_with_an_expired_ticket_says_so_as_a_code() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.push().await;
    house.rig.advance(4000);
    let message = house.messages(id)[0].clone();
    house.run(&message, 16, RawBytes::default()).await;
    let want = (OnChainState::Failed, Some(Reason::TicketExpired));
    assert_eq!(house.pre_poll(id).await, want);
}

#[tokio::test]
async fn one_of_a_batch_that_failed_is_worth_a_message_of_its_own() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (a, b) = (house.sector(), house.sector());
    let info = house.info().await;
    for id in [a, b] {
        house.submit(id, info, false).await;
    }
    house.push().await;
    let message = house.messages(a)[0].clone();
    house.run(&message, 16, RawBytes::default()).await;
    for id in [a, b] {
        assert_eq!(house.pre_state(id).await.0, OnChainState::Failed);
    }
}

#[tokio::test]
async fn nothing_is_judged_while_no_head_is_believed() {
    let house = House::new(|_| {});
    let (id, _) = landed(&house).await;
    let info = house.info().await;
    let other = house.sector();
    house.rig.chain.edit().behind = Some("its head is 3 days old".into());
    let poll = house.commit.poll_pre_commit(id).await.unwrap_err();
    let sector = AllocatedSector {
        id: other,
        proof_type: PROOF,
    };
    let submit = house.commit.submit_pre_commit(sector, info, false).await;
    for error in [poll, submit.unwrap_err()] {
        assert!(error.is_wait() && error.to_string().contains("3 days old"));
    }
}
