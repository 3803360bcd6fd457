//! A reorganisation takes a WindowPoSt from the chain; a manager comes back after the close.

use super::*;

/// The engine found out that the message is not on chain any more.
fn unpack(house: &House) {
    let id = house.messages()[0].id;
    house
        .db
        .step_message(id, MessageEvent::Unpack, |m| m.epoch = None)
        .unwrap();
}

async fn landed(house: &House) -> MinerLoop {
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    house.execute(MessageEvent::Land, 66, 0);
    house.at(&mut poster, 72).await;
    assert_eq!(house.states(), [PostState::Landed]);
    poster
}

#[tokio::test]
async fn a_windowpost_that_left_the_chain_is_open_again_while_there_is_time() {
    let house = House::new(&[&[1]]).await;
    let mut poster = landed(&house).await;
    unpack(&house);
    house.at(&mut poster, 80).await;
    let record = house.one();
    assert_eq!(
        (record.state, record.landed_at),
        (PostState::Submitted, None)
    );
    // its bytes land again
    let id = house.messages()[0].id;
    let land = |m: &mut MessageRecord| m.epoch = Some(82);
    house.db.step_message(id, MessageEvent::Land, land).unwrap();
    house.at(&mut poster, 88).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Landed);
    assert_eq!((record.landed_at, house.messages().len()), (Some(82), 1));
}

#[tokio::test]
async fn one_that_fails_on_the_new_branch_is_proven_anew() {
    let house = House::new(&[&[1]]).await;
    landed(&house).await;
    unpack(&house);
    house.chain.edit().fork = 1;
    // another process
    let mut poster = house.start();
    house.at(&mut poster, 80).await;
    let id = house.messages()[0].id;
    let fail = |m: &mut MessageRecord| m.exit_code = Some(16);
    house.db.step_message(id, MessageEvent::Fail, fail).unwrap();
    for height in 81..90 {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.states(), [PostState::Submitted]);
    assert_eq!((house.messages().len(), house.proven().len()), (2, 2));
}

#[tokio::test]
async fn what_left_the_chain_after_the_close_is_left() {
    let house = House::new(&[&[1]]).await;
    let mut poster = landed(&house).await;
    unpack(&house);
    house.at(&mut poster, CLOSE).await;
    assert_eq!(house.states(), [PostState::Landed]);
}

#[tokio::test]
async fn a_message_that_nobody_looked_for_since_the_close_is_not_called_missed() {
    let house = House::new(&[&[1]]).await;
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    let id = house.messages()[0].id;
    house
        .db
        .step_message(id, MessageEvent::Push, |m| m.nonce = Some(0))
        .unwrap();
    // the manager was away over the close; the engine has not looked yet
    let mut poster = house.start();
    house.at(&mut poster, CLOSE + 30).await;
    assert_eq!(house.states(), [PostState::Submitted]);
    let land = |m: &mut MessageRecord| m.epoch = Some(70);
    house.db.step_message(id, MessageEvent::Land, land).unwrap();
    house.at(&mut poster, CLOSE + 31).await;
    assert_eq!(house.states(), [PostState::Landed]);
}
