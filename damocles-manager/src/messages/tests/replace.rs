//! What no block takes is made dearer or withdrawn: one message of a nonce is executed, whatever
//! stops in between, and it costs no more than it may.

use super::*;
use crate::db::{
    record::{GasRecord, Order, Paid},
    spent::day,
};
use fvm_shared::bigint::BigInt;

fn nano(n: u64) -> TokenAmount {
    TokenAmount::from_nano(n)
}

impl Rig {
    /// A message of that kind that may cost so many FIL in all.
    async fn wanted_for(&self, kind: MessageKind, most: i64, deadline: Option<Epoch>) -> MessageId {
        let mut intent = intent();
        (intent.kind, intent.deadline) = (kind, deadline);
        intent.fee.max_fee = TokenAmount::from_whole(most);
        let id = MessageId::new();
        self.engine.want(id, intent).await.unwrap();
        id
    }

    /// Blocks become dear; and so many epochs go by with a round in each.
    async fn dear_for(&self, base_fee: u64, epochs: Epoch) {
        self.chain.edit().base_fee = nano(base_fee);
        for _ in 0..epochs {
            self.advance(1);
            self.round().await;
        }
    }

    fn cap(&self, id: MessageId) -> TokenAmount {
        self.get(id).signed.unwrap().message.gas_fee_cap
    }
}

#[tokio::test]
async fn a_windowpost_under_the_base_fee_is_made_dearer_and_lands_once() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::WindowPost, 5, None).await;
    rig.round().await;
    let first = rig.get(id).cid.unwrap();
    rig.dear_for(20, 1).await;
    assert_eq!(rig.get(id).cid, Some(first), "not at once");
    rig.dear_for(20, 1).await;
    let second = rig.get(id);
    assert_eq!(
        (second.state, second.nonce, second.lost.len()),
        (S::Pushed, Some(0), 1)
    );
    // twice the base fee, and a premium that a pool takes in the place of the first one's
    assert!(rig.cap(id) > nano(40), "{}", rig.cap(id));
    assert_eq!(second.signed.unwrap().message.params.to_vec(), [1, 2, 3]);
    rig.chain.mine();
    rig.advance(6);
    rig.round().await;
    let landed = rig.get(id);
    assert_eq!(landed.state, S::Landed);
    assert_ne!(landed.cid, Some(first));
    assert_eq!(rig.chain.executed(landed.from, 0), landed.cid);
    assert_eq!(
        rig.engine.chain.next_nonce(landed.from).await.unwrap(),
        1,
        "one message"
    );
}

#[tokio::test]
async fn the_first_attempt_counts_when_it_is_the_one_that_a_block_took() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::WindowPost, 5, None).await;
    rig.round().await;
    let first = rig.get(id).cid.unwrap();
    rig.dear_for(20, 2).await;
    assert_ne!(rig.get(id).cid, Some(first));
    rig.chain.edit().base_fee = nano(1);
    rig.chain.land(first, 0, RawBytes::default());
    rig.advance(6);
    rig.round().await;
    let landed = rig.get(id);
    assert_eq!((landed.state, landed.cid), (S::Landed, Some(first)));
    // 1,000 of 1,200,000 gas were used: the price is the first attempt's, and most of it is burnt
    let Paid { day: on, fee } = landed.paid.unwrap();
    let premium = rig.chain.edit().premium.clone();
    let burnt = nano(1).atto() * BigInt::from(1_000 + 1_199_000);
    let tip = premium.min(nano(4)).atto() * BigInt::from(1_200_000);
    assert_eq!(fee.atto(), &(burnt + tip));
    let spent = rig.db.spent(on, 1000, MessageKind::WindowPost).unwrap();
    assert_eq!(spent, fee);
}

/// Only a deadline makes other messages spend more than they began with.
#[tokio::test]
async fn an_ordinary_message_waits_for_a_lower_base_fee_until_its_deadline_is_near() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::PreCommit, 5, Some(300)).await;
    rig.round().await;
    rig.dear_for(20, 30).await;
    let waits = rig.get(id);
    assert_eq!(rig.cap(id), nano(5));
    let why = waits.error.unwrap();
    assert!(
        why.contains("base fee of 20") && why.contains("--max-fee"),
        "{why}"
    );
    rig.dear_for(20, 60).await;
    assert!(
        rig.cap(id) > nano(40),
        "epoch {} of 300",
        rig.chain.edit().height
    );
}

#[tokio::test]
async fn a_message_is_made_no_dearer_than_it_may_be() {
    let rig = Rig::new(100);
    // 1.2 million gas: a FIL buys 833 nanoFIL per unit
    let id = rig.wanted_for(MessageKind::WindowPost, 1, None).await;
    rig.round().await;
    rig.dear_for(800, 10).await;
    let most = TokenAmount::from_whole(1).div_floor(1_200_000);
    assert!(
        rig.cap(id) <= most && rig.cap(id) > nano(800),
        "{}",
        rig.cap(id)
    );
    rig.dear_for(900, 30).await;
    let stands = rig.get(id);
    assert!(rig.cap(id) <= most, "{}", rig.cap(id));
    assert!(
        stands.error.unwrap().contains("base fee of 900"),
        "it is said"
    );
    // a person may allow more, once
    let order = Some(TokenAmount::from_whole(9).atto().to_string());
    rig.engine
        .order_replacement(&id.to_string(), order)
        .await
        .unwrap();
    rig.round().await;
    assert!(rig.cap(id) > nano(1800));
    assert_eq!(rig.get(id).order, None);
}

#[tokio::test]
async fn what_a_day_may_cost_holds_back_what_is_not_urgent() {
    let rig = Rig::new(100);
    let spend = |kind, most: i64| {
        let mut intent = intent();
        (intent.kind, intent.fee.max_fee) = (kind, TokenAmount::from_whole(5));
        intent.fee.max_fee_per_day = TokenAmount::from_nano(most);
        intent
    };
    let today = day(unix_ms());
    for kind in [MessageKind::PreCommit, MessageKind::WindowPost] {
        let spent = MessageId::new();
        rig.engine.want(spent, spend(kind, 5)).await.unwrap();
        rig.round().await;
        rig.land(spent, 0);
        rig.advance(6);
        rig.round().await;
        let fee = rig.db.spent(today, 1000, kind).unwrap();
        assert!(fee >= TokenAmount::from_nano(5), "{fee}");
    }
    let (pre, post) = (MessageId::new(), MessageId::new());
    let mut recovery = spend(MessageKind::DeclareRecoveries, 5);
    recovery.fee.max_fee_per_day = TokenAmount::from_atto(1);
    let spent = MessageId::new();
    rig.engine.want(spent, recovery.clone()).await.unwrap();
    rig.round().await;
    rig.land(spent, 0);
    rig.advance(6);
    rig.round().await;
    let another = MessageId::new();
    rig.engine.want(another, recovery).await.unwrap();
    rig.round().await;
    assert_eq!(
        rig.state(another),
        S::Pushed,
        "a sector that stays faulty costs more"
    );
    rig.engine
        .want(pre, spend(MessageKind::PreCommit, 5))
        .await
        .unwrap();
    rig.engine
        .want(post, spend(MessageKind::WindowPost, 5))
        .await
        .unwrap();
    rig.round().await;
    let waits = rig.get(pre);
    assert_eq!(
        (waits.state, waits.refusals),
        (S::Wanted, 0),
        "a wait is no failure"
    );
    assert!(waits.error.unwrap().contains("MaxFeePerDay"));
    assert_eq!(rig.state(post), S::Pushed, "a proof is not held back");
    rig.dear_for(20, 10).await;
    assert_eq!(rig.cap(post), nano(5), "but made no dearer");
}

/// Stops after a dearer attempt or a withdrawal was stored and before the node has it, and after
/// that; one message of the nonce is executed, and the record says which.
#[tokio::test]
async fn a_stop_anywhere_in_making_it_dearer_or_withdrawing_it_ends_the_same() {
    for (sent, withdrawn) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut rig = Rig::new(100);
        let id = rig.wanted_for(MessageKind::WindowPost, 5, Some(110)).await;
        rig.round().await;
        if withdrawn {
            let why = "wrong".to_owned();
            rig.engine
                .order_withdrawal(&id.to_string(), why)
                .await
                .unwrap();
        }
        if !sent {
            rig.chain.edit().down_for = Some("MpoolPush");
        }
        rig.dear_for(20, 2).await;
        let bytes = |rig: &Rig| {
            let record = rig.get(id);
            let withdrawal = record.withdrawal.map(|w| w.signed);
            (record.signed.unwrap(), withdrawal)
        };
        let before = bytes(&rig);
        assert_eq!(before.1.is_some(), withdrawn);
        rig.restart();
        rig.chain.edit().down_for = None;
        rig.advance(1);
        rig.round().await;
        assert_eq!(bytes(&rig), before, "the same bytes");
        rig.chain.mine();
        rig.advance(6);
        rig.round().await;
        let ended = rig.get(id);
        let want = if withdrawn { S::Rejected } else { S::Landed };
        assert_eq!(ended.state, want, "{sent}");
        assert_eq!(rig.engine.chain.next_nonce(ended.from).await.unwrap(), 1);
        let executed = rig.chain.executed(ended.from, 0);
        assert_eq!(executed == ended.cid, !withdrawn, "{sent}");
    }
}

#[tokio::test]
async fn a_message_past_its_deadline_gives_up_its_nonce_and_those_behind_it_go_on() {
    let rig = Rig::new(100);
    let doomed = rig.wanted_for(MessageKind::WindowPost, 0, Some(103)).await;
    rig.round().await;
    let behind = rig.wanted_for(MessageKind::WindowPost, 0, None).await;
    rig.round().await;
    assert_eq!(rig.get(behind).nonce, Some(1));
    rig.dear_for(20, 3).await;
    let withdrawal = rig.get(doomed).withdrawal.expect("it is withdrawn");
    assert_eq!(
        (withdrawal.signed.message.nonce, withdrawal.sent),
        (0, true)
    );
    assert_eq!(withdrawal.signed.message.value, TokenAmount::default());
    // the base fee rises again, and the withdrawal follows it
    rig.dear_for(90, 3).await;
    let again = rig.get(doomed).withdrawal.unwrap();
    assert!(again.signed.message.gas_fee_cap > nano(90));
    rig.chain.edit().base_fee = nano(3);
    rig.chain.mine();
    rig.advance(6);
    rig.round().await;
    assert_eq!(
        (rig.state(doomed), rig.state(behind)),
        (S::Rejected, S::Landed)
    );
    assert!(rig.get(doomed).error.unwrap().contains("pointless"));
}

#[tokio::test]
async fn a_person_withdraws_a_message_before_and_after_it_left() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.engine
        .order_withdrawal(&id.to_string(), "wrong sector".into())
        .await
        .unwrap();
    rig.round().await;
    assert_eq!(rig.state(id), S::Rejected);
    assert_eq!(
        rig.engine.chain.next_nonce(rig.get(id).from).await.unwrap(),
        0,
        "nothing left"
    );

    let id = rig.wanted().await;
    rig.round().await;
    rig.engine
        .order_withdrawal(&id.to_string(), "wrong sector".into())
        .await
        .unwrap();
    rig.advance(1);
    rig.round().await;
    assert!(rig.get(id).withdrawal.is_some());
    rig.chain.mine();
    rig.advance(6);
    rig.round().await;
    assert_eq!(rig.state(id), S::Rejected);
    let over = rig
        .engine
        .order_withdrawal(&id.to_string(), "again".into())
        .await
        .unwrap_err();
    assert!(over.to_string().contains("Rejected"), "{over}");
    let nobody = rig
        .engine
        .order_replacement(&MessageId::new().to_string(), None)
        .await;
    assert!(nobody.unwrap_err().to_string().contains("not found"));
}

/// It may be in a block already: then that is what happened to it.
#[tokio::test]
async fn a_withdrawal_that_comes_too_late_changes_nothing() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    let cid = rig.get(id).cid.unwrap();
    rig.engine
        .order_withdrawal(&id.to_string(), "late".into())
        .await
        .unwrap();
    rig.advance(1);
    rig.round().await;
    rig.chain.land(cid, 0, RawBytes::default());
    rig.advance(6);
    rig.round().await;
    assert_eq!((rig.state(id), rig.get(id).cid), (S::Landed, Some(cid)));
}

#[tokio::test]
async fn an_attempt_that_the_pool_does_not_take_is_sent_before_another_is_made() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::WindowPost, 5, None).await;
    rig.round().await;
    rig.chain.edit().refusals = vec!["mpool push: not enough funds: 1 < 2".into(); 9];
    rig.dear_for(20, 9).await;
    let record = rig.get(id);
    assert_eq!(
        record.lost.len(),
        1,
        "one dearer attempt, and not one for each try"
    );
    assert!(record.error.unwrap().contains("not enough funds"));
    rig.chain.edit().refusals.clear();
    rig.advance(1);
    rig.round().await;
    assert_eq!(rig.get(id).error, None);
    assert_eq!(rig.get(id).order, None::<Order>);
    assert!(rig.cap(id) > nano(40));
}

/// A person's word that comes while the record is in hand is not lost with what is done meanwhile.
#[tokio::test]
async fn an_order_that_comes_while_a_message_is_made_dearer_is_still_followed() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::WindowPost, 5, None).await;
    rig.round().await;
    rig.chain.edit().base_fee = nano(20);
    rig.advance(9);
    let seen = rig.get(id);
    rig.engine
        .order_withdrawal(&id.to_string(), "wrong sector".into())
        .await
        .unwrap();
    let head = Head {
        height: 109,
        key: rig.chain.tipset(109),
        timestamp: 0,
    };
    assert!(rig.engine.urge(&seen, 0, 0, &head).await.unwrap());
    let dearer = rig.get(id);
    assert_eq!(dearer.lost.len(), 1);
    assert!(matches!(dearer.order, Some(Order::Withdraw { .. })));
    rig.advance(1);
    rig.round().await;
    assert!(rig.get(id).withdrawal.is_some());
}

/// The node has it, and its answer was lost: it is not called one that never left.
#[tokio::test]
async fn what_may_have_left_is_withdrawn_on_chain_when_its_deadline_is_over() {
    let rig = Rig::new(100);
    let id = rig.wanted_for(MessageKind::WindowPost, 5, Some(103)).await;
    let gas = GasRecord {
        limit: 1_200_000,
        fee_cap: nano(5),
        premium: nano(1),
    };
    let given = move |m: &mut MessageRecord| m.gas = Some(gas.clone());
    rig.db.note_message(id, given).unwrap();
    rig.advance(4);
    rig.round().await;
    assert_eq!(rig.state(id), S::Pushed);
    rig.advance(1);
    rig.round().await;
    assert!(rig.get(id).withdrawal.is_some());
    rig.chain.mine();
    rig.advance(6);
    rig.round().await;
    assert_eq!(rig.state(id), S::Rejected);
    let from = rig.get(id).from;
    assert_eq!(rig.engine.chain.next_nonce(from).await.unwrap(), 1);
}
