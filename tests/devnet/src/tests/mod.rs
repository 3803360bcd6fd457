//! What proven sectors become, tried without the 40 s that a real proof takes: the verifier
//! here says yes to every proof that does not begin with a zero. Real proofs are tried in
//! `tests/devnet/tests` and in the scenarios; this module exists in test builds only.
mod actor;
mod data;

use std::sync::Arc;

use bls_signatures::{PrivateKey, Serialize as _};
use fil_actor_miner_state::v18::{
    CompactCommD, DataActivationNotification, PieceActivationManifest, PoStPartition,
    PreCommitSectorBatchParams2, ProveCommitSectors3Params, ProveCommitSectors3Return,
    SectorActivationManifest, SectorPreCommitInfo, SubmitWindowedPoStParams, VerifiedAllocationKey,
};
use fil_actors_shared::v18::runtime::DomainSeparationTag as Tag;
use fil_actors_shared::v18::{BatchReturn, FailCode};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::address::Address;
use fvm_shared::commcid::{piece_commitment_v1_to_cid, replica_commitment_v1_to_cid};
use fvm_shared::crypto::signature::Signature;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use fvm_shared::message::Message;
use fvm_shared::piece::{PaddedPieceSize, PieceInfo};
use fvm_shared::randomness::Randomness;
use fvm_shared::receipt::Receipt;
use fvm_shared::sector::{
    AggregateSealVerifyProofAndInfos, PoStProof, RegisteredAggregateProof, RegisteredPoStProof,
    RegisteredSealProof, SealVerifyInfo, SectorSize, WindowPoStVerifyInfo,
};
use serde::Serialize;

use crate::genesis::GENESIS_MINER;
use crate::network::{BlockTime, Network, NetworkConfig};
use crate::outbox::{PushError, SendSpec};
use crate::policy::NetworkPolicy;
use crate::proofs::{Verifier, WinningPost, unsealed_cid};
use crate::view::StateView;

const MINER: Address = Address::new_id(GENESIS_MINER);
const PROOF: RegisteredSealProof = RegisteredSealProof::StackedDRG2KiBV1P1;

#[derive(Debug)]
struct YesUnlessZero;

impl Verifier for YesUnlessZero {
    fn seal(&self, info: &SealVerifyInfo) -> bool {
        info.proof.first() != Some(&0)
    }
    fn aggregate(&self, info: &AggregateSealVerifyProofAndInfos) -> bool {
        info.proof.first() != Some(&0)
    }
    fn window_post(&self, info: &WindowPoStVerifyInfo) -> bool {
        info.proofs[0].proof_bytes.first() != Some(&0)
    }
    fn winning_post(&self, info: &WinningPost<'_>) -> bool {
        info.proofs[0].proof_bytes.first() != Some(&0)
    }
}

struct House {
    network: Network,
    key: PrivateKey,
    _dir: tempfile::TempDir,
}

impl House {
    fn new(policy: NetworkPolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::new([1u8; 32]);
        let owner = Address::new_bls(&key.public_key().as_bytes()).unwrap();
        let config = NetworkConfig {
            repo: dir.path().to_owned(),
            policy,
            seed: [7; 32],
            block_time: BlockTime::Manual,
            sector_size: SectorSize::_2KiB,
            preseal: 0,
            miners: 1,
            owner,
            worker: owner,
            funded: vec![(owner, TokenAmount::from_whole(1_000_000))],
            genesis_time: Some(1_700_000_000),
        };
        let network = Network::create_with(config, Arc::new(YesUnlessZero)).unwrap();
        network.mine(5).unwrap();
        House {
            network,
            key,
            _dir: dir,
        }
    }

    fn state(&self) -> StateView {
        self.network.state(&Default::default()).unwrap()
    }

    fn call<P: Serialize>(&self, method_num: u64, params: &P, value: TokenAmount) -> Receipt {
        let cid = self.try_call(method_num, params, value).unwrap();
        self.network.mine(2).unwrap();
        let found = self
            .network
            .search_message(&Default::default(), &cid, -1, true);
        found.unwrap().unwrap().receipt
    }

    fn try_call<P: Serialize>(
        &self,
        method_num: u64,
        params: &P,
        value: TokenAmount,
    ) -> Result<cid::Cid, PushError> {
        let message = Message {
            version: 0,
            from: Address::new_bls(&self.key.public_key().as_bytes()).unwrap(),
            to: MINER,
            sequence: 0,
            value,
            method_num,
            params: RawBytes::serialize(params).unwrap(),
            gas_limit: 3_000_000_000,
            gas_fee_cap: TokenAmount::from_nano(1),
            gas_premium: TokenAmount::from_atto(100_000),
        };
        let sign =
            |_: &Address, bytes: &[u8]| Ok(Signature::new_bls(self.key.sign(bytes).as_bytes()));
        let spec = SendSpec {
            max_fee: TokenAmount::from_whole(10),
            ..SendSpec::default()
        };
        let signed = self.network.push_with(message, &spec, &mut { sign });
        Ok(signed?.cid().unwrap())
    }

    /// Precommits sectors 1..=count that hold `pieces` and waits for their seed.
    fn precommitted(count: u64, pieces: &[PieceInfo]) -> Self {
        Self::precommitted_on(NetworkPolicy::with_periods(6, 10), count, pieces)
    }

    fn precommitted_on(policy: NetworkPolicy, count: u64, pieces: &[PieceInfo]) -> Self {
        let house = Self::new(policy);
        let comm_d = if pieces.is_empty() {
            CompactCommD::empty()
        } else {
            CompactCommD::of(unsealed_cid(PROOF, pieces).unwrap())
        };
        let height = house.network.head().height;
        let sectors = (1..=count)
            .map(|n| SectorPreCommitInfo {
                seal_proof: PROOF,
                sector_number: n,
                sealed_cid: replica_commitment_v1_to_cid(&[n as u8; 32]).unwrap(),
                seal_rand_epoch: height - 1,
                deal_ids: vec![],
                expiration: height + 300 * 2880,
                unsealed_cid: comm_d.clone(),
            })
            .collect();
        let params = PreCommitSectorBatchParams2 { sectors };
        let receipt = house.call(28, &params, TokenAmount::from_whole(count as i64));
        assert_eq!(receipt.exit_code, ExitCode::OK);
        house.network.mine(12).unwrap();
        house
    }

    fn prove(&self, params: &ProveCommitSectors3Params) -> Receipt {
        self.call(34, params, TokenAmount::default())
    }

    /// Waits for the deadline of a sector and sends a WindowPoSt of bytes that are all `byte`.
    fn post(&self, sector: u64, byte: u8) -> Receipt {
        let place = self.state().sector_partition(&MINER, sector).unwrap();
        let deadline = loop {
            let di = self.state().proving_deadline(&MINER).unwrap();
            if di.index == place.deadline && di.is_open() {
                break di;
            }
            self.network.mine(1).unwrap();
        };
        let tag = Tag::PoStChainCommit as i64;
        let state = self.state();
        let rand = state.randomness_from_tickets(tag, deadline.challenge, &[]);
        let post = SubmitWindowedPoStParams {
            deadline: place.deadline,
            partitions: vec![PoStPartition {
                index: place.partition,
                skipped: BitField::new(),
            }],
            proofs: vec![PoStProof {
                post_proof: RegisteredPoStProof::StackedDRGWindow2KiBV1P1,
                proof_bytes: vec![byte; 192],
            }],
            chain_commit_epoch: deadline.challenge,
            chain_commit_rand: Randomness(rand.unwrap().to_vec()),
        };
        self.call(5, &post, TokenAmount::default())
    }
}

fn proofs(first_bytes: &[u8]) -> ProveCommitSectors3Params {
    ProveCommitSectors3Params {
        sector_activations: (1..=first_bytes.len() as u64)
            .map(|n| SectorActivationManifest {
                sector_number: n,
                pieces: vec![],
            })
            .collect(),
        sector_proofs: first_bytes
            .iter()
            .map(|b| RawBytes::new(vec![*b; 192]))
            .collect(),
        aggregate_proof: RawBytes::default(),
        aggregate_proof_type: None,
        require_activation_success: false,
        require_notification_success: false,
    }
}

fn batch(receipt: &Receipt) -> BatchReturn {
    let returned: ProveCommitSectors3Return = receipt.return_data.deserialize().unwrap();
    returned.activation_results
}

#[test]
fn proven_sectors_move_their_deposit_to_pledge_and_wait_for_their_first_post() {
    let house = House::precommitted(2, &[]);
    let receipt = house.prove(&proofs(&[1, 1]));
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert_eq!(batch(&receipt), BatchReturn::ok(2));
    let view = house.state();
    let state = view.miner_state(&MINER).unwrap();
    assert!(state.pre_commit_deposits.is_zero());
    let sector = view.sector_info(&MINER, 1).unwrap().unwrap();
    assert_eq!(sector.activation, house.network.head().height - 1);
    assert_eq!(state.initial_pledge, sector.initial_pledge * 2u64);
    assert!(sector.daily_fee.is_positive());
    assert!(view.precommit_info(&MINER, 1).unwrap().is_none());
    assert_eq!(view.sector_count(&MINER).unwrap(), (2, 0, 0));
    assert_eq!(view.miner_power(&MINER).unwrap().miner.raw, 0.into());

    let place = view.sector_partition(&MINER, 1).unwrap();
    assert_eq!(view.sector_partition(&MINER, 2).unwrap(), place);
    assert!(view.sector_expiration(&MINER, 1).unwrap().on_time >= sector.expiration);
    assert_eq!(
        house.post(1, 0).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "a proof that is none"
    );
    assert_eq!(house.post(1, 1).exit_code, ExitCode::OK);
    assert_eq!(house.state().sector_count(&MINER).unwrap(), (2, 2, 0));
    let power = house.state().miner_power(&MINER).unwrap();
    assert_eq!(power.miner.raw, (2 * 2048).into());
    assert_eq!(house.network.accepted_posts(&MINER)[0].sectors, [1, 2]);
}

#[test]
fn one_bad_proof_costs_one_sector_or_the_whole_message_if_all_must_succeed() {
    let house = House::precommitted(3, &[]);
    let mut params = proofs(&[1, 0, 1]);
    params.require_activation_success = true;
    assert_eq!(
        house.prove(&params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT
    );
    params.require_activation_success = false;
    let receipt = house.prove(&params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert_eq!(
        batch(&receipt),
        BatchReturn {
            success_count: 2,
            fail_codes: vec![FailCode {
                idx: 1,
                code: ExitCode::USR_ILLEGAL_ARGUMENT
            }],
        }
    );
    assert!(house.state().sector_info(&MINER, 2).unwrap().is_none());
    assert!(house.state().precommit_info(&MINER, 2).unwrap().is_some());
    assert!(house.state().sector_info(&MINER, 3).unwrap().is_some());
}

#[test]
fn an_aggregate_proves_all_or_nothing() {
    let house = House::precommitted(4, &[]);
    let mut params = proofs(&[1, 1, 1, 1]);
    params.sector_proofs.clear();
    params.aggregate_proof_type = Some(RegisteredAggregateProof::SnarkPackV2);
    params.aggregate_proof = RawBytes::new(vec![0; 1000]);
    assert_eq!(
        house.prove(&params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT
    );
    params.aggregate_proof = RawBytes::new(vec![1; 1000]);
    params.aggregate_proof_type = Some(RegisteredAggregateProof::SnarkPackV1);
    assert_eq!(
        house.prove(&params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT
    );
    params.aggregate_proof_type = Some(RegisteredAggregateProof::SnarkPackV2);
    let receipt = house.prove(&params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert_eq!(batch(&receipt), BatchReturn::ok(4));
}

#[test]
fn pieces_must_give_the_comm_d_that_was_precommitted() {
    let info = PieceInfo {
        size: PaddedPieceSize(1024),
        cid: piece_commitment_v1_to_cid(&[5; 32]).unwrap(),
    };
    let house = House::precommitted(1, std::slice::from_ref(&info));
    let mut params = proofs(&[1]);
    assert_eq!(
        house.prove(&params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "no pieces named"
    );
    let piece = PieceActivationManifest {
        cid: info.cid,
        size: info.size,
        verified_allocation_key: None,
        notify: vec![],
    };
    params.sector_activations[0].pieces = vec![PieceActivationManifest {
        verified_allocation_key: Some(VerifiedAllocationKey { client: 101, id: 1 }),
        ..piece.clone()
    }];
    assert_eq!(
        house.prove(&params).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "no such allocation, and no other sector"
    );
    params.sector_activations[0].pieces = vec![PieceActivationManifest {
        notify: vec![DataActivationNotification {
            address: Address::new_id(5),
            payload: RawBytes::default(),
        }],
        ..piece
    }];
    params.require_notification_success = true;
    assert_eq!(
        house.prove(&params).exit_code.value(),
        1004,
        "the market has no deal for it"
    );
    params.require_notification_success = false;
    let receipt = house.prove(&params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let sector = house.state().sector_info(&MINER, 1).unwrap().unwrap();
    let duration = sector.expiration - sector.activation;
    assert_eq!(sector.deal_weight, (1024 * duration).into());
}

/// The same proofs with zeros after them.
fn padded(first_bytes: &[u8], length: usize) -> ProveCommitSectors3Params {
    let mut params = proofs(first_bytes);
    for proof in &mut params.sector_proofs {
        let mut bytes = proof.bytes().to_vec();
        bytes.resize(length, 0);
        *proof = RawBytes::new(bytes);
    }
    params
}

fn long_proofs() -> NetworkPolicy {
    NetworkPolicy {
        proof_bytes: 1920,
        ..NetworkPolicy::with_periods(6, 10)
    }
}

#[test]
fn proofs_of_production_length_are_the_real_ones_with_zeros_behind() {
    let house = House::precommitted_on(long_proofs(), 2, &[]);
    let mut wrong = padded(&[1, 1], 1920);
    let mut bytes = wrong.sector_proofs[1].bytes().to_vec();
    bytes[1919] = 7;
    wrong.sector_proofs[1] = RawBytes::new(bytes);
    for params in [padded(&[1, 1], 1919), wrong] {
        assert_eq!(
            house.prove(&params).exit_code,
            ExitCode::USR_ILLEGAL_ARGUMENT
        );
    }
    let bad = house.prove(&padded(&[0, 1], 1920));
    assert_eq!(batch(&bad).success_count, 1, "what is first is verified");
    let ordinary = House::precommitted(1, &[]);
    assert_eq!(
        ordinary.prove(&padded(&[1], 1920)).exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "only on request"
    );
}

#[test]
fn thirty_four_proofs_of_production_length_are_too_many_for_a_message() {
    let house = House::precommitted_on(long_proofs(), 34, &[]);
    let error = house
        .try_call(34, &padded(&[1; 34], 1920), TokenAmount::default())
        .unwrap_err();
    assert!(error.to_string().contains("message too big"), "{error}");
    let receipt = house.prove(&padded(&[1; 33], 1920));
    assert_eq!(batch(&receipt), BatchReturn::ok(33));
}
