//! A chain with one miner, and a prover, that do what the test says.

use crate::{
    chain::{Chain, ChainError, DomainTag, Head},
    post::{Claim, ProveError, Prover},
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, Deadline, DeadlineInfo, Message, MinerInfo, MsgLookup, NetworkParams, Partition,
    SectorLocation, SectorOnChainInfo, SectorPreCommitInfo, SectorPreCommitOnChainInfo, SendSpec,
    SignedMessage, TipSet, TipSetKey,
};
use damocles_processor::{
    ProcessorError, Stage,
    task::{WindowPost, WindowPostOutput},
};
use damocles_types::{ActorId, Base64, Commitment, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, econ::TokenAmount};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::Notify;

pub(super) const MINER: ActorId = 1000;
pub(super) const DEADLINES: u64 = 4;
pub(super) const WINDOW: Epoch = 60;
pub(super) const LOOKBACK: Epoch = 20;

/// What the chain says.
#[derive(Debug)]
pub(super) struct State {
    /// Partitions of deadline 1; the other deadlines are empty.
    pub(super) partitions: Vec<Vec<SectorNumber>>,
    pub(super) faulty: Vec<SectorNumber>,
    pub(super) recovering: Vec<SectorNumber>,
    pub(super) submitted: Vec<u64>,
    /// Changes all randomness, as a reorganisation does.
    pub(super) fork: u8,
    pub(super) down: bool,
    pub(super) asked_deadline: usize,
}

#[derive(Debug)]
pub(super) struct FakeChain(pub(super) Mutex<State>);

impl FakeChain {
    pub(super) fn new(partitions: Vec<Vec<SectorNumber>>) -> Self {
        Self(Mutex::new(State {
            partitions,
            faulty: vec![],
            recovering: vec![],
            submitted: vec![],
            fork: 0,
            down: false,
            asked_deadline: 0,
        }))
    }

    fn up<T>(&self, method: &str, give: impl FnOnce(&mut State) -> T) -> Result<T, ChainError> {
        let mut state = self.0.lock();
        if state.down {
            return Err(ChainError::Unreachable {
                method: method.to_owned(),
                reason: "told to be down".to_owned(),
            });
        }
        Ok(give(&mut state))
    }
}

pub(super) fn head(height: Epoch) -> Head {
    let cid = Commitment([u8::try_from(height.rem_euclid(256)).unwrap(); 32]).sealed_cid();
    Head {
        height,
        key: TipSetKey(vec![cid]),
        timestamp: 0,
    }
}

/// The height that [`head`] wrote into the key.
fn height(key: &TipSetKey) -> Epoch {
    Epoch::from(key.0[0].hash().digest()[0])
}

pub(super) fn comm_r(number: SectorNumber) -> Commitment {
    Commitment([u8::try_from(number).unwrap(); 32])
}

fn bits(numbers: &[u64]) -> BitField {
    BitField::try_from_bits(numbers.iter().copied()).unwrap()
}

fn no<T>(method: &str) -> Result<T, ChainError> {
    Err(ChainError::Refused {
        method: method.to_owned(),
        code: 1,
        message: "the fake chain does not know it".to_owned(),
    })
}

#[async_trait]
impl Chain for FakeChain {
    async fn miner_info(&self, _: ActorId, _: &TipSetKey) -> Result<MinerInfo, ChainError> {
        self.up("StateMinerInfo", |_| MinerInfo {
            owner: Address::new_id(100),
            worker: Address::new_id(101),
            new_worker: None,
            control_addresses: vec![],
            worker_change_epoch: -1,
            peer_id: None,
            multiaddrs: vec![],
            window_po_st_proof_type: 10,
            sector_size: 2048,
            window_po_st_partition_sectors: 2,
            consensus_fault_elapsed: -1,
            pending_owner_address: None,
            beneficiary: Address::new_id(100),
            beneficiary_term: None,
            pending_beneficiary_term: None,
        })
    }

    async fn miner_proving_deadline(
        &self,
        _: ActorId,
        key: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError> {
        let now = height(key);
        self.up("StateMinerProvingDeadline", |state| {
            state.asked_deadline += 1;
            let period = WINDOW * DEADLINES as Epoch;
            let period_start = now.div_euclid(period) * period;
            let index = (now - period_start) / WINDOW;
            let open = period_start + index * WINDOW;
            DeadlineInfo {
                current_epoch: now,
                period_start,
                index: index as u64,
                open,
                close: open + WINDOW,
                challenge: open - LOOKBACK,
                fault_cutoff: open - 70,
                wpost_period_deadlines: DEADLINES,
                wpost_proving_period: period,
                wpost_challenge_window: WINDOW,
                wpost_challenge_lookback: LOOKBACK,
                fault_declaration_cutoff: 70,
            }
        })
    }

    async fn miner_deadlines(
        &self,
        _: ActorId,
        _: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError> {
        self.up("StateMinerDeadlines", |state| {
            let deadline = |index| Deadline {
                post_submissions: match index {
                    1 => bits(&state.submitted),
                    _ => BitField::new(),
                },
                disputable_proof_count: 0,
                daily_fee: TokenAmount::default(),
            };
            (0..DEADLINES).map(deadline).collect()
        })
    }

    async fn miner_partitions(
        &self,
        _: ActorId,
        deadline: u64,
        _: &TipSetKey,
    ) -> Result<Vec<Partition>, ChainError> {
        self.up("StateMinerPartitions", |state| {
            if deadline != 1 {
                return vec![];
            }
            let partition = |all: &Vec<SectorNumber>| {
                let all = bits(all);
                let faulty = &all & &bits(&state.faulty);
                Partition {
                    recovering_sectors: &all & &bits(&state.recovering),
                    active_sectors: &all - &faulty,
                    faulty_sectors: faulty,
                    live_sectors: all.clone(),
                    all_sectors: all,
                }
            };
            state.partitions.iter().map(partition).collect()
        })
    }

    async fn miner_sectors(
        &self,
        _: ActorId,
        filter: Option<&BitField>,
        _: &TipSetKey,
    ) -> Result<Vec<SectorOnChainInfo>, ChainError> {
        let info = |sector_number| SectorOnChainInfo {
            sector_number,
            seal_proof: 5,
            sealed_cid: comm_r(sector_number).sealed_cid(),
            activation: 0,
            expiration: 100_000,
            deal_weight: 0.into(),
            verified_deal_weight: 0.into(),
            initial_pledge: TokenAmount::default(),
            expected_day_reward: None,
            expected_storage_pledge: None,
            power_base_epoch: 0,
            replaced_day_reward: None,
            sector_key_cid: None,
            flags: 0,
            daily_fee: TokenAmount::default(),
        };
        self.up("StateMinerSectors", |state| {
            let all = state.partitions.iter().flatten().copied();
            all.filter(|n| filter.is_none_or(|f| f.get(*n)))
                .map(info)
                .collect()
        })
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        _: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        assert_eq!(tag, DomainTag::PoStChainCommit);
        assert!(entropy.is_empty());
        self.up("StateGetRandomnessFromTickets", |state| {
            Randomness([epoch as u8 ^ state.fork ^ 0x55; 32])
        })
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        _: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        assert_eq!(tag, DomainTag::WindowedPoStChallengeSeed);
        assert_eq!(entropy, crate::chain::entropy(MINER));
        self.up("StateGetRandomnessFromBeacon", |state| {
            Randomness([epoch as u8 ^ state.fork; 32])
        })
    }

    async fn head(&self) -> Result<TipSet, ChainError> {
        no("ChainHead")
    }
    async fn tipset_at(&self, _: Epoch, _: &TipSetKey) -> Result<TipSetKey, ChainError> {
        no("ChainGetTipSetByHeight")
    }
    async fn finalized(&self) -> Result<Option<Epoch>, ChainError> {
        no("ChainGetFinalizedTipSet")
    }
    async fn genesis(&self) -> Result<Option<String>, ChainError> {
        no("ChainGetGenesis")
    }
    async fn sign_message(&self, _: &Message) -> Result<SignedMessage, ChainError> {
        no("WalletSignMessage")
    }
    async fn pending_nonces(&self, _: Address) -> Result<BTreeSet<u64>, ChainError> {
        no("MpoolPending")
    }
    async fn wallet_has(&self, _: Address) -> Result<bool, ChainError> {
        no("WalletHas")
    }
    async fn network_params(&self) -> Result<NetworkParams, ChainError> {
        no("StateGetNetworkParams")
    }
    async fn network_version(&self, _: &TipSetKey) -> Result<u32, ChainError> {
        no("StateNetworkVersion")
    }
    async fn lookup_id(&self, address: Address, _: &TipSetKey) -> Result<Address, ChainError> {
        Ok(address)
    }
    async fn account_key(&self, address: Address, _: &TipSetKey) -> Result<Address, ChainError> {
        Ok(address)
    }
    async fn actor(&self, _: Address, _: &TipSetKey) -> Result<ActorState, ChainError> {
        no("StateGetActor")
    }
    async fn miner_allocated(&self, _: ActorId, _: &TipSetKey) -> Result<BitField, ChainError> {
        no("StateMinerAllocated")
    }
    async fn miner_available_balance(
        &self,
        _: ActorId,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        no("StateMinerAvailableBalance")
    }
    async fn precommit_info(
        &self,
        _: ActorId,
        _: SectorNumber,
        _: &TipSetKey,
    ) -> Result<Option<SectorPreCommitOnChainInfo>, ChainError> {
        no("StateSectorPreCommitInfo")
    }
    async fn sector_info(
        &self,
        _: ActorId,
        _: SectorNumber,
        _: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError> {
        no("StateSectorGetInfo")
    }
    async fn sector_partition(
        &self,
        _: ActorId,
        _: SectorNumber,
        _: &TipSetKey,
    ) -> Result<SectorLocation, ChainError> {
        no("StateSectorPartition")
    }
    async fn precommit_deposit(
        &self,
        _: ActorId,
        _: &SectorPreCommitInfo,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        no("StateMinerPreCommitDepositForPower")
    }
    async fn initial_pledge(
        &self,
        _: Epoch,
        _: u64,
        _: u64,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        no("StateMinerInitialPledgeForSector")
    }
    async fn estimate_gas_limit(&self, _: &Message) -> Result<i64, ChainError> {
        no("GasEstimateGasLimit")
    }
    async fn estimate_gas_premium(
        &self,
        _: u64,
        _: Address,
        _: i64,
    ) -> Result<TokenAmount, ChainError> {
        no("GasEstimateGasPremium")
    }
    async fn estimate_fee_cap(&self, _: &Message, _: i64) -> Result<TokenAmount, ChainError> {
        no("GasEstimateFeeCap")
    }
    async fn push_message(&self, _: &Message, _: &SendSpec) -> Result<SignedMessage, ChainError> {
        no("MpoolPushMessage")
    }
    async fn push_signed(&self, _: &SignedMessage) -> Result<Cid, ChainError> {
        no("MpoolPush")
    }
    async fn search_message(
        &self,
        _: Cid,
        _: Epoch,
        _: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError> {
        no("StateSearchMsg")
    }
    async fn message(&self, _: Cid) -> Result<Message, ChainError> {
        no("ChainGetMessage")
    }
}

/// What the prover does with the next task.
#[derive(Debug)]
pub(super) enum Order {
    /// The child was killed.
    Die,
    /// These sectors cannot be read.
    Fault(Vec<SectorNumber>),
    /// Gives a proof that does not verify.
    Lie,
    /// Never answers.
    Hang,
}

/// A prover whose proof is the list of what it proves, so that a test can read it.
#[derive(Debug, Default)]
pub(super) struct FakeProver {
    pub(super) orders: Mutex<VecDeque<Order>>,
    pub(super) tasks: Mutex<Vec<WindowPost>>,
    /// Told when a task hangs.
    pub(super) hanging: Notify,
}

const LIE: &[u8] = b"lie";

fn proof_of(seed: [u8; 32], replicas: &BTreeMap<SectorNumber, Commitment>) -> Vec<u8> {
    let mut out = seed.to_vec();
    for (number, comm_r) in replicas {
        out.extend(number.to_be_bytes());
        out.extend(comm_r.0);
    }
    out
}

#[async_trait]
impl Prover for FakeProver {
    async fn prove(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError> {
        self.tasks.lock().push(task.clone());
        let order = self.orders.lock().pop_front();
        let replicas = task.replicas.iter().map(|r| (r.sector_id, r.comm_r));
        let proof = proof_of(task.seed, &replicas.collect());
        match order {
            Some(Order::Die) => Err(ProcessorError::ChildDied {
                stage: Stage::WindowPost,
                child: "window_post-0".to_owned(),
                pid: 1,
                reason: "killed by a test".to_owned(),
                hint: None,
            }
            .into()),
            Some(Order::Fault(faults)) => Ok(WindowPostOutput {
                proofs: vec![],
                faults,
            }),
            Some(Order::Hang) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
            Some(Order::Lie) => Ok(WindowPostOutput {
                proofs: vec![Base64(LIE.to_vec())],
                faults: vec![],
            }),
            None => Ok(WindowPostOutput {
                proofs: vec![Base64(proof)],
                faults: vec![],
            }),
        }
    }

    async fn verify(&self, claim: Claim) -> Result<bool, ProveError> {
        let seed = claim.challenge.as_field_element();
        Ok(claim.proof.0 == proof_of(seed, &claim.replicas))
    }
}
