//! A network that was saved goes on where it was.
use damocles_devnet::network::Network;
use damocles_devnet::snapshot::{self, BadSnapshot};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;

use crate::house::{House, MINER};

#[test]
fn a_loaded_network_has_the_same_state_and_makes_the_same_blocks() {
    let house = House::new(2);
    let mut message = house.message(house.stranger.address(), 0, RawBytes::default());
    message.value = TokenAmount::from_whole(1);
    message.gas_limit = 1_000_000;
    let mined = house.push(&house.owner, message.clone()).unwrap();
    house.mine(30);
    let waiting = house.push(&house.owner, message).unwrap();
    house.network.save().unwrap();
    assert!(Network::exists(house.repo()));

    let again = Network::load(house.repo()).unwrap();
    assert_eq!(again.head().key, house.network.head().key);
    assert_eq!(
        again.head().parent_state(),
        house.network.head().parent_state()
    );
    assert_eq!(again.pending(), [waiting]);
    assert_eq!(again.policy(), house.network.policy());
    let cid = mined.cid().unwrap();
    let found = again
        .search_message(&Default::default(), &cid, -1, true)
        .unwrap()
        .unwrap();
    assert!(found.receipt.exit_code.is_success());
    let (old, new) = (house.network.mine(70).unwrap(), again.mine(70).unwrap());
    assert_eq!(old.key, new.key, "deadlines passed in both alike");
    assert_eq!(
        again
            .state(&Default::default())
            .unwrap()
            .sector_count(&MINER)
            .unwrap(),
        house.state().sector_count(&MINER).unwrap()
    );
}

#[test]
fn a_replaced_message_is_still_found_after_a_restart() {
    let house = House::new(0);
    let mut message = house.message(house.stranger.address(), 0, RawBytes::default());
    let old = house
        .network
        .push(house.owner.sign_message(message.clone()));
    message.gas_premium *= 2u64;
    let new = house.network.push(house.owner.sign_message(message));
    house.mine(2);
    house.network.save().unwrap();
    let again = Network::load(house.repo()).unwrap();
    let found = again
        .search_message(&Default::default(), &old.unwrap(), -1, true)
        .unwrap()
        .unwrap();
    assert_eq!(found.message, new.unwrap());
}

#[test]
fn newer_foreign_and_damaged_files_are_refused_with_a_sentence() {
    let house = House::new(0);
    house.network.save().unwrap();
    let path = snapshot::path(house.repo());
    let good = std::fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Network::load(house.repo()).unwrap_err();
        assert!(error.to_string().contains("hint: "), "{error}");
        error.downcast::<BadSnapshot>().unwrap()
    };
    let mut newer = good.clone();
    newer[11] = 2;
    assert!(matches!(load(&newer), BadSnapshot::Newer { found: 2, .. }));
    assert!(matches!(
        load(b"something else"),
        BadSnapshot::Foreign { .. }
    ));
    let cut = &good[..good.len() / 2];
    assert!(matches!(load(cut), BadSnapshot::Damaged { .. }));
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    assert!(matches!(load(&flipped), BadSnapshot::Damaged { .. }));
    std::fs::write(&path, &good).unwrap();
    assert!(Network::load(house.repo()).is_ok());
}
