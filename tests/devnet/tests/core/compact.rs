//! CompactPartitions: when it is taken, and what becomes of the partitions.
use fil_actor_miner_state::v18::{CompactPartitionsParams, DeclareFaultsParams, FaultDeclaration};
use fvm_ipld_bitfield::BitField;
use fvm_shared::error::ExitCode;

use crate::house::{House, MINER, short_policy};
use damocles_devnet::policy::NetworkPolicy;

const DECLARE_FAULTS: u64 = 10;
const COMPACT: u64 = 19;

/// Ten sectors, one partition more than there are deadlines for; disputes are over soon.
fn house() -> House {
    let policy = NetworkPolicy {
        wpost_dispute_window: 5,
        ..short_policy()
    };
    House::with(10, policy)
}

fn bits(bits: &[u64]) -> BitField {
    BitField::try_from_bits(bits.iter().copied()).unwrap()
}

fn partitions(house: &House, deadline: u64) -> Vec<Vec<u64>> {
    let found = house.state().partitions(&MINER, deadline).unwrap();
    let sectors = found.iter().map(|p| p.sectors.iter().collect());
    sectors.collect()
}

/// A deadline that has two, and their sectors.
fn two_partitions(house: &House) -> (u64, Vec<Vec<u64>>) {
    (0..6)
        .map(|index| (index, partitions(house, index)))
        .find(|(_, there)| there.len() == 2)
        .expect("a deadline with two partitions")
}

fn compact(house: &House, deadline: u64, which: &[u64]) -> ExitCode {
    let params = CompactPartitionsParams {
        deadline,
        partitions: bits(which),
    };
    house.call(COMPACT, &params).exit_code
}

#[test]
fn partitions_are_dissolved_after_the_time_for_disputes_and_not_with_faults() {
    let house = house();
    let (deadline, before) = two_partitions(&house);
    let compact = |which: &[u64]| compact(&house, deadline, which);
    // its window, the window before it, and the time for disputes after it
    let open = loop {
        let info = house.state().proving_deadline(&MINER).unwrap();
        if info.index == deadline && info.is_open() {
            break info.open;
        }
        house.mine(1);
    };
    assert_eq!(compact(&[0]), ExitCode::USR_FORBIDDEN);
    let disputes = open + 10 + house.network.policy().wpost_dispute_window;
    house.mine((disputes - house.height()) as u64);
    assert_eq!(
        compact(&[2]),
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "there is none"
    );
    // nobody proved anything: all is faulty, and stays where it is
    assert_eq!(compact(&[0]), ExitCode::USR_ILLEGAL_ARGUMENT);
    assert_eq!(partitions(&house, deadline), before);
}

#[test]
fn what_lives_in_a_dissolved_partition_moves_behind_the_others() {
    let house = house();
    let (deadline, before) = two_partitions(&house);
    // nothing was proven yet that could be disputed
    let compact = |which: &[u64]| compact(&house, deadline, which);
    assert_eq!(compact(&[0]), ExitCode::OK);
    let after = partitions(&house, deadline);
    assert_eq!(after, [before[1].clone(), before[0].clone()]);
    let faults = vec![FaultDeclaration {
        deadline,
        partition: 0,
        sectors: bits(&before[1][..1]),
    }];
    let declared = house.call(DECLARE_FAULTS, &DeclareFaultsParams { faults });
    assert_eq!(declared.exit_code, ExitCode::OK);
    let refused = compact(&[0]);
    assert_eq!(refused, ExitCode::USR_ILLEGAL_ARGUMENT, "it has a fault");
    assert_eq!(partitions(&house, deadline), after);
}
