//! Messages of a messager that left the configuration: nobody can be asked about them any more.

use super::{
    messager::{Venus, until},
    *,
};

#[tokio::test]
async fn what_was_given_away_waits_for_a_messager_that_left_the_configuration() {
    let mut venus = Venus::new();
    let unsigned = venus.given(intent(), false).await;
    venus.rig.restart();
    venus.rig.round().await;
    let waits = venus.get(unsigned);
    assert_eq!(waits.state, S::Pushed);
    assert!(waits.error.unwrap().contains("[Common.API] Messager"));
    let new = venus.wanted(intent()).await;
    venus.rig.round().await;
    assert!(venus.get(new).signed.is_some(), "the node has it");
    assert_eq!(venus.messager.edit().pushes, [unsigned.0]);
    venus.connect();
    venus.messager.fill().await;
    venus.rig.round().await;
    assert_eq!(venus.get(unsigned).nonce, Some(1));
    assert_eq!(venus.messager.edit().pushes.len(), 1);
}

/// Its operator takes the messager out of the file, whose token was never right.
#[tokio::test]
async fn what_no_messager_took_goes_another_way_when_that_left_the_configuration() {
    let mut venus = Venus::new();
    venus.messager.edit().denies = true;
    let id = venus.given(intent(), false).await;
    let waits = venus.get(id);
    assert_eq!((waits.state, waits.entrusted), (S::Wanted, None));
    venus.rig.restart();
    venus.rig.round().await;
    assert!(venus.get(id).signed.is_some(), "the node has it");

    // an answer was lost before: the messager has it perhaps
    let mut venus = Venus::new();
    venus.messager.edit().lose_answer = true;
    let id = venus.given(intent(), false).await;
    venus.messager.forget();
    venus.messager.edit().denies = true;
    venus.rig.round().await;
    venus.rig.restart();
    venus.rig.round().await;
    let waits = venus.get(id);
    assert_eq!((waits.state, waits.signed), (S::Wanted, None));
    assert!(waits.entrusted.is_some());
    let (engine, name) = (&venus.rig.engine, id.to_string());
    engine.order_withdrawal(&name, "no".into()).await.unwrap();
    venus.rig.round().await;
    let over = venus.get(id);
    assert_eq!(over.state, S::Rejected);
    let why = over.error.unwrap();
    assert!(why.contains("may send it all the same"), "{why}");
}

#[tokio::test]
async fn what_a_messager_has_that_left_the_configuration_ends_with_its_window() {
    let mut venus = Venus::new();
    let id = venus.given(until(102), false).await;
    venus.rig.restart();
    venus.next(1).await;
    assert_eq!(venus.get(id).state, S::Pushed);
    venus.next(1).await;
    let over = venus.get(id);
    assert_eq!(over.state, S::Rejected);
    assert!(over.error.unwrap().contains("may send it all the same"));
}
