//! Sectors from nothing to proven, every proof real: sealing, SNARKs one by one and as an
//! aggregate, activation, and the first WindowPoSt. A SNARK takes 40 s on two cores, so this
//! runs on request: `cargo test -p damocles-devnet --test seal -- --ignored`.
#[path = "core/house.rs"]
#[expect(dead_code, reason = "the house serves the core tests first")]
mod house;

use std::path::Path;

use damocles_devnet::genesis::GENESIS_MINER;
use damocles_devnet::preseal::{self, cache_dir, sealed_file};
use damocles_devnet::proofs::prover_id;
use fil_actor_miner_state::v18::{
    CompactCommD, PreCommitSectorBatchParams2, ProveCommitSectors3Params,
    ProveCommitSectors3Return, SectorActivationManifest, SectorPreCommitInfo,
};
use fil_actors_shared::v18::runtime::DomainSeparationTag as Tag;
use filecoin_proofs_api as api;
use fvm_ipld_encoding::{RawBytes, to_vec};
use fvm_shared::commcid::replica_commitment_v1_to_cid;
use fvm_shared::error::ExitCode;
use fvm_shared::piece::{PaddedPieceSize, zero_piece_commitment};
use fvm_shared::sector::{RegisteredAggregateProof, RegisteredSealProof};

use crate::house::{House, MINER};

const PROOF: RegisteredSealProof = RegisteredSealProof::StackedDRG2KiBV1P1;

struct Sealed {
    number: u64,
    ticket: [u8; 32],
    ticket_epoch: i64,
    output: api::seal::SealPreCommitPhase2Output,
}

fn zero_piece() -> api::PieceInfo {
    let size = PaddedPieceSize(2048);
    api::PieceInfo::new(zero_piece_commitment(size), size.unpadded().into()).unwrap()
}

fn pre_commit(house: &House, store: &Path, number: u64) -> Sealed {
    let ticket_epoch = house.height() - 900;
    let entropy = to_vec(&MINER).unwrap();
    let ticket = house
        .state()
        .randomness_from_tickets(Tag::SealRandomness as i64, ticket_epoch, &entropy)
        .unwrap();
    let replica = sealed_file(store, GENESIS_MINER, number);
    let cache = cache_dir(store, GENESIS_MINER, number);
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::create_dir_all(replica.parent().unwrap()).unwrap();
    let staged = replica.with_extension("staged");
    std::fs::write(&staged, vec![0; 2048]).unwrap();
    std::fs::write(&replica, vec![0; 2048]).unwrap();
    let phase1 = api::seal::seal_pre_commit_phase1(
        PROOF.try_into().unwrap(),
        &cache,
        &staged,
        &replica,
        prover_id(GENESIS_MINER),
        number.into(),
        ticket,
        &[zero_piece()],
    )
    .unwrap();
    let output = api::seal::seal_pre_commit_phase2(phase1, &cache, &replica).unwrap();
    Sealed {
        number,
        ticket,
        ticket_epoch,
        output,
    }
}

fn seed(house: &House, number: u64) -> [u8; 32] {
    let state = house.state();
    let epoch = state
        .precommit_info(&MINER, number)
        .unwrap()
        .unwrap()
        .pre_commit_epoch;
    state
        .randomness_from_beacon(
            Tag::InteractiveSealChallengeSeed as i64,
            epoch + house.network.policy().pre_commit_challenge_delay,
            &to_vec(&MINER).unwrap(),
        )
        .unwrap()
}

fn prove(house: &House, store: &Path, sealed: &Sealed) -> api::seal::SealCommitPhase2Output {
    let phase1 = api::seal::seal_commit_phase1(
        cache_dir(store, GENESIS_MINER, sealed.number),
        sealed_file(store, GENESIS_MINER, sealed.number),
        prover_id(GENESIS_MINER),
        sealed.number.into(),
        sealed.ticket,
        seed(house, sealed.number),
        sealed.output.clone(),
        &[zero_piece()],
    )
    .unwrap();
    api::seal::seal_commit_phase2(phase1, prover_id(GENESIS_MINER), sealed.number.into()).unwrap()
}

/// Aggregation needs a structured reference string. Real networks have one from a ceremony;
/// here one is made where it is missing, large enough for every aggregate of 2KiB sectors.
fn make_srs() {
    use filecoin_proofs::{
        DefaultPieceHasher, PoRepConfig, SectorShape2KiB, parameters::public_params,
    };
    use storage_proofs_core::{api_version::ApiVersion, compound_proof::CompoundProof};
    use storage_proofs_porep::stacked::{StackedCircuit, StackedCompound, StackedDrg};

    let config = PoRepConfig::new_groth16(2048, [0; 32], ApiVersion::V1_1_0);
    let params = public_params::<SectorShape2KiB>(&config).unwrap();
    <StackedCompound<SectorShape2KiB, DefaultPieceHasher> as CompoundProof<
        StackedDrg<'_, SectorShape2KiB, DefaultPieceHasher>,
        StackedCircuit<SectorShape2KiB, DefaultPieceHasher>,
    >>::srs_key(Some(&mut rand::rngs::OsRng), &params, 1024)
    .unwrap();
}

#[test]
#[ignore = "a SNARK of 40 s for each of five sectors"]
fn sectors_are_proven_one_by_one_and_as_an_aggregate_and_then_kept_proven() {
    make_srs();
    let house = House::new(0);
    house.mine(5);
    let store = house.repo().join(preseal::DIRECTORY);
    let sealed: Vec<_> = (0..5).map(|n| pre_commit(&house, &store, n)).collect();
    let sectors = sealed
        .iter()
        .map(|s| SectorPreCommitInfo {
            seal_proof: PROOF,
            sector_number: s.number,
            sealed_cid: replica_commitment_v1_to_cid(&s.output.comm_r).unwrap(),
            seal_rand_epoch: s.ticket_epoch,
            deal_ids: vec![],
            expiration: house.height() + 300 * 2880,
            unsealed_cid: CompactCommD::empty(),
        })
        .collect();
    let receipt = house.call(28, &PreCommitSectorBatchParams2 { sectors });
    assert_eq!(receipt.exit_code, ExitCode::OK);
    house.mine(12);

    let outputs: Vec<_> = sealed.iter().map(|s| prove(&house, &store, s)).collect();
    let manifest = |n: &Sealed| SectorActivationManifest {
        sector_number: n.number,
        pieces: vec![],
    };
    let params = |activations: &[Sealed], proofs: Vec<Vec<u8>>| ProveCommitSectors3Params {
        sector_activations: activations.iter().map(manifest).collect(),
        sector_proofs: proofs.into_iter().map(RawBytes::new).collect(),
        aggregate_proof: RawBytes::default(),
        aggregate_proof_type: None,
        require_activation_success: true,
        require_notification_success: true,
    };
    let other = params(&sealed[..1], vec![outputs[1].proof.clone()]);
    assert_eq!(
        house.call(34, &other).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "the proof of another sector"
    );
    let one = params(&sealed[..1], vec![outputs[0].proof.clone()]);
    assert_eq!(house.call(34, &one).exit_code, ExitCode::OK);

    let rest = &sealed[1..];
    let comm_rs: Vec<_> = rest.iter().map(|s| s.output.comm_r).collect();
    let seeds: Vec<_> = rest.iter().map(|s| seed(&house, s.number)).collect();
    let aggregate = api::seal::aggregate_seal_commit_proofs(
        PROOF.try_into().unwrap(),
        api::RegisteredAggregationProof::SnarkPackV2,
        &comm_rs,
        &seeds,
        &outputs[1..],
    )
    .unwrap();
    let mut params = params(rest, vec![]);
    params.aggregate_proof_type = Some(RegisteredAggregateProof::SnarkPackV2);
    let mut broken = aggregate.clone();
    broken[100] ^= 1;
    params.aggregate_proof = RawBytes::new(broken);
    assert_eq!(
        house.call(34, &params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "a flipped bit"
    );
    params.aggregate_proof = RawBytes::new(aggregate);
    let receipt = house.call(34, &params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let returned: ProveCommitSectors3Return = receipt.return_data.deserialize().unwrap();
    assert_eq!(returned.activation_results.success_count, 4);
    assert_eq!(house.state().sector_count(&MINER).unwrap(), (5, 0, 0));

    let deadline = house.until_open_deadline_with_sectors();
    let post = house.window_post(deadline);
    assert_eq!(house.call(5, &post).exit_code, ExitCode::OK);
    let (_, active, _) = house.state().sector_count(&MINER).unwrap();
    assert!(active > 0, "power came with the first WindowPoSt");
}
