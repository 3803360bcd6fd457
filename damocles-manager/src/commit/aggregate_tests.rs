//! Tables of what goes singly and what as an aggregate.

use super::*;
use damocles_types::SectorSize;

fn waiting(sectors: u64, size: SectorSize) -> Waiting {
    Waiting {
        sectors,
        proof: SealProof::interactive(size),
        proof_bytes: 192 * partitions(size),
        manifest_bytes: 12,
    }
}

fn policy(when: Aggregate) -> AggregatePolicy {
    AggregatePolicy {
        when,
        ..AggregatePolicy::default()
    }
}

/// Gas of messages with single proofs whose sectors take 8M each beside them.
fn singly(w: &Waiting) -> i64 {
    units(w.sectors) * (w.single() + 8_000_000) + 15_000_000
}

#[test]
fn what_comes_into_question() {
    let nano = TokenAmount::from_nano;
    let of = |when, above: u64| AggregatePolicy {
        when,
        above_base_fee: nano(above),
    };
    use Aggregate::{Always, Auto, Never};
    for (sectors, policy, base_fee, perhaps, said) in [
        (0, of(Auto, 0), 1, false, false),
        (3, of(Auto, 0), 1, false, false),
        (3, of(Always, 0), 1, false, false),
        (4, of(Auto, 0), 1, true, false),
        (4, of(Always, 0), 1, true, false),
        (900, of(Never, 0), 1, false, false),
        (4, of(Auto, 2), 1, false, true),
        (4, of(Always, 2), 1, false, true),
        (4, of(Auto, 2), 2, true, false),
        (3, of(Auto, 2), 1, false, false),
    ] {
        let way = way(sectors, &policy, &nano(base_fee));
        let got = match way {
            Way::Perhaps => (true, false),
            Way::Singly(why) => (false, why.is_some()),
        };
        assert_eq!(got, (perhaps, said), "{sectors} {policy:?} {base_fee}");
    }
}

#[test]
fn aggregates_are_worth_making_from_some_sectors_on() {
    let first = |size| {
        (4..100).find(|n| {
            let w = waiting(*n, size);
            !sizes(&w, &policy(Aggregate::Auto), Some(singly(&w))).is_empty()
        })
    };
    // small sectors save 35M for each and a short proof; 32GiB save a long one as well
    assert_eq!(first(SectorSize::KiB2), Some(4));
    assert_eq!(first(SectorSize::GiB32), Some(4));
    // it was measured that single proofs cost next to nothing
    let w = waiting(4, SectorSize::KiB2);
    assert_eq!(sizes(&w, &policy(Aggregate::Auto), Some(1_000)), [0; 0]);
    assert_eq!(sizes(&w, &policy(Aggregate::Always), Some(1_000)), [4]);
    // it could not be measured
    assert_eq!(sizes(&w, &policy(Aggregate::Auto), None), [0; 0]);
    assert_eq!(sizes(&w, &policy(Aggregate::Always), None), [4]);
    assert_eq!(sizes(&w, &policy(Aggregate::Never), Some(i64::MAX)), [0; 0]);
}

#[test]
fn an_aggregate_is_no_larger_than_a_message_and_half_a_block() {
    let of = |sectors, manifest_bytes, each: i64| {
        let w = Waiting {
            manifest_bytes,
            ..waiting(sectors, SectorSize::GiB32)
        };
        let gas = units(sectors) * (w.single() + each);
        let sizes = sizes(&w, &policy(Aggregate::Auto), Some(gas));
        for n in &sizes {
            let n = *n as u64;
            let bytes = w.aggregate_bytes(n) + n * manifest_bytes + FRAME;
            assert!((4..=819).contains(&n) && bytes <= LARGEST_PARAMS as u64);
            assert!(w.aggregated(n, w.beside(gas)) <= MOST_GAS);
        }
        assert_eq!(sizes.iter().sum::<usize>() as u64, sectors);
        sizes
    };
    assert_eq!(of(819, 12, 1_000_000), [819]);
    assert_eq!(of(820, 12, 1_000_000), [410, 410]);
    assert_eq!(of(100, 12, 8_000_000), [100]);
    // of gas: 8M for each of them, and half a billion for the aggregate
    let by_gas = of(819, 12, 8_000_000);
    assert_eq!(by_gas, [410, 409]);
    // of bytes: two pieces of 120 bytes for each
    let by_bytes = of(300, 240, 8_000_000);
    assert_eq!(by_bytes, [100, 100, 100]);
    // no room for four
    let huge = Waiting {
        manifest_bytes: 20_000,
        ..waiting(8, SectorSize::GiB32)
    };
    assert_eq!(sizes(&huge, &policy(Aggregate::Always), None), [0; 0]);
}

#[test]
fn parts_are_equal_and_none_is_too_small() {
    for (all, most, parts) in [
        (4, 819, vec![4]),
        (819, 819, vec![819]),
        (820, 819, vec![410, 410]),
        (9, 4, vec![3, 3, 3]),
        (10, 8, vec![5, 5]),
        (17, 8, vec![6, 6, 5]),
    ] {
        assert_eq!(split(all, most), parts, "{all} {most}");
    }
}

/// A fee was asked before version 25, at 5 nanoFIL at least (FIP-0013, taken out by FIP-0100).
#[test]
fn the_networks_fee_ended_with_fip_0100() {
    let nano = TokenAmount::from_nano;
    let per_nano = 49_299_973_i64 * 4 / 20;
    for (version, base_fee, nano_fil) in [
        (24, 0, per_nano * 5),
        (24, 5, per_nano * 5),
        (22, 10, per_nano * 10),
        (25, 10, 0),
        (28, 10, 0),
    ] {
        let fee = network_fee(version, 4, &nano(base_fee));
        // 4 × 49299973 is no multiple of 20: what is left is less than a nanoFIL of gas price
        let off = (fee - nano(nano_fil)).atto().clone();
        assert!(
            off >= 0.into() && off < 10_000_000_000_i64.into(),
            "{version} {off}"
        );
    }
}

#[test]
fn the_cheaper_way_is_taken_by_base_fee_and_measured_gas() {
    use Aggregate::{Always, Auto, Never};
    let cost = |singly, aggregated, base_fee: u64, fee: u64| Costs {
        sectors: 10,
        singly,
        aggregated,
        network_fee: TokenAmount::from_nano(fee),
        base_fee: TokenAmount::from_nano(base_fee),
    };
    for (costs, when, goes) in [
        (cost(Some(400), 300, 1, 0), Auto, true),
        (cost(Some(300), 300, 1, 0), Auto, false),
        (cost(Some(300), 400, 1, 0), Auto, false),
        // a fee outweighs what gas saves until blocks are dear: 100 units of gas for 50 nanoFIL
        (cost(Some(400), 300, 0, 50), Auto, false),
        (cost(Some(400), 300, 1, 50), Auto, true),
        (cost(Some(400), 300, 1, 100), Auto, false),
        (cost(Some(400), 300, 2, 100), Auto, true),
        (cost(None, 300, 9, 0), Auto, false),
        (cost(None, 300, 9, 0), Always, true),
        (cost(Some(1), 300, 1, 900), Always, true),
        (cost(Some(400), 1, 1, 0), Never, false),
    ] {
        assert_eq!(costs.aggregate_goes(when), goes, "{costs} {when:?}");
    }
}

#[test]
fn what_was_compared_is_said_in_a_sentence() {
    let costs = Costs {
        sectors: 12,
        singly: Some(530_000_001),
        aggregated: 168_000_000,
        network_fee: TokenAmount::default(),
        base_fee: TokenAmount::from_nano(1),
    };
    assert_eq!(
        costs.to_string(),
        "12 proofs: 168M gas as one aggregate, 531M singly, at a base fee of 0.000000001 FIL"
    );
}
