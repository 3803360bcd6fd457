//! Deadlines with real sectors and real proofs.
use fil_actor_miner_state::v18::{
    DeclareFaultsParams, DeclareFaultsRecoveredParams, FaultDeclaration, RecoveryDeclaration,
    SubmitWindowedPoStParams,
};
use fvm_ipld_bitfield::BitField;
use fvm_shared::error::ExitCode;

use crate::house::{House, MINER};

const SUBMIT: u64 = 5;
const DECLARE_FAULTS: u64 = 10;
const DECLARE_RECOVERED: u64 = 11;

fn copy(params: &SubmitWindowedPoStParams) -> SubmitWindowedPoStParams {
    fvm_ipld_encoding::from_slice(&fvm_ipld_encoding::to_vec(params).unwrap()).unwrap()
}

#[test]
fn a_good_proof_is_accepted_once_and_keeps_the_power() {
    let house = House::new(2);
    let power = house.state().miner_power(&MINER).unwrap();
    assert_eq!(power.miner.raw, (2 * 2048).into());
    assert!(power.has_min_power);
    let deadline = house.until_open_deadline_with_sectors();
    let params = house.window_post(deadline);

    let mut wrong = copy(&params);
    wrong.chain_commit_rand.0[3] ^= 1;
    assert_eq!(
        house.call(SUBMIT, &wrong).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "randomness of another chain"
    );
    assert!(house.network.accepted_posts(&MINER).is_empty());

    let receipt = house.call(SUBMIT, &params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let posts = house.network.accepted_posts(&MINER);
    assert_eq!(posts.len(), 1);
    assert_eq!((posts[0].deadline, posts[0].partition), (deadline, 0));
    assert_eq!(posts[0].sectors, [0, 1]);
    assert_eq!(posts[0].epoch, house.height() - 1);

    let views = house.state().deadlines(&MINER).unwrap();
    assert!(views[deadline as usize].partitions_posted.get(0));
    assert_eq!(
        house.call(SUBMIT, &params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "already proven"
    );
    house.mine(12);
    assert_eq!(house.state().sector_count(&MINER).unwrap(), (2, 2, 0));
    let views = house.state().deadlines(&MINER).unwrap();
    assert!(views[deadline as usize].partitions_posted.is_empty());
    assert_eq!(views[deadline as usize].disputable_proofs, 1);
}

#[test]
fn wrong_proofs_are_refused() {
    let house = House::new(2);
    let deadline = house.until_open_deadline_with_sectors();
    let params = house.window_post(deadline);
    let refused = |params: &SubmitWindowedPoStParams, why| {
        let (receipt, error) = house
            .network
            .call(
                &house.message(
                    MINER,
                    SUBMIT,
                    fvm_ipld_encoding::RawBytes::serialize(params).unwrap(),
                ),
                &Default::default(),
            )
            .unwrap();
        assert_eq!(
            receipt.exit_code,
            ExitCode::USR_ILLEGAL_ARGUMENT,
            "{why}: {error}"
        );
        error
    };
    let mut wrong = copy(&params);
    wrong.proofs[0].proof_bytes[20] ^= 1;
    refused(&wrong, "a flipped bit");
    let mut wrong = copy(&params);
    wrong.proofs[0].proof_bytes = vec![0; 192];
    assert!(refused(&wrong, "no proof at all").contains("invalid post"));
    let mut wrong = copy(&params);
    wrong.deadline = (deadline + 1) % 6;
    refused(&wrong, "another deadline");
    let mut wrong = copy(&params);
    wrong.chain_commit_epoch -= 1;
    refused(&wrong, "committed before the challenge");
    let mut wrong = copy(&params);
    wrong.chain_commit_epoch = house.height() + 1;
    refused(&wrong, "committed in the future");
    let mut wrong = copy(&params);
    wrong.proofs.clear();
    refused(&wrong, "no proof");
    let mut wrong = copy(&params);
    wrong.partitions[0].skipped = BitField::try_from_bits([0, 1]).unwrap();
    refused(&wrong, "all sectors skipped");
    let (good, error) = house
        .network
        .call(
            &house.message(
                MINER,
                SUBMIT,
                fvm_ipld_encoding::RawBytes::serialize(&params).unwrap(),
            ),
            &Default::default(),
        )
        .unwrap();
    assert_eq!(good.exit_code, ExitCode::OK, "{error}");
}

#[test]
fn a_missed_deadline_makes_faults_and_a_recovery_heals_them() {
    let house = House::new(2);
    let deadline = house.until_open_deadline_with_sectors();
    house.mine(12);
    let state = house.state();
    assert_eq!(state.faults(&MINER).unwrap().len(), 2);
    assert_eq!(state.sector_count(&MINER).unwrap(), (2, 0, 2));
    assert_eq!(state.miner_power(&MINER).unwrap().miner.raw, 0.into());
    assert!(state.active_sectors(&MINER).unwrap().is_empty());
    let expiration = state.sector_expiration(&MINER, 0).unwrap();
    assert!(expiration.on_time == 0 || expiration.early == 0);

    let recovery = DeclareFaultsRecoveredParams {
        recoveries: vec![RecoveryDeclaration {
            deadline,
            partition: 0,
            sectors: BitField::try_from_bits([0, 1]).unwrap(),
        }],
    };
    assert_eq!(
        house.call(DECLARE_RECOVERED, &recovery).exit_code,
        ExitCode::OK
    );
    assert_eq!(house.state().recoveries(&MINER).unwrap().len(), 2);
    while house.state().proving_deadline(&MINER).unwrap().index != deadline
        || !house.state().proving_deadline(&MINER).unwrap().is_open()
    {
        house.mine(1);
    }
    // recovering sectors are faulty in the state, yet they are proven
    let params = house.window_post_of(deadline, &[0, 1]);
    assert_eq!(house.call(SUBMIT, &params).exit_code, ExitCode::OK);
    assert!(house.state().faults(&MINER).unwrap().is_empty());
    assert_eq!(
        house.state().miner_power(&MINER).unwrap().miner.raw,
        (2 * 2048).into()
    );
}

#[test]
fn declared_faults_lose_power_at_once_and_late_declarations_are_refused() {
    let house = House::new(2);
    let location = house.state().sector_partition(&MINER, 1).unwrap();
    let fault = |deadline| DeclareFaultsParams {
        faults: vec![FaultDeclaration {
            deadline,
            partition: location.partition,
            sectors: BitField::try_from_bits([1]).unwrap(),
        }],
    };
    let open = house.until_open_deadline_with_sectors();
    assert_eq!(open, location.deadline);
    assert_eq!(
        house.call(DECLARE_FAULTS, &fault(open)).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "the deadline is open"
    );
    house.mine(12);
    assert_eq!(
        house.call(DECLARE_FAULTS, &fault(6)).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "no such deadline"
    );
}

#[test]
fn a_hundred_presealed_sectors_are_spread_and_live() {
    let house = House::new(100);
    let state = house.state();
    assert_eq!(state.sector_count(&MINER).unwrap(), (100, 100, 0));
    let mut used = 0;
    for deadline in 0..6 {
        let partitions = state.partitions(&MINER, deadline).unwrap();
        for partition in &partitions {
            assert!(partition.sectors.len() <= 2);
            assert!(partition.unproven.is_empty());
        }
        used += usize::from(!partitions.is_empty());
    }
    assert!(used > 1);
    for sector in 0..100 {
        let store = house.presealed();
        let replica = damocles_devnet::preseal::sealed_file(&store, 1000, sector);
        assert_eq!(std::fs::metadata(replica).unwrap().len(), 2048);
        let cache = damocles_devnet::preseal::cache_dir(&store, 1000, sector);
        for file in ["p_aux", "t_aux", "sc-02-data-tree-r-last.dat"] {
            assert!(cache.join(file).exists(), "{file} of sector {sector}");
        }
    }
    house.mine(130);
    assert_eq!(
        house.state().sector_count(&MINER).unwrap(),
        (100, 0, 100),
        "two periods without a proof"
    );
}
