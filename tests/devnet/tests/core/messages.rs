//! Nonces, replacement, gas, funds and failures of messages.
use damocles_devnet::mempool::{Refused, minimum_replacement};
use damocles_devnet::outbox::{PushError, SendSpec};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;

use crate::house::{House, Key, MINER};

fn transfer(house: &House, whole: u64) -> fvm_shared::message::Message {
    let mut message = house.message(house.stranger.address(), 0, RawBytes::default());
    message.value = TokenAmount::from_whole(whole);
    message.gas_limit = 1_000_000;
    message
}

#[test]
fn a_transfer_moves_value_and_charges_gas() {
    let house = House::new(0);
    let owner = house.owner.address();
    let stranger = house.stranger.address();
    let before = house.state().actor(&owner).unwrap();
    let had = house.state().actor(&stranger).unwrap().balance;
    let receipt = house.send_as(&house.owner, transfer(&house, 5));
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert!(receipt.gas_used > 0);
    let after = house.state().actor(&owner).unwrap();
    let has = house.state().actor(&stranger).unwrap().balance;
    assert_eq!(has - had, TokenAmount::from_whole(5));
    assert!(before.balance - &after.balance > TokenAmount::from_whole(5));
    assert_eq!(after.sequence, 1);
}

#[test]
fn a_gap_in_the_nonces_waits_until_it_is_filled() {
    let house = House::new(0);
    let nonce = |n| {
        let mut message = transfer(&house, 1);
        message.sequence = n;
        house.owner.sign_message(message)
    };
    let late = house.network.push(nonce(1)).unwrap();
    house.mine(3);
    assert!(house.lookup(&late).is_none());
    assert_eq!(house.network.nonce(&house.owner.address()).unwrap(), 0);
    let early = house.network.push(nonce(0)).unwrap();
    assert_eq!(house.network.nonce(&house.owner.address()).unwrap(), 2);
    house.mine(2);
    assert_eq!(
        house.lookup(&early).unwrap().height,
        house.lookup(&late).unwrap().height
    );
    assert!(house.network.pending().is_empty());
    let old = house.network.push(nonce(0)).unwrap_err();
    assert!(matches!(
        old,
        PushError::NonceTooLow {
            expected: 2,
            got: 0
        }
    ));
}

#[test]
fn only_a_quarter_more_premium_replaces_a_message() {
    let house = House::new(0);
    let offer = |premium: TokenAmount| {
        let mut message = transfer(&house, 1);
        message.gas_premium = premium;
        house.owner.sign_message(message)
    };
    let first = TokenAmount::from_atto(100_000);
    let old = house.network.push(offer(first.clone())).unwrap();
    assert!(matches!(
        house.network.push(offer(first.clone())),
        Err(PushError::Refused(Refused::ExistingNonce { .. }))
    ));
    let enough = minimum_replacement(&first);
    assert!(enough >= TokenAmount::from_atto(125_000));
    let short = enough.clone() - TokenAmount::from_atto(1);
    assert!(matches!(
        house.network.push(offer(short)),
        Err(PushError::Refused(Refused::ReplaceFeeTooLow { .. }))
    ));
    let new = house.network.push(offer(enough)).unwrap();
    house.mine(2);
    let found = house.lookup(&old).expect("the replacement counts");
    assert_eq!(found.message, new);
    let strict = house
        .network
        .search_message(&Default::default(), &old, -1, false);
    assert!(
        strict.unwrap().is_none(),
        "without allow_replaced a node does not find it"
    );
}

#[test]
fn a_replacement_that_is_another_call_does_not_count() {
    let house = House::new(0);
    let mut message = transfer(&house, 1);
    let old = house
        .network
        .push(house.owner.sign_message(message.clone()))
        .unwrap();
    message.value = TokenAmount::from_whole(2);
    message.gas_premium *= 2u64;
    house
        .network
        .push(house.owner.sign_message(message))
        .unwrap();
    house.mine(2);
    let answer = house
        .network
        .search_message(&Default::default(), &old, -1, true);
    assert!(answer.is_err());
}

#[test]
fn too_little_gas_ends_with_exit_code_7_and_changes_nothing_else() {
    let house = House::new(0);
    let mut message = house.message(MINER, 2, RawBytes::default());
    message.gas_limit = 800_000;
    message.value = TokenAmount::from_whole(1);
    let balance = house.state().actor(&MINER).unwrap().balance;
    let receipt = house.send_as(&house.owner, message.clone());
    assert_eq!(receipt.exit_code, ExitCode::SYS_OUT_OF_GAS);
    assert_eq!(receipt.gas_used, 800_000);
    assert_eq!(house.state().actor(&MINER).unwrap().balance, balance);
    let owner = house.state().actor(&house.owner.address()).unwrap();
    assert_eq!(owner.sequence, 1, "a failed message uses its nonce up");

    message.gas_limit = 100_000;
    let refused = house.push(&house.owner, message).unwrap_err();
    assert!(refused.to_string().contains("GasLimit"), "{refused}");
}

#[test]
fn wrong_signatures_and_empty_purses_are_refused() {
    let house = House::new(0);
    let mut message = transfer(&house, 1);
    let mut signed = house.stranger.sign_message(message.clone());
    signed.message.from = house.owner.address();
    assert!(matches!(
        house.network.push(signed),
        Err(PushError::BadSignature(_))
    ));
    message.gas_limit = 9_000_000_000;
    message.gas_fee_cap = TokenAmount::from_whole(1);
    assert!(matches!(
        house.network.push(house.owner.sign_message(message)),
        Err(PushError::NotEnoughFunds { .. })
    ));
    let nobody = Key::new(9);
    let mut message = transfer(&house, 1);
    message.from = nobody.address();
    assert!(matches!(
        house.network.push(nobody.sign_message(message)),
        Err(PushError::State(_))
    ));
}

#[test]
fn value_beyond_the_balance_is_refused_to_the_wallet_and_fails_with_exit_code_6() {
    let house = House::new(0);
    let message = transfer(&house, 200_000);
    let refused = house.push(&house.owner, message.clone()).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("mpool push: not enough funds: "),
        "{refused}"
    );
    // the pool alone counts gas only
    let cid = house
        .network
        .push(house.owner.sign_message(message))
        .unwrap();
    house.mine(2);
    let receipt = house.lookup(&cid).unwrap().receipt;
    assert_eq!(receipt.exit_code, ExitCode::SYS_INSUFFICIENT_FUNDS);
}

#[test]
fn unknown_receivers_and_methods_have_their_exit_codes() {
    let house = House::new(0);
    let nobody = house.message(Address::new_id(77_777), 0, RawBytes::default());
    let receipt = house.send_as(&house.owner, nobody);
    assert_eq!(receipt.exit_code, ExitCode::SYS_INVALID_RECEIVER);
    let receipt = house.call(99, &());
    assert_eq!(receipt.exit_code, ExitCode::USR_UNHANDLED_MESSAGE);
    let receipt = house.call(28, &7u64);
    assert_eq!(receipt.exit_code, ExitCode::USR_SERIALIZATION);
}

#[test]
fn a_transfer_to_a_new_key_makes_its_account() {
    let house = House::new(0);
    let new = Key::new(11).address();
    let mut message = transfer(&house, 3);
    message.to = new;
    message.gas_limit = 5_000_000;
    let receipt = house.send_as(&house.owner, message);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let id = house.state().lookup_id(&new).unwrap();
    assert!(id >= 100);
    assert_eq!(
        house.state().account_key(&Address::new_id(id)).unwrap(),
        new
    );
}

#[test]
fn estimates_suffice_and_report_what_would_fail() {
    let house = House::new(0);
    let mut message = transfer(&house, 1);
    message.gas_limit = 0;
    message.gas_fee_cap = TokenAmount::default();
    message.gas_premium = TokenAmount::default();
    let estimated = house
        .network
        .estimate_gas(message.clone(), &SendSpec::default())
        .unwrap();
    assert!(estimated.gas_limit > 0 && estimated.gas_fee_cap > *house.network.head().base_fee());
    let receipt = house.send_as(&house.owner, message.clone());
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert!(receipt.gas_used <= estimated.gas_limit);

    message.to = MINER;
    message.method_num = 99;
    let error = house
        .network
        .estimate_gas(message.clone(), &SendSpec::default())
        .unwrap_err();
    assert!(matches!(
        error,
        PushError::EstimateFailed { exit_code: 22, .. }
    ));

    let capped = house
        .network
        .estimate_gas(
            transfer(&house, 1),
            &SendSpec {
                max_fee: TokenAmount::from_atto(1_000_000_000_000u64),
                maximize_fee_cap: true,
            },
        )
        .unwrap();
    assert_eq!(capped.gas_fee_cap, TokenAmount::from_atto(1_000_000));
}

#[test]
fn held_messages_wait_in_the_pool() {
    let house = House::new(0);
    house.network.hold_messages(true);
    let cid = house
        .push(&house.owner, transfer(&house, 1))
        .unwrap()
        .cid()
        .unwrap();
    house.mine(3);
    assert!(house.lookup(&cid).is_none());
    assert_eq!(house.network.pending().len(), 1);
    house.network.hold_messages(false);
    house.mine(2);
    assert!(house.lookup(&cid).is_some());
}

#[test]
fn a_lookup_names_the_tipset_after_and_respects_the_limit() {
    let house = House::new(0);
    let cid = house
        .push(&house.owner, transfer(&house, 1))
        .unwrap()
        .cid()
        .unwrap();
    house.mine(1);
    assert!(
        house.lookup(&cid).is_none(),
        "no receipt before the next tipset"
    );
    let holder = house.network.head();
    house.mine(1);
    let found = house.lookup(&cid).unwrap();
    assert_eq!(found.height, holder.height + 1);
    assert_eq!(found.tipset, house.network.head().key);
    let receipts = house.network.parent_receipts(&house.network.head());
    assert_eq!(receipts, vec![found.receipt]);
    house.mine(10);
    let near = house
        .network
        .search_message(&Default::default(), &cid, 5, true)
        .unwrap();
    assert!(near.is_none());
}

#[tokio::test]
async fn waiting_ends_when_the_message_is_deep_enough() {
    let house = House::new(0);
    let cid = house
        .push(&house.owner, transfer(&house, 1))
        .unwrap()
        .cid()
        .unwrap();
    let network = house.network.clone();
    let waiting = tokio::spawn(async move { network.wait_message(&cid, 3, -1, true).await });
    house.mine(5);
    let found = waiting.await.unwrap().unwrap();
    assert!(house.height() >= found.height + 3);
}
