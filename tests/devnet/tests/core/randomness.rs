//! The drawing of randomness, and from where in the chain it comes.
use damocles_devnet::randomness::{beacon_entry, beacon_round, blake2b256, draw};
use fil_actors_shared::v18::runtime::DomainSeparationTag as Tag;
use fvm_ipld_encoding::to_vec;
use multihash_codetable::{Code, MultihashDigest};

use crate::house::{House, MINER};

/// The input's layout written out by hand: tag and round as eight bytes, highest first.
#[test]
fn drawing_hashes_tag_digest_round_and_entropy() {
    let digest = [0xab; 32];
    let mut input = vec![0, 0, 0, 0, 0, 0, 0, 5];
    input.extend_from_slice(&digest);
    input.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2]);
    input.extend_from_slice(b"\x43\x00\xe8\x07");
    let expected = Code::Blake2b256.digest(&input);
    let drawn = draw(
        &digest,
        Tag::SealRandomness as i64,
        258,
        b"\x43\x00\xe8\x07",
    );
    assert_eq!(&drawn[..], expected.digest());

    let negative = draw(&digest, 9, -1, &[]);
    let mut input = vec![0, 0, 0, 0, 0, 0, 0, 9];
    input.extend_from_slice(&digest);
    input.extend_from_slice(&[0xff; 8]);
    assert_eq!(&negative[..], Code::Blake2b256.digest(&input).digest());
}

#[test]
fn tickets_come_from_the_tipset_of_the_epoch() {
    let house = House::new(0);
    house.mine(10);
    let state = house.state();
    let entropy = to_vec(&MINER).unwrap();
    assert_eq!(entropy, b"\x43\x00\xe8\x07");
    let tipset = house
        .network
        .tipset_by_height(4, &Default::default())
        .unwrap();
    let ticket = tipset.blocks[0].ticket.clone().unwrap().vrf_proof;
    let expected = draw(&blake2b256(&ticket), 5, 4, &entropy);
    assert_eq!(
        state.randomness_from_tickets(5, 4, &entropy).unwrap(),
        expected
    );
    let genesis = house.network.genesis().blocks[0].clone();
    let ticket = genesis.ticket.unwrap().vrf_proof;
    assert_eq!(
        state.randomness_from_tickets(5, -900, &entropy).unwrap(),
        draw(&blake2b256(&ticket), 5, -900, &entropy),
        "before genesis its ticket counts, with the epoch that was asked for"
    );
    assert!(state.randomness_from_tickets(5, 11, &entropy).is_err());
}

#[test]
fn the_beacon_has_one_round_per_epoch_even_through_null_rounds() {
    let house = House::new(0);
    house.mine(3);
    house.network.mine_at(4).unwrap();
    assert_eq!(house.height(), 7);
    let state = house.state();
    for epoch in 0..=7 {
        let entry = beacon_entry(&[7; 32], beacon_round(epoch));
        assert_eq!(
            state.randomness_from_beacon(4, epoch, &[]).unwrap(),
            draw(&blake2b256(&entry.data), 4, epoch, &[]),
            "epoch {epoch}"
        );
    }
    let before = house.network.tipset_by_height(6, &Default::default());
    assert_eq!(before.unwrap().height, 3);
    let after = house.network.tipset_after_height(4, &Default::default());
    assert_eq!(after.unwrap().height, 7);
    let ticket = house.network.head().blocks[0].ticket.clone().unwrap();
    assert_eq!(
        state.randomness_from_tickets(5, 5, &[]).unwrap(),
        draw(&blake2b256(&ticket.vrf_proof), 5, 5, &[]),
        "a null round draws from the next tipset"
    );
}

#[test]
fn the_same_seed_makes_the_same_chain() {
    let (a, b) = (House::new(1), House::new(1));
    a.mine(5);
    b.mine(5);
    assert_eq!(a.network.head().key, b.network.head().key);
}
