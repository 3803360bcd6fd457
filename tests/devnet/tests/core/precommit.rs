//! What PreCommitSectorBatch2 and ProveCommitSectors3 refuse, with the actor's exit codes.
use fil_actor_miner_state::v18::{
    CompactCommD, PreCommitSectorBatchParams2, ProveCommitSectors3Params, SectorActivationManifest,
    SectorPreCommitInfo,
};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::commcid::replica_commitment_v1_to_cid;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use fvm_shared::sector::{RegisteredAggregateProof, RegisteredSealProof};

use crate::house::{House, MINER};

const PRE_COMMIT: u64 = 28;
const PROVE_COMMIT: u64 = 34;
const DAY: i64 = 2880;

fn sector(house: &House, number: u64) -> SectorPreCommitInfo {
    SectorPreCommitInfo {
        seal_proof: RegisteredSealProof::StackedDRG2KiBV1P1,
        sector_number: number,
        sealed_cid: replica_commitment_v1_to_cid(&[9; 32]).unwrap(),
        seal_rand_epoch: house.height() - 1,
        deal_ids: vec![],
        expiration: house.height() + 300 * DAY,
        unsealed_cid: CompactCommD::empty(),
    }
}

fn batch(sectors: Vec<SectorPreCommitInfo>) -> PreCommitSectorBatchParams2 {
    PreCommitSectorBatchParams2 { sectors }
}

fn proven(numbers: &[u64]) -> ProveCommitSectors3Params {
    ProveCommitSectors3Params {
        sector_activations: numbers
            .iter()
            .map(|n| SectorActivationManifest {
                sector_number: *n,
                pieces: vec![],
            })
            .collect(),
        sector_proofs: numbers
            .iter()
            .map(|_| RawBytes::new(vec![1; 192]))
            .collect(),
        aggregate_proof: RawBytes::default(),
        aggregate_proof_type: None,
        require_activation_success: false,
        require_notification_success: false,
    }
}

#[test]
fn a_good_precommit_is_recorded_with_its_deposit() {
    let house = House::new(0);
    house.mine(5);
    let expected = sector(&house, 3);
    let receipt = house.call(
        PRE_COMMIT,
        &batch(vec![expected.clone(), sector(&house, 4)]),
    );
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let state = house.state();
    let found = state.precommit_info(&MINER, 3).unwrap().unwrap();
    assert_eq!(found.info, expected);
    assert_eq!(found.pre_commit_epoch, house.height() - 1);
    assert!(found.pre_commit_deposit.is_positive());
    let deposits = state.miner_state(&MINER).unwrap().pre_commit_deposits;
    assert_eq!(deposits, found.pre_commit_deposit * 2u64);
    assert_eq!(
        state.allocated(&MINER).unwrap().iter().collect::<Vec<_>>(),
        [3, 4]
    );
    assert!(state.sector_info(&MINER, 3).unwrap().is_none());
    assert!(state.miner_state(&MINER).unwrap().deadline_cron_active);
}

#[test]
fn bad_precommits_are_refused_with_illegal_argument() {
    let house = House::new(0);
    house.mine(20);
    type Spoil = fn(&mut SectorPreCommitInfo);
    let cases: [(&str, Spoil); 8] = [
        ("ticket of the future", |s| s.seal_rand_epoch += 100),
        ("ticket too old", |s| s.seal_rand_epoch = -100_000),
        ("expires too soon", |s| s.expiration -= 250 * DAY),
        ("expires too late", |s| s.expiration += 2000 * DAY),
        ("expired", |s| s.expiration = 1),
        ("other sector size", |s| {
            s.seal_proof = RegisteredSealProof::StackedDRG32GiBV1P1;
        }),
        ("retired proof", |s| {
            s.seal_proof = RegisteredSealProof::StackedDRG2KiBV1;
        }),
        ("number too large", |s| s.sector_number = 1 << 63),
    ];
    for (name, spoil) in cases {
        let mut bad = sector(&house, 1);
        spoil(&mut bad);
        let receipt = house.call(PRE_COMMIT, &batch(vec![bad]));
        assert_eq!(receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT, "{name}");
    }
    let mut bad = sector(&house, 1);
    bad.sealed_cid = fvm_shared::commcid::data_commitment_v1_to_cid(&[9; 32]).unwrap();
    let receipt = house.call(PRE_COMMIT, &batch(vec![bad]));
    assert_eq!(receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT);
    let receipt = house.call(PRE_COMMIT, &batch(vec![]));
    assert_eq!(receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT);
    let twice = batch(vec![sector(&house, 1), sector(&house, 1)]);
    assert_eq!(
        house.call(PRE_COMMIT, &twice).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT
    );
    let mut deal = sector(&house, 1);
    deal.deal_ids = vec![5];
    assert_eq!(
        house.call(PRE_COMMIT, &batch(vec![deal])).exit_code,
        ExitCode::USR_NOT_FOUND
    );
    assert!(house.state().allocated(&MINER).unwrap().is_empty());
}

#[test]
fn a_number_is_taken_for_ever() {
    let house = House::new(0);
    house.mine(5);
    let good = batch(vec![sector(&house, 1)]);
    assert_eq!(house.call(PRE_COMMIT, &good).exit_code, ExitCode::OK);
    assert_eq!(
        house.call(PRE_COMMIT, &good).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT
    );
}

#[test]
fn no_funds_no_precommit() {
    let house = House::new(0);
    house.mine(5);
    let params = RawBytes::serialize(batch(vec![sector(&house, 1)])).unwrap();
    let message = house.message(MINER, PRE_COMMIT, params);
    let receipt = house.send_as(&house.owner, message.clone());
    assert_eq!(receipt.exit_code, ExitCode::USR_INSUFFICIENT_FUNDS);
    let mut paid = message;
    paid.value = house
        .state()
        .precommit_deposit_for_power(&MINER, &sector(&house, 1))
        .unwrap();
    let receipt = house.send_as(&house.owner, paid);
    assert_eq!(
        receipt.exit_code,
        ExitCode::OK,
        "what the node estimates suffices"
    );
}

#[test]
fn strangers_may_not_call() {
    let house = House::new(0);
    house.mine(5);
    let params = RawBytes::serialize(batch(vec![sector(&house, 1)])).unwrap();
    let mut message = house.message(MINER, PRE_COMMIT, params);
    message.value = TokenAmount::from_whole(1);
    let receipt = house.send_as(&house.stranger, message);
    assert_eq!(receipt.exit_code, ExitCode::USR_FORBIDDEN);
}

#[test]
fn proofs_are_refused_by_shape_time_and_content() {
    let house = House::new(0);
    house.mine(5);
    assert_eq!(
        house.call(PROVE_COMMIT, &proven(&[1])).exit_code,
        ExitCode::USR_NOT_FOUND,
        "never precommitted"
    );
    let good = batch(vec![sector(&house, 1), sector(&house, 2)]);
    assert_eq!(house.call(PRE_COMMIT, &good).exit_code, ExitCode::OK);
    assert_eq!(
        house.call(PROVE_COMMIT, &proven(&[1])).exit_code,
        ExitCode::USR_FORBIDDEN,
        "before its seed"
    );
    house.mine(12);
    let illegal = |params: &ProveCommitSectors3Params, why| {
        assert_eq!(
            house.call(PROVE_COMMIT, params).exit_code,
            ExitCode::USR_ILLEGAL_ARGUMENT,
            "{why}"
        );
    };
    illegal(&proven(&[]), "nothing to prove");
    let mut params = proven(&[1, 2]);
    params.sector_proofs.pop();
    illegal(&params, "one proof too few");
    let mut params = proven(&[1]);
    params.sector_proofs[0] = RawBytes::new(vec![1; 500]);
    illegal(&params, "proof too long");
    let mut params = proven(&[1]);
    params.aggregate_proof = RawBytes::new(vec![1; 10]);
    illegal(&params, "both kinds of proof");
    let mut params = proven(&[1]);
    params.sector_proofs.clear();
    params.aggregate_proof = RawBytes::new(vec![1; 10]);
    params.aggregate_proof_type = Some(RegisteredAggregateProof::SnarkPackV2);
    illegal(&params, "too few sectors for an aggregate");
    illegal(&proven(&[1, 2]), "the proofs are garbage");
    assert!(house.state().sectors(&MINER, None).unwrap().is_empty());
    assert!(house.state().precommit_info(&MINER, 1).unwrap().is_some());
}
