//! Messages that the key store signs: one nonce of one message, whatever happens between.

use super::*;
use crate::wallet::{Key, Place};
use damocles_node::{KeyType, Message};

/// A rig with one sender whose key lies in a key store on disk. BLS, for the scripted chain names
/// every message as the chain names those.
struct Own {
    rig: Rig,
    place: Place,
    from: Address,
}

impl Own {
    fn new() -> Self {
        let key = Key::generate(KeyType::Bls);
        let from = key.address();
        let place = Place::with(&[key]);
        let mut rig = Rig::new(100);
        rig.chain.edit().keys = [(Address::new_id(100), from)].into();
        rig.give_keys(place.keys());
        Self { rig, place, from }
    }

    fn restart(&mut self) {
        self.rig.restart();
        self.rig.give_keys(self.place.keys());
    }

    fn intent(&self) -> Intent {
        Intent {
            from: self.from,
            ..intent()
        }
    }

    async fn wanted(&self) -> MessageId {
        let id = MessageId::new();
        self.rig.engine.want(id, self.intent()).await.unwrap();
        id
    }

    fn get(&self, id: MessageId) -> MessageRecord {
        self.rig.get(id)
    }
}

#[tokio::test]
async fn what_the_key_store_signs_is_what_the_chain_verifies() {
    let own = Own::new();
    let id = own.wanted().await;
    own.rig.round().await;
    let pushed = own.get(id);
    assert_eq!((pushed.state, pushed.nonce), (S::Pushed, Some(0)));
    let signed = pushed.signed.unwrap();
    let bytes = signed.message.cid().to_bytes();
    signed.signature.verify(&bytes, &own.from).unwrap();
    assert_eq!(signed.message.gas_limit, 1_200_000);
    // the node was asked for nothing but its pool
    assert!(own.rig.chain.edit().pushes.is_empty());
    assert_eq!(own.rig.chain.edit().republished, [pushed.cid.unwrap()]);
    own.rig.land(id, 0);
    own.rig.advance(5);
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Landed);
}

#[tokio::test]
async fn many_at_a_time_have_nonces_without_gap_and_of_each_one_message() {
    let own = Own::new();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(own.wanted().await);
    }
    own.rig.round().await;
    let mut nonces: Vec<_> = ids.iter().map(|id| own.get(*id).nonce.unwrap()).collect();
    nonces.sort_unstable();
    assert_eq!(nonces, (0..20).collect::<Vec<_>>());
    own.rig.chain.mine();
    own.rig.advance(5);
    own.rig.round().await;
    for id in ids {
        assert_eq!(own.get(id).state, S::Landed);
    }
}

/// The node takes the message and its answer is lost, or never hears of it; the daemon begins
/// anew; the store may have been locked meanwhile.
#[tokio::test]
async fn a_stop_anywhere_sends_the_same_bytes_again() {
    for (answer_lost, locked) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut own = Own::new();
        let id = own.wanted().await;
        if answer_lost {
            own.rig.chain.edit().lose_answer = true;
        } else {
            own.rig.chain.edit().down_for = Some("MpoolPush");
        }
        own.rig.round().await;
        let before = own.get(id);
        assert_eq!((before.state, before.nonce), (S::Wanted, Some(0)));
        let bytes = before.signed.unwrap();
        own.rig.chain.edit().down_for = None;
        if locked {
            own.place.password("another");
        }
        own.restart();
        own.rig.round().await;
        let after = own.get(id);
        assert_eq!(after.state, S::Pushed, "{answer_lost} {locked}");
        assert_eq!(after.signed.unwrap(), bytes);
        own.rig.land(id, 0);
        own.rig.advance(5);
        own.rig.round().await;
        assert_eq!(own.get(id).state, S::Landed);
        assert_eq!(own.rig.chain.executed(own.from, 1), None);
    }
}

#[tokio::test]
async fn one_that_ran_before_its_push_was_noted_is_found() {
    let mut own = Own::new();
    let id = own.wanted().await;
    own.rig.chain.edit().lose_answer = true;
    own.rig.round().await;
    own.rig.land(id, 0);
    own.restart();
    own.rig.advance(5);
    own.rig.round().await;
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Landed);
}

#[tokio::test]
async fn a_nonce_that_another_program_took_is_given_up_and_the_next_one_is_taken() {
    let own = Own::new();
    let id = own.wanted().await;
    own.rig.round().await;
    own.rig.chain.lose(own.get(id).cid.unwrap());
    own.rig.chain.take_nonce(own.from, 0);
    own.rig.advance(5);
    own.rig.round().await;
    own.rig.round().await;
    let again = own.get(id);
    assert_eq!((again.state, again.nonce), (S::Pushed, Some(1)));
    assert_eq!(again.lost.len(), 1);
}

#[tokio::test]
async fn a_refused_message_keeps_its_nonce_and_is_priced_anew() {
    let own = Own::new();
    let no = "mpool push: not enough funds: 5 < 7";
    own.rig.chain.edit().refusals = vec![no.into()];
    let first = own.wanted().await;
    own.rig.round().await;
    let second = own.wanted().await;
    own.rig.chain.edit().gas_limit = 2_000_000;
    own.rig.chain.edit().refusals = vec![no.into()];
    own.rig.round().await;
    let (waits, goes) = (own.get(first), own.get(second));
    let states = [waits.state, goes.state];
    assert!(states.contains(&S::Wanted) && states.contains(&S::Pushed));
    own.rig.round().await;
    for (id, nonce) in [(first, 0), (second, 1)] {
        let pushed = own.get(id);
        assert_eq!((pushed.state, pushed.nonce), (S::Pushed, Some(nonce)));
    }
    own.rig.chain.mine();
    own.rig.advance(5);
    own.rig.round().await;
    assert_eq!(
        (own.rig.state(first), own.rig.state(second)),
        (S::Landed, S::Landed)
    );
}

/// It was refused, priced and signed anew; and what was signed first had reached another node.
#[tokio::test]
async fn all_that_was_signed_under_a_nonce_counts_as_the_message() {
    let own = Own::new();
    let id = own.wanted().await;
    let mut signed = Vec::new();
    for gas in [1_000_000, 1_000_000, 2_000_000, 3_000_000] {
        own.rig.chain.edit().gas_limit = gas;
        own.rig.chain.edit().refusals = vec!["too many pending messages for actor".into()];
        own.rig.round().await;
        let record = own.get(id);
        assert_eq!((record.state, record.nonce), (S::Wanted, Some(0)));
        signed.push(record.signed.unwrap().message);
    }
    assert_eq!(signed[0], signed[1], "the same price is the same message");
    assert_eq!(signed[3].gas_limit, 3_600_000);
    let lost: Vec<_> = own.get(id).lost.iter().map(|l| l.cid).collect();
    assert_eq!(lost, [signed[0].cid(), signed[2].cid()]);
    own.rig.chain.land_from_elsewhere(signed[0].clone());
    own.rig.advance(6);
    for _ in 0..3 {
        own.rig.round().await;
    }
    let landed = own.get(id);
    assert_eq!(
        (landed.state, landed.cid),
        (S::Landed, Some(signed[0].cid()))
    );
    assert_eq!(
        own.rig.chain.executed(own.from, 1),
        None,
        "and no other one"
    );
}

#[tokio::test]
async fn it_is_not_signed_without_end() {
    let own = Own::new();
    let id = own.wanted().await;
    for gas in 1..40 {
        own.rig.chain.edit().gas_limit = gas * 100_000;
        own.rig.chain.edit().refusals = vec!["too many pending messages for actor".into()];
        own.rig.round().await;
    }
    assert_eq!(own.get(id).lost.len(), 16);
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Pushed);
}

#[tokio::test]
async fn while_the_store_is_locked_its_senders_wait_and_others_do_not() {
    let mut own = Own::new();
    own.place.password("another");
    own.restart();
    let id = own.wanted().await;
    let other = own.rig.wanted().await;
    own.rig.round().await;
    let waits = own.get(id);
    assert_eq!(
        (waits.state, waits.nonce, waits.refusals),
        (S::Wanted, None, 0)
    );
    let why = waits.error.unwrap();
    assert!(why.contains("the password does not open it"), "{why}");
    assert!(why.contains("[Common.Wallet]"), "{why}");
    assert_eq!(
        own.rig.state(other),
        S::Pushed,
        "the node's wallet signs it"
    );
    assert_eq!(own.rig.chain.edit().pushes.len(), 1);
    own.place.password("open");
    assert!(own.rig.engine.keys().unlock());
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Pushed);
    assert_eq!(own.rig.chain.edit().pushes.len(), 1, "not by the node");
}

/// The node was asked to sign before the key came into the store: it may have made a message.
#[tokio::test]
async fn what_the_node_was_asked_to_sign_goes_on_by_the_node() {
    let mut own = Own::new();
    let keys = own.rig.engine.keys().clone();
    own.rig.restart();
    let id = own.wanted().await;
    own.rig.chain.edit().lose_answer = true;
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Wanted);
    own.rig.give_keys(keys);
    own.rig.round().await;
    assert_eq!(own.get(id).state, S::Pushed);
    assert_eq!(own.rig.chain.edit().pushed.len(), 1);
    assert!(own.rig.chain.edit().republished.is_empty());
}

#[tokio::test]
async fn a_gap_before_ours_is_filled_by_the_key_store() {
    let own = Own::new();
    // somebody's message of nonce 0 waits, ours comes behind it, and the pool loses that one
    let mut other = Message::send(own.from, own.from, TokenAmount::from_atto(1));
    (other.gas_limit, other.gas_fee_cap) = (1_000_000, TokenAmount::from_nano(1));
    let keys = own.rig.engine.keys().clone();
    let other = keys.sign(&other).unwrap();
    let cid = own.rig.chain.push_signed(&other).await.unwrap();
    let id = own.wanted().await;
    own.rig.round().await;
    assert_eq!(own.get(id).nonce, Some(1));
    own.rig.chain.lose(cid);
    for _ in 0..11 {
        own.rig.advance(1);
        own.rig.round().await;
    }
    own.rig.chain.mine();
    assert!(own.rig.chain.executed(own.from, 0).is_some());
    assert!(own.rig.chain.executed(own.from, 1).is_some());
}
