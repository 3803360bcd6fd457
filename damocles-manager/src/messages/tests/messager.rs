//! Messages that a messager signs: one message of one intent, whatever either of the two does.

use super::*;
use crate::venus::{State, script::ScriptMessager};

/// A rig whose messages go to a messager.
pub(super) struct Venus {
    pub(super) rig: Rig,
    pub(super) messager: Arc<ScriptMessager>,
}

impl Venus {
    pub(super) fn new() -> Self {
        let rig = Rig::new(100);
        let messager = Arc::new(ScriptMessager::on(rig.chain.clone()));
        let mut venus = Self { rig, messager };
        venus.connect();
        venus
    }

    pub(super) fn connect(&mut self) {
        self.rig.engine = self.rig.engine.clone().with_messager(self.messager.clone());
    }

    fn restart(&mut self) {
        self.rig.restart();
        self.connect();
    }

    pub(super) async fn wanted(&self, intent: Intent) -> MessageId {
        let id = MessageId::new();
        self.rig.engine.want(id, intent).await.unwrap();
        id
    }

    /// A message that was given away, and signed there if `signed`.
    pub(super) async fn given(&self, intent: Intent, signed: bool) -> MessageId {
        let id = self.wanted(intent).await;
        self.rig.round().await;
        if signed {
            self.messager.fill().await;
            self.rig.round().await;
        }
        id
    }

    /// The head moves, with the clock, and everything is looked at again.
    pub(super) async fn next(&self, epochs: Epoch) {
        self.rig.advance(epochs);
        let gone = 30_000 * epochs.unsigned_abs();
        for message in self.rig.db.open_messages().unwrap() {
            let older = |m: &mut MessageRecord| {
                let said = m.entrusted.iter_mut();
                let said = said.flat_map(|e| [&mut e.missing, &mut e.given_up]);
                said.flatten().for_each(|since| since.at -= gone);
            };
            self.rig.db.note_message(message.id, older).unwrap();
        }
        self.rig.round().await;
    }

    pub(super) fn get(&self, id: MessageId) -> MessageRecord {
        self.rig.get(id)
    }

    /// What is in the messager under the message's present id.
    fn there(&self, id: MessageId) -> State {
        self.messager.told(self.get(id).push_id()).state
    }
}

pub(super) fn until(deadline: Epoch) -> Intent {
    Intent {
        deadline: Some(deadline),
        ..intent()
    }
}

#[tokio::test]
async fn the_messager_gives_the_nonce_and_the_chain_says_how_it_ended() {
    let venus = Venus::new();
    let id = venus.given(intent(), false).await;
    let given = venus.get(id);
    assert_eq!(
        (given.state, given.nonce, given.cid),
        (S::Pushed, None, None)
    );
    let view = damocles_api::messages::MessageDetail::from(given);
    assert!(view.next.contains("has signed it"), "{}", view.next);
    let told = venus.messager.told(id.0);
    // as upstream says it: the cap and the factors; limit, premium and nonce are the messager's
    assert_eq!(told.message.gas_fee_cap, TokenAmount::from_nano(5));
    assert_eq!(told.message.gas_limit, 0);
    assert_eq!(told.message.params.to_vec(), [1, 2, 3]);
    let spec = venus.messager.edit().specs[&id.0].clone();
    assert_eq!(spec.gas_over_estimation, 1.2);
    assert!(spec.max_fee.is_zero());

    venus.messager.fill().await;
    venus.rig.round().await;
    let signed = venus.get(id);
    assert_eq!((signed.state, signed.nonce), (S::Pushed, Some(0)));
    assert_eq!(signed.cid, venus.messager.told(id.0).signed_cid);
    venus.rig.land(id, 0);
    // what the messager says of the chain does not count: it has not noticed
    assert_eq!(venus.there(id), State::Filled);
    venus.next(0).await;
    assert_eq!(venus.get(id).state, S::Packed);
    venus.next(5).await;
    let landed = venus.get(id);
    assert_eq!((landed.state, landed.epoch), (S::Landed, Some(100)));
    let script = venus.rig.chain.edit();
    assert!(script.pushes.is_empty(), "the node's wallet signed nothing");
}

/// Stops the manager before, within and after every step, and takes the messager away: the
/// messager got one message, under one id.
#[tokio::test]
async fn a_stop_at_any_step_gives_one_message_away() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Stop {
        BeforePush,
        BeforeItArrives,
        AnswerLost,
        MessagerAway,
        AfterPush,
        AfterSigning,
        AfterPack,
        AfterLanding,
    }
    for stop in [
        Stop::BeforePush,
        Stop::BeforeItArrives,
        Stop::AnswerLost,
        Stop::MessagerAway,
        Stop::AfterPush,
        Stop::AfterSigning,
        Stop::AfterPack,
        Stop::AfterLanding,
    ] {
        let mut venus = Venus::new();
        let id = venus.wanted(intent()).await;
        match stop {
            Stop::BeforePush => venus.restart(),
            Stop::BeforeItArrives => {
                // the intent to give it away is stored, and nothing has left
                let given = |m: &mut MessageRecord| m.entrusted = Some(Default::default());
                venus.rig.db.note_message(id, given).unwrap();
                venus.restart();
            }
            Stop::AnswerLost => {
                venus.messager.edit().lose_answer = true;
                venus.rig.round().await;
                assert_eq!(venus.get(id).state, S::Wanted);
                // it is signed and sent before anybody asks again
                venus.messager.fill().await;
                venus.restart();
            }
            Stop::MessagerAway => {
                venus.messager.edit().down = true;
                for tries in 1..=20 {
                    venus.rig.round().await;
                    let waits = venus.get(id);
                    assert_eq!((waits.state, waits.tries), (S::Wanted, tries));
                    assert_eq!(waits.refusals, 0, "a wait is no failure");
                }
                venus.restart();
                venus.messager.edit().down = false;
            }
            _ => {}
        }
        venus.rig.round().await;
        assert_eq!(venus.get(id).state, S::Pushed, "{stop:?}");
        if stop == Stop::AfterPush {
            venus.restart();
        }
        venus.messager.fill().await;
        venus.rig.round().await;
        if stop == Stop::AfterSigning {
            venus.restart();
        }
        venus.rig.land(id, 0);
        venus.rig.round().await;
        if stop == Stop::AfterPack {
            venus.restart();
        }
        venus.next(5).await;
        if stop == Stop::AfterLanding {
            venus.restart();
            venus.rig.round().await;
        }
        assert_eq!(venus.get(id).state, S::Landed, "{stop:?}");
        let script = venus.messager.edit();
        assert_eq!(script.messages.len(), 1, "{stop:?}");
        assert!(script.pushes.iter().all(|uid| *uid == id.0), "{stop:?}");
    }
}

#[tokio::test]
async fn a_messager_that_is_away_holds_up_nothing_that_it_has_signed() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    venus.messager.edit().down = true;
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
}

#[tokio::test]
async fn what_the_messager_signs_anew_is_the_same_message() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    let first = venus.get(id).cid.unwrap();
    let how = crate::venus::Replacement::estimated(id.0, TokenAmount::default(), 0.0);
    use crate::venus::Messager as _;
    let second = venus.messager.replace(&how).await.unwrap();
    venus.next(1).await;
    let dearer = venus.get(id);
    assert_eq!((dearer.cid, dearer.nonce), (Some(second), Some(0)));
    assert_eq!(dearer.lost[0].cid, first);
    // the one before is executed all the same
    venus.rig.chain.land(first, 0, RawBytes::default());
    venus.next(5).await;
    let landed = venus.get(id);
    assert_eq!((landed.state, landed.cid), (S::Landed, Some(first)));
}

#[tokio::test]
async fn a_person_has_it_made_dearer_by_the_messager() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    let before = venus.get(id).cid;
    let name = id.to_string();
    let most = Some("1000000000000000000".to_owned());
    venus
        .rig
        .engine
        .order_replacement(&name, most)
        .await
        .unwrap();
    venus.rig.round().await;
    venus.rig.round().await;
    let dearer = venus.get(id);
    assert_ne!(dearer.cid, before);
    assert_eq!(dearer.order, None);
    {
        let script = venus.messager.edit();
        assert_eq!(script.replaced.len(), 1);
        assert_eq!(script.replaced[0].max_fee, TokenAmount::from_whole(1));
        assert!(script.replaced[0].auto);
    }
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
}

#[tokio::test]
async fn what_is_unsigned_is_taken_back_and_what_is_signed_is_not() {
    let venus = Venus::new();
    let [unsigned, signed] = [venus.given(intent(), false).await, MessageId::new()];
    let reason = || "no".to_owned();
    let engine = &venus.rig.engine;
    let name = unsigned.to_string();
    engine.order_withdrawal(&name, reason()).await.unwrap();
    venus.rig.round().await;
    assert_eq!(venus.messager.edit().marked, [unsigned.0]);
    // what it says once may be what it has not written down yet
    venus.next(1).await;
    assert_eq!(venus.get(unsigned).state, S::Pushed);
    venus.next(5).await;
    let back = venus.get(unsigned);
    assert_eq!(back.state, S::Rejected);
    assert!(back.error.unwrap().contains("withdrawn by a person: no"));

    engine.want(signed, intent()).await.unwrap();
    venus.rig.round().await;
    venus.messager.fill().await;
    venus.rig.round().await;
    let name = signed.to_string();
    let refused = engine.order_withdrawal(&name, reason()).await.unwrap_err();
    assert!(
        refused.to_string().contains("cannot be taken back"),
        "{refused}"
    );
    assert_eq!(venus.get(signed).state, S::Pushed);
    assert_eq!(venus.there(signed), State::Filled);
}

#[tokio::test]
async fn what_is_signed_while_it_is_marked_bad_is_followed() {
    let venus = Venus::new();
    let id = venus.given(until(101), false).await;
    venus.next(1).await;
    assert_eq!(venus.messager.edit().marked, [id.0]);
    // it was being signed
    venus.messager.set(id.0, State::Unfilled, "");
    venus.messager.fill().await;
    venus.next(3).await;
    let signed = venus.get(id);
    assert_eq!((signed.state, signed.nonce), (S::Pushed, Some(0)));
    assert!(signed.error.unwrap().contains("cannot be taken back"));
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
}

#[tokio::test]
async fn a_node_that_catches_up_hurries_nobody() {
    let venus = Venus::new();
    let id = venus.given(until(101), false).await;
    venus.next(1).await;
    assert_eq!(venus.there(id), State::Failed);
    for _ in 0..50 {
        venus.rig.advance(1);
        venus.rig.round().await;
    }
    assert_eq!(venus.get(id).state, S::Pushed, "it may be signing it");
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Rejected);
}

/// A push that nobody answered may still be at work there when it is pointless.
#[tokio::test]
async fn what_may_still_arrive_is_not_given_up_yet() {
    for arrives in [true, false] {
        let venus = Venus::new();
        venus.messager.edit().lose_answer = true;
        let id = venus.given(until(101), false).await;
        let late = venus.messager.told(id.0);
        venus.messager.forget();
        venus.next(1).await;
        let waits = venus.get(id);
        assert_eq!(waits.state, S::Wanted);
        assert!(waits.error.unwrap().contains("does not have it yet"));
        if arrives {
            venus.messager.edit().messages.insert(id.0, late);
        }
        venus.next(5).await;
        let want = if arrives { S::Pushed } else { S::Rejected };
        assert_eq!(venus.get(id).state, want, "arrives: {arrives}");
    }
}

#[tokio::test]
async fn a_windowpost_past_its_window_is_not_given_away_and_what_was_is_taken_back() {
    let venus = Venus::new();
    let at_home = venus.wanted(until(100)).await;
    venus.rig.round().await;
    assert_eq!(venus.get(at_home).state, S::Rejected);
    assert!(venus.messager.edit().pushes.is_empty());

    let given = venus.given(until(102), false).await;
    assert_eq!(venus.get(given).state, S::Pushed);
    for _ in 0..8 {
        venus.next(1).await;
    }
    assert_eq!(venus.there(given), State::Failed);
    assert_eq!(venus.get(given).state, S::Rejected);
    venus.messager.fill().await;
    assert_eq!(venus.rig.chain.first_waiting(Address::new_id(100)), None);
}

#[tokio::test]
async fn an_actors_no_gives_a_message_up_and_a_lack_is_waited_for() {
    let venus = Venus::new();
    let id = venus.given(intent(), false).await;
    let lack =
        "gas estimate: message execution failed (exit=[SysErrInsufficientFunds(6)] (RetCode=6)])";
    venus.messager.set(id.0, State::Unfilled, lack);
    for _ in 0..10 {
        venus.next(1).await;
    }
    let waits = venus.get(id);
    assert_eq!((waits.state, waits.refusals), (S::Pushed, 0));
    assert!(waits.error.unwrap().contains("does not sign it"));
    let no = "gas estimate: message execution failed (exit=[ErrIllegalArgument(16)] (RetCode=16)])";
    venus.messager.set(id.0, State::Unfilled, no);
    for _ in 0..10 {
        venus.next(1).await;
    }
    assert_eq!(venus.get(id).refusals, 1, "it said so once");
    for _ in 0..3 {
        venus.messager.set(id.0, State::Unfilled, no);
        venus.next(1).await;
        venus.rig.round().await;
    }
    assert_eq!(venus.get(id).refusals, 4, "once a head");
    venus.messager.set(id.0, State::Unfilled, no);
    for _ in 0..7 {
        venus.next(1).await;
    }
    let over = venus.get(id);
    assert_eq!((over.state, venus.there(id)), (S::Rejected, State::Failed));
    assert!(over.error.unwrap().contains("RetCode=16"));
}

#[tokio::test]
async fn an_actors_no_is_heard_before_anything_is_given_away() {
    let venus = Venus::new();
    venus.rig.chain.edit().estimate_refusal = Some("exit 16".into());
    let id = venus.wanted(intent()).await;
    for _ in 0..5 {
        venus.next(1).await;
    }
    assert_eq!(venus.get(id).state, S::Rejected);
    assert!(venus.messager.edit().pushes.is_empty());
}

#[tokio::test]
async fn what_the_messager_calls_failed_or_in_conflict_is_what_the_chain_says() {
    for state in [State::Failed, State::NonceConflict, State::Other(0)] {
        let venus = Venus::new();
        let id = venus.given(intent(), true).await;
        venus.messager.set(id.0, state, "it says so");
        venus.next(3).await;
        assert_eq!(venus.get(id).state, S::Pushed, "{state:?}");
        venus.rig.land(id, 0);
        venus.next(5).await;
        assert_eq!(venus.get(id).state, S::Landed, "{state:?}");
        assert_eq!(venus.messager.edit().pushes, [id.0], "{state:?}");
    }
}

#[tokio::test]
async fn a_taken_nonce_is_another_attempt_with_another_id() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    venus.rig.chain.take_nonce(Address::new_id(100), 0);
    venus.messager.set(id.0, State::NonceConflict, "");
    venus.next(4).await;
    assert_eq!(venus.get(id).state, S::Pushed, "not deep enough");
    venus.next(1).await;
    venus.rig.round().await;
    let again = venus.get(id);
    assert_eq!((again.state, again.nonce), (S::Pushed, None));
    assert_ne!(again.push_id(), id.0);
    venus.messager.fill().await;
    venus.rig.round().await;
    assert_eq!(venus.get(id).nonce, Some(1));
    assert_eq!(venus.messager.edit().pushes, [id.0, again.push_id()]);
}

/// The node was restored and knows only what is on chain, so it cannot tell the first of the two.
#[tokio::test]
async fn what_was_signed_anew_while_the_messager_is_away_is_not_sent_twice() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    let how = crate::venus::Replacement::estimated(id.0, TokenAmount::default(), 0.0);
    use crate::venus::Messager as _;
    let second = venus.messager.replace(&how).await.unwrap();
    venus.messager.edit().down = true;
    venus.rig.chain.land(second, 0, RawBytes::default());
    venus.rig.chain.forget();
    for _ in 0..10 {
        venus.next(1).await;
    }
    let waits = venus.get(id);
    assert_eq!((waits.state, waits.push_id()), (S::Pushed, id.0));
    let why = waits.error.unwrap();
    assert!(why.contains("may have signed ours anew"), "{why}");
    venus.messager.edit().down = false;
    venus.rig.round().await;
    let landed = venus.get(id);
    assert_eq!((landed.state, landed.cid), (S::Landed, Some(second)));
    assert_eq!(venus.messager.edit().pushes, [id.0]);
}

/// Whoever has the nonce, no messager will ever say it: the sender's node, then, after a while.
#[tokio::test]
async fn a_taken_nonce_of_a_messager_that_lost_its_database_is_another_attempt() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    venus.rig.chain.take_nonce(Address::new_id(100), 0);
    venus.messager.forget();
    venus.rig.chain.advance(20);
    venus.next(1).await;
    assert_eq!(venus.get(id).push_id(), id.0, "one answer is none");
    for _ in 0..9 {
        venus.next(1).await;
    }
    assert_ne!(venus.get(id).push_id(), id.0);
}

#[tokio::test]
async fn a_messager_that_lost_its_database_gets_the_same_id_again() {
    // nobody knows a name of it: it is given there again
    let venus = Venus::new();
    let id = venus.given(intent(), false).await;
    venus.messager.forget();
    venus.next(1).await;
    assert_eq!(venus.get(id).state, S::Pushed, "one answer is none");
    venus.next(5).await;
    venus.rig.round().await;
    assert_eq!(venus.messager.edit().pushes, [id.0, id.0]);
    venus.messager.fill().await;
    venus.rig.round().await;
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);

    // its name is known: the chain is asked, and its bytes are sent from here if they got lost
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    let cid = venus.get(id).cid.unwrap();
    venus.messager.forget();
    assert!(venus.rig.chain.lose(cid));
    venus.rig.chain.edit().republished.clear();
    for _ in 0..20 {
        venus.next(1).await;
    }
    assert_eq!(venus.rig.chain.edit().republished, [cid]);
    assert_eq!(venus.messager.edit().pushes, [id.0]);
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
}

#[tokio::test]
async fn a_messager_that_refuses_is_asked_again() {
    let venus = Venus::new();
    let no = "signer address t0100 not exists";
    venus.messager.edit().refusals = vec![no.into(); 10];
    let id = venus.wanted(intent()).await;
    for _ in 0..10 {
        venus.next(1).await;
        let waits = venus.get(id);
        assert_eq!((waits.state, waits.entrusted), (S::Wanted, None));
        assert!(waits.error.unwrap().contains(no));
    }
    venus.rig.round().await;
    assert_eq!(venus.get(id).state, S::Pushed);
}

#[tokio::test]
async fn a_reorganisation_opens_it_again() {
    let venus = Venus::new();
    let id = venus.given(intent(), true).await;
    venus.next(2).await;
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
    venus.rig.reorganise(101, 3);
    venus.rig.round().await;
    assert_eq!(venus.get(id).state, S::Pushed);
    venus.rig.land(id, 0);
    venus.next(5).await;
    assert_eq!(venus.get(id).state, S::Landed);
    assert_eq!(venus.messager.edit().pushes, [id.0]);
}

#[tokio::test]
async fn a_gap_before_the_messagers_nonces_is_the_messagers() {
    let venus = Venus::new();
    let other = venus.given(intent(), true).await;
    let id = venus.given(intent(), true).await;
    assert_eq!(venus.get(id).nonce, Some(1));
    assert!(venus.rig.chain.lose(venus.get(other).cid.unwrap()));
    venus
        .rig
        .db
        .step_message(other, damocles_flow::message::MessageEvent::Refuse, |_| {})
        .unwrap();
    venus.rig.chain.edit().republished.clear();
    for _ in 0..15 {
        venus.next(1).await;
    }
    assert!(venus.rig.chain.edit().republished.is_empty());
}

#[tokio::test]
async fn senders_are_those_whose_keys_the_messager_has() {
    let venus = Venus::new();
    let [rich, poor] = [100, 101].map(Address::new_id);
    let head = TipSetKey::HEAD;
    let both = [rich, poor];
    let choose = || venus.rig.engine.choose_sender(1000, &both, &head);
    // what the node's wallet has is of no account
    venus.rig.chain.edit().no_keys = [rich].into();
    assert_eq!(choose().await.unwrap(), rich);
    venus.messager.edit().no_keys = [rich].into();
    assert_eq!(choose().await.unwrap(), poor);
    venus.messager.edit().down = true;
    assert_eq!(choose().await.unwrap(), rich, "it may have it");
}
