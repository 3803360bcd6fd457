//! What the messager says, and what follows from it.

use super::*;
use crate::{messages::tests::intent, model::MessageId};
use damocles_flow::message::MessageState;
use damocles_node::SignedMessage;
use fvm_shared::crypto::signature::Signature;

const NOW: Since = Since {
    head: 100,
    at: 1_000_000,
};

/// The moment of that head on a chain that goes on steadily.
fn at(head: Epoch) -> Since {
    Since {
        head,
        at: 30_000 * head.unsigned_abs(),
    }
}

fn given() -> MessageRecord {
    let mut record = intent().record(MessageId::new());
    record.state = MessageState::Pushed;
    record.entrusted = Some(Entrusted::default());
    record
}

/// What the messager has of it, signed under that nonce, if one is given.
fn told(record: &MessageRecord, state: State, nonce: Option<u64>, premium: i64) -> Told {
    let mut message = unsigned(record, None);
    message.nonce = nonce.unwrap_or(0);
    message.gas_premium = TokenAmount::from_atto(premium);
    let signed = SignedMessage {
        message: message.clone(),
        signature: Signature::new_bls(vec![1; 96]),
    };
    Told {
        id: record.id.to_string(),
        signed_cid: nonce.map(|_| signed.cid()),
        message,
        signature: nonce.map(|_| signed.signature),
        state,
        error_msg: String::new(),
        updated_at: String::new(),
    }
}

#[test]
fn an_end_is_believed_when_it_was_said_for_a_while() {
    let plain = given();
    let over = |at| MessageRecord {
        deadline: Some(at),
        ..given()
    };
    let refused = MessageRecord {
        refusals: MOST_REFUSALS,
        error: Some("the actor says no".into()),
        ..given()
    };
    let ago = |heads: Epoch, seconds: u64| {
        Some(Since {
            head: NOW.head - heads,
            at: NOW.at - seconds * 1000,
        })
    };
    let since = |missing, given_up| Entrusted {
        missing,
        given_up,
        counted: None,
    };
    let is = |state| Some(told(&plain, state, None, 0));
    let marked = "it was marked bad at venus-messager before it was signed";
    let late = "it was not on chain before epoch 90, and is pointless now";
    for (record, entrusted, told, want) in [
        (
            &plain,
            since(None, None),
            is(State::Unfilled),
            Unsigned::Wait,
        ),
        (
            &plain,
            since(None, None),
            is(State::Other(0)),
            Unsigned::Wait,
        ),
        (&plain, since(ago(0, 0), None), None, Unsigned::Wait),
        (&plain, since(ago(5, 120), None), None, Unsigned::GiveAgain),
        (
            &plain,
            since(None, ago(4, 500)),
            is(State::Failed),
            Unsigned::Wait,
        ),
        // the node catches up
        (
            &plain,
            since(None, ago(50, 119)),
            is(State::Failed),
            Unsigned::Wait,
        ),
        (
            &plain,
            since(None, ago(5, 120)),
            is(State::Failed),
            Unsigned::Over(marked.into()),
        ),
        (
            &over(101),
            since(None, None),
            is(State::Unfilled),
            Unsigned::Wait,
        ),
        (
            &over(90),
            since(None, None),
            is(State::Unfilled),
            Unsigned::TakeBack,
        ),
        (
            &over(90),
            since(None, ago(5, 120)),
            is(State::Failed),
            Unsigned::Over(late.into()),
        ),
        (
            &refused,
            since(None, None),
            is(State::Unfilled),
            Unsigned::TakeBack,
        ),
        (
            &refused,
            since(None, ago(10, 300)),
            is(State::Failed),
            Unsigned::Over("the actor says no".into()),
        ),
    ] {
        let step = unsigned_step(record, &entrusted, told.as_ref(), NOW);
        assert_eq!(step, want, "{entrusted:?} {told:?}");
    }
}

#[test]
fn without_a_messager_a_person_ends_what_is_unsigned_and_a_windowpost_its_window() {
    let withdraw = Order::Withdraw {
        why: "a person says so".into(),
    };
    let record = |kind, deadline, order: Option<&Order>, nonce| MessageRecord {
        kind,
        deadline,
        order: order.cloned(),
        nonce,
        ..given()
    };
    use MessageKind::{PreCommit, WindowPost};
    for (record, over) in [
        (record(WindowPost, None, None, None), false),
        (record(WindowPost, Some(101), None, None), false),
        (record(WindowPost, Some(100), None, None), true),
        (record(WindowPost, Some(100), None, Some(7)), false),
        (record(PreCommit, Some(100), None, None), false),
        (record(PreCommit, None, Some(&withdraw), None), true),
        (record(PreCommit, None, Some(&withdraw), Some(7)), false),
    ] {
        let why = abandoned(&record, 100);
        assert_eq!(why.is_some(), over, "{record:?}");
        assert!(why.is_none_or(|why| why.contains("may send it all the same")));
    }
}

#[test]
fn a_name_is_learnt_and_what_had_it_before_is_kept() {
    let mut record = given();
    let first = told(&record, State::Filled, Some(7), 100);
    learn(&mut record, Some(&first), at(50));
    assert_eq!((record.cid, record.nonce), (first.signed_cid, Some(7)));
    assert_eq!(record.signed.as_ref().map(SignedMessage::cid), record.cid);
    assert!(record.lost.is_empty());

    record.order = Some(Order::Replace { max_fee: None });
    let same = record.clone();
    learn(&mut record, Some(&first), at(51));
    assert_eq!(record, same, "nothing new");

    let dearer = told(&record, State::Filled, Some(7), 200);
    learn(&mut record, Some(&dearer), at(60));
    assert_eq!((record.cid, record.nonce), (dearer.signed_cid, Some(7)));
    assert_eq!(record.order, None, "that is done");
    assert_eq!(record.lost.len(), 1);
    assert_eq!(Some(record.lost[0].cid), first.signed_cid);
    assert_eq!((record.lost[0].nonce, record.lost[0].at), (7, 60));

    // a person there gave it another nonce
    let other = told(&record, State::Filled, Some(9), 200);
    learn(&mut record, Some(&other), at(61));
    assert_eq!((record.nonce, record.lost.len()), (Some(9), 2));
}

#[test]
fn what_is_not_our_message_is_not_taken_for_it() {
    let mut record = given();
    let mut other = told(&record, State::NonceConflict, Some(7), 100);
    other.message.method += 1;
    learn(&mut record, Some(&other), at(50));
    assert_eq!((record.cid, record.nonce), (None, None));
}

#[test]
fn since_when_it_is_missing_or_given_up_is_kept_until_that_changes() {
    let mut record = given();
    let is = |record: &MessageRecord, missing, given_up| {
        let want = Entrusted {
            missing,
            given_up,
            counted: None,
        };
        assert_eq!(record.entrusted, Some(want));
    };
    learn(&mut record, None, at(50));
    learn(&mut record, None, at(52));
    is(&record, Some(at(50)), None);
    // the chain went back below that
    learn(&mut record, None, at(49));
    is(&record, Some(at(49)), None);
    let bad = told(&record, State::Failed, None, 0);
    learn(&mut record, Some(&bad), at(53));
    is(&record, None, Some(at(53)));
    let again = told(&record, State::Unfilled, None, 0);
    learn(&mut record, Some(&again), at(54));
    is(&record, None, None);
}
