//! A network with short periods, blocks on demand, and a key that owns the genesis miner.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bls_signatures::{PrivateKey, Serialize as _};
use damocles_devnet::block::TipsetKey;
use damocles_devnet::chain::Lookup;
use damocles_devnet::genesis::GENESIS_MINER;
use damocles_devnet::message::SignedMessage;
use damocles_devnet::network::{BlockTime, Network, NetworkConfig};
use damocles_devnet::outbox::{PushError, SendSpec};
use damocles_devnet::policy::NetworkPolicy;
use damocles_devnet::preseal::{self, cache_dir, sealed_file};
use damocles_devnet::proofs::{post_randomness, prover_id};
use damocles_devnet::view::StateView;
use fil_actor_miner_state::v18::{PoStPartition, SectorOnChainInfo, SubmitWindowedPoStParams};
use fil_actors_shared::v18::runtime::DomainSeparationTag as Tag;
use filecoin_proofs_api as api;
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::{RawBytes, to_vec};
use fvm_shared::address::Address;
use fvm_shared::commcid::cid_to_replica_commitment_v1;
use fvm_shared::crypto::signature::Signature;
use fvm_shared::econ::TokenAmount;
use fvm_shared::message::Message;
use fvm_shared::randomness::Randomness;
use fvm_shared::receipt::Receipt;
use fvm_shared::sector::{PoStProof, RegisteredPoStProof, SectorSize};
use serde::Serialize;

pub(crate) const MINER: Address = Address::new_id(GENESIS_MINER);
pub(crate) const POST: RegisteredPoStProof = RegisteredPoStProof::StackedDRGWindow2KiBV1P1;

/// A BLS key made from one byte.
pub(crate) struct Key(PrivateKey);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Key(PrivateKey::new([seed; 32]))
    }

    pub(crate) fn address(&self) -> Address {
        Address::new_bls(&self.0.public_key().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new_bls(self.0.sign(bytes).as_bytes())
    }

    pub(crate) fn sign_message(&self, message: Message) -> SignedMessage {
        let cid = damocles_devnet::message::cbor_cid(&message).unwrap();
        let signature = self.sign(&cid.to_bytes());
        SignedMessage { message, signature }
    }
}

pub(crate) struct House {
    pub(crate) network: Network,
    pub(crate) owner: Key,
    pub(crate) stranger: Key,
    dir: tempfile::TempDir,
}

pub(crate) fn short_policy() -> NetworkPolicy {
    NetworkPolicy::with_periods(6, 10)
}

pub(crate) fn config(repo: &Path, preseal: u64, policy: NetworkPolicy) -> NetworkConfig {
    let (owner, stranger) = (Key::new(1).address(), Key::new(2).address());
    NetworkConfig {
        repo: repo.to_owned(),
        policy,
        seed: [7; 32],
        block_time: BlockTime::Manual,
        sector_size: SectorSize::_2KiB,
        preseal,
        miners: 1,
        owner,
        worker: owner,
        funded: vec![
            (owner, TokenAmount::from_whole(100_000)),
            (stranger, TokenAmount::from_whole(1_000)),
        ],
        genesis_time: Some(1_700_000_000),
    }
}

impl House {
    pub(crate) fn new(preseal: u64) -> Self {
        Self::with(preseal, short_policy())
    }

    pub(crate) fn with(preseal: u64, policy: NetworkPolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::create(config(dir.path(), preseal, policy)).unwrap();
        House {
            network,
            owner: Key::new(1),
            stranger: Key::new(2),
            dir,
        }
    }

    pub(crate) fn repo(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> StateView {
        self.network.state(&TipsetKey::default()).unwrap()
    }

    pub(crate) fn mine(&self, n: u64) {
        self.network.mine(n).unwrap();
    }

    pub(crate) fn height(&self) -> i64 {
        self.network.head().height
    }

    /// An unsigned message of the owner with gas that suffices.
    pub(crate) fn message(&self, to: Address, method: u64, params: RawBytes) -> Message {
        Message {
            version: 0,
            from: self.owner.address(),
            to,
            sequence: 0,
            value: TokenAmount::default(),
            method_num: method,
            params,
            gas_limit: 300_000_000,
            gas_fee_cap: TokenAmount::from_nano(1),
            gas_premium: TokenAmount::from_atto(100_000),
        }
    }

    pub(crate) fn push(&self, key: &Key, mut message: Message) -> Result<SignedMessage, PushError> {
        message.from = key.address();
        self.network
            .push_with(message, &SendSpec::default(), &mut |_, bytes| {
                Ok(key.sign(bytes))
            })
    }

    /// Sends as `key`, mines until the receipt is there.
    pub(crate) fn send_as(&self, key: &Key, message: Message) -> Receipt {
        let cid = self.push(key, message).unwrap().cid().unwrap();
        self.mine(2);
        self.lookup(&cid).unwrap().receipt
    }

    pub(crate) fn lookup(&self, cid: &cid::Cid) -> Option<Lookup> {
        self.network
            .search_message(&TipsetKey::default(), cid, -1, true)
            .unwrap()
    }

    /// Calls a method of the genesis miner as its owner, with some value to cover deposits.
    pub(crate) fn call<P: Serialize>(&self, method: u64, params: &P) -> Receipt {
        let mut message = self.message(MINER, method, RawBytes::serialize(params).unwrap());
        message.value = TokenAmount::from_whole(1);
        self.send_as(&self.owner, message)
    }

    /// Mines until the deadline that is open holds partitions and stays open long enough
    /// for a proof to land in it; its index.
    pub(crate) fn until_open_deadline_with_sectors(&self) -> u64 {
        loop {
            let state = self.state();
            let deadline = state.proving_deadline(&MINER).unwrap();
            let open = deadline.is_open() && deadline.current_epoch + 4 < deadline.close;
            if open && !state.partitions(&MINER, deadline.index).unwrap().is_empty() {
                return deadline.index;
            }
            self.mine(1);
        }
    }

    pub(crate) fn presealed(&self) -> PathBuf {
        self.repo().join(preseal::DIRECTORY)
    }

    /// A real WindowPoSt of the first partition of the open deadline.
    pub(crate) fn window_post(&self, deadline: u64) -> SubmitWindowedPoStParams {
        let partition = &self.state().partitions(&MINER, deadline).unwrap()[0];
        let live = &partition.sectors - &partition.faults;
        self.window_post_of(deadline, &live.iter().collect::<Vec<_>>())
    }

    /// The same with these sectors.
    pub(crate) fn window_post_of(
        &self,
        deadline: u64,
        numbers: &[u64],
    ) -> SubmitWindowedPoStParams {
        let parameters = storage_proofs_parameters();
        assert!(
            parameters.iter().all(|path| path.exists()),
            "the WindowPoSt parameters for 2KiB are missing in the parameter cache; run `make params`"
        );
        let state = self.state();
        let info = state.proving_deadline(&MINER).unwrap();
        let entropy = to_vec(&MINER).unwrap();
        let challenge = state
            .randomness_from_beacon(
                Tag::WindowedPoStChallengeSeed as i64,
                info.challenge,
                &entropy,
            )
            .unwrap();
        let commit_rand = state
            .randomness_from_tickets(Tag::PoStChainCommit as i64, info.challenge, &[])
            .unwrap();
        let filter = BitField::try_from_bits(numbers.iter().copied()).unwrap();
        let sectors = state.sectors(&MINER, Some(&filter)).unwrap();
        let proofs = prove(&self.presealed(), &sectors, challenge);
        SubmitWindowedPoStParams {
            deadline,
            partitions: vec![PoStPartition {
                index: 0,
                skipped: BitField::new(),
            }],
            proofs,
            chain_commit_epoch: info.challenge,
            chain_commit_rand: Randomness(commit_rand.to_vec()),
        }
    }
}

fn storage_proofs_parameters() -> [PathBuf; 2] {
    let proof = api::RegisteredPoStProof::StackedDrgWindow2KiBV1_2;
    [
        proof.cache_params_path().unwrap(),
        proof.cache_verifying_key_path().unwrap(),
    ]
}

fn prove(store: &Path, sectors: &[SectorOnChainInfo], challenge: [u8; 32]) -> Vec<PoStProof> {
    let proof: api::RegisteredPoStProof = POST.try_into().unwrap();
    let replicas: BTreeMap<_, _> = sectors
        .iter()
        .map(|sector| {
            let n = sector.sector_number;
            let replica = api::PrivateReplicaInfo::new(
                proof,
                cid_to_replica_commitment_v1(&sector.sealed_cid).unwrap(),
                cache_dir(store, GENESIS_MINER, n),
                sealed_file(store, GENESIS_MINER, n),
            );
            (api::SectorId::from(n), replica)
        })
        .collect();
    api::post::generate_window_post(
        &post_randomness(challenge),
        &replicas,
        prover_id(GENESIS_MINER),
    )
    .unwrap()
    .into_iter()
    .map(|(_, proof_bytes)| PoStProof {
        post_proof: POST,
        proof_bytes,
    })
    .collect()
}
