//! The chain goes another way: nonces that others took, branches that are lost, finality.

use super::*;

/// Whatever a node says when it is asked for the message: Lotus says an error.
#[tokio::test]
async fn a_nonce_that_another_message_took_costs_an_attempt_and_not_the_intent() {
    let mut rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    let first = rig.get(id);
    rig.chain.take_nonce(first.from, 0);
    rig.round().await;
    assert_eq!(rig.state(id), S::Pushed, "it may be taken out again");
    rig.advance(5);
    rig.round().await;
    let again = rig.get(id);
    assert_eq!(again.state, S::Wanted);
    assert_eq!(again.lost[0].cid, first.cid.unwrap());
    // a kill here makes the same second attempt
    rig.chain.edit().lose_answer = true;
    rig.round().await;
    rig.restart();
    rig.round().await;
    let second = rig.get(id);
    assert_eq!((second.state, second.nonce), (S::Pushed, Some(1)));
    assert_ne!(second.cid, first.cid);
    assert_eq!(rig.chain.edit().pushed.len(), 2);
    rig.land(id, 0);
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
    assert_eq!(
        rig.db.every_message().unwrap().len(),
        1,
        "one intent, one record"
    );
}

#[tokio::test]
async fn an_attempt_that_was_lost_and_comes_back_with_its_branch_counts() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    let first = rig.get(id);
    rig.advance(1);
    rig.chain.take_nonce(first.from, 0);
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(id), S::Wanted);
    rig.chain.set_down(true);
    rig.round().await;
    rig.chain.set_down(false);
    // the branch on which the other message was is gone, and ours is in the next one
    rig.reorganise(100, 1);
    rig.chain.land(first.cid.unwrap(), 0, RawBytes::default());
    rig.advance(5);
    rig.round().await;
    rig.round().await;
    let landed = rig.get(id);
    assert_eq!((landed.state, landed.cid), (S::Landed, first.cid));
}

/// A branch was lost below what had landed, and the pool with it.
#[tokio::test]
async fn what_landed_and_left_the_chain_is_sent_again_as_it_was() {
    let mut rig = Rig::new(900);
    let (a, b) = (rig.wanted().await, rig.wanted().await);
    rig.round().await;
    rig.advance(18);
    for id in [a, b] {
        rig.land(id, 0);
    }
    rig.advance(5);
    rig.round().await;
    assert_eq!((rig.state(a), rig.state(b)), (S::Landed, S::Landed));
    let before = [a, b].map(|id| rig.get(id).cid.unwrap());
    rig.advance(60);
    rig.round().await;
    let asked = rig.chain.edit().searches.len();
    rig.advance(1);
    rig.round().await;
    assert_eq!(
        rig.chain.edit().searches.len(),
        asked,
        "a chain that grows is asked one question, not one for each message"
    );

    // one of the two in another process
    for restart in [false, true] {
        if restart {
            rig.restart();
        }
        rig.reorganise(915, 3);
        if restart {
            // and the node knows nothing any more that is not on chain
            rig.chain.forget();
        }
        rig.round().await;
        for id in [a, b] {
            let open = rig.get(id);
            assert_eq!((open.state, open.epoch), (S::Pushed, None));
        }
        let mut sent = rig.chain.edit().republished.clone();
        sent.sort();
        let mut ours = before.to_vec();
        ours.sort();
        assert_eq!(sent, ours, "at once, and the same bytes");
        rig.chain.edit().republished.clear();
        rig.advance(2);
        for id in [a, b] {
            rig.land(id, 0);
        }
        rig.advance(5);
        rig.round().await;
        assert_eq!((rig.state(a), rig.state(b)), (S::Landed, S::Landed));
    }
    assert_eq!(rig.chain.edit().pushed.len(), 2);
    assert_eq!(rig.db.every_message().unwrap().len(), 2);
}

#[tokio::test]
async fn what_went_back_to_the_pool_keeps_its_nonce_before_anything_new() {
    let rig = Rig::new(900);
    let old = rig.wanted().await;
    rig.round().await;
    rig.land(old, 0);
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(old), S::Landed);
    let new = rig.wanted().await;
    rig.reorganise(890, 2);
    rig.round().await;
    assert_eq!((rig.get(old).nonce, rig.get(new).nonce), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_message_is_final_when_the_chain_says_so_or_after_900_epochs() {
    for told in [None, Some(950)] {
        let rig = Rig::new(900);
        let id = rig.wanted().await;
        rig.round().await;
        rig.land(id, 0);
        rig.advance(899);
        rig.round().await;
        assert_eq!(rig.state(id), S::Landed);
        match told {
            Some(_) => {
                rig.chain.edit().finalized = told;
                rig.advance(0);
                rig.chain.advance(1);
            }
            None => rig.chain.advance(1),
        }
        rig.advance(0);
        rig.round().await;
        assert_eq!(rig.state(id), S::Final, "{told:?}");
        assert!(rig.db.watched_messages(None).unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_node_that_is_away_or_cannot_tell_takes_nothing_back() {
    let rig = Rig::new(900);
    let id = rig.wanted().await;
    rig.round().await;
    rig.land(id, 0);
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
    rig.chain.set_down(true);
    rig.advance(1);
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
    rig.chain.set_down(false);
    // another node, that does not have the head's tipset
    rig.tell.send_replace(Some(Head {
        height: 906,
        key: TipSetKey(vec![rig.get(id).cid.unwrap()]),
        timestamp: 0,
    }));
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
}

#[tokio::test]
async fn a_search_goes_no_further_back_than_the_push() {
    let rig = Rig::new(5000);
    rig.wanted().await;
    rig.round().await;
    rig.advance(7);
    rig.round().await;
    let searched = rig.chain.edit().searches.clone();
    assert!(!searched.is_empty());
    assert!(
        searched.iter().all(|limit| (7..100).contains(limit)),
        "{searched:?}"
    );
}

/// What had the nonce before ours went with the branch and with the pool, and nobody sends it
/// again: an operator's transfer, or a message of ours that had failed.
#[tokio::test]
async fn a_nonce_that_nobody_has_any_more_holds_up_nothing_for_ever() {
    let mut rig = Rig::new(900);
    rig.advance(1);
    rig.chain.take_nonce(intent().from, 0);
    let id = rig.wanted().await;
    rig.round().await;
    assert_eq!(rig.get(id).nonce, Some(1));
    let ours = rig.get(id).cid.unwrap();
    rig.reorganise(900, 1);
    for _ in 0..10 {
        rig.round().await;
        rig.advance(1);
    }
    let sent = rig.chain.edit().republished.clone();
    assert!(sent.iter().all(|cid| *cid == ours), "it may come back");
    // a kill: whoever sees a gap for the first time waits
    rig.restart();
    for _ in 0..=10 {
        rig.round().await;
        rig.advance(1);
    }
    let first = rig.chain.first_waiting(intent().from);
    assert_eq!(first, Some(0), "the nonce has a message again");
    let fillers = |rig: &Rig| {
        let sent = rig.chain.edit().republished.clone();
        sent.iter().filter(|cid| **cid != ours).count()
    };
    assert_eq!(fillers(&rig), 1);
    for _ in 0..20 {
        rig.round().await;
        rig.advance(1);
    }
    assert_eq!(fillers(&rig), 1, "what waits in the pool is not replaced");
    rig.chain.take_nonce(intent().from, 0);
    rig.land(id, 0);
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
}

/// Failed is not final either: on another branch it may land, or be open again.
#[tokio::test]
async fn what_failed_on_a_branch_that_is_gone_is_followed_on_the_next_one() {
    let mut rig = Rig::new(900);
    let a = rig.wanted().await;
    rig.round().await;
    let b = rig.wanted().await;
    rig.round().await;
    rig.advance(18);
    for id in [a, b] {
        rig.land(id, 16);
    }
    rig.advance(5);
    rig.round().await;
    assert_eq!((rig.state(a), rig.state(b)), (S::Failed, S::Failed));
    rig.restart();
    rig.reorganise(915, 3);
    let cid = rig.get(a).cid.unwrap();
    // a block of the new branch has the one, the other is in no pool any more
    rig.chain.land(cid, 0, RawBytes::default());
    rig.round().await;
    let packed = rig.get(a);
    assert_eq!((packed.state, packed.exit_code), (S::Packed, None));
    assert_eq!(rig.state(b), S::Pushed);
    assert_eq!(rig.chain.edit().republished, [rig.get(b).cid.unwrap()]);
    rig.land(b, 16);
    rig.advance(5);
    rig.round().await;
    assert_eq!((rig.state(a), rig.state(b)), (S::Landed, S::Failed));
    rig.advance(900);
    rig.round().await;
    assert_eq!((rig.state(a), rig.state(b)), (S::Final, S::FailedFinal));
    assert!(rig.db.watched_messages(None).unwrap().is_empty());
}
