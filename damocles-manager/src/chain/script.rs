//! A chain that tests write themselves: state is set, calls are counted, trouble is ordered.
//! What it says of all that is held to the contract that the devnet is held to
//! (`contract_tests.rs`). Two things it cannot do: tell the state of a tipset on a branch that it
//! left (nor can a node that was restored), and tell what was taken out of the state since.

use crate::chain::{ChainError, script_mail::Mail};
use cid::Cid;
use damocles_node::{
    Allocation, DeadlineInfo, MarketDeal, MinerInfo, SectorOnChainInfo, SectorPreCommitOnChainInfo,
    SignedMessage, TipSetKey, message::chain_cid,
};
use damocles_types::{ActorId, Epoch, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{
    address::{Address, Network, set_current_network},
    econ::TokenAmount,
};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Everything the chain knows; tests change it directly.
#[derive(Debug, Default)]
pub struct Script {
    pub height: Epoch,
    /// Nobody answers.
    pub down: bool,
    /// This method is answered by nobody.
    pub down_for: Option<&'static str>,
    /// So many answers of a method are lost.
    pub lost: HashMap<&'static str, usize>,
    /// No head is believed; why.
    pub behind: Option<String>,
    /// What the node says of its genesis and of finality.
    pub genesis: Option<String>,
    pub finalized: Option<Epoch>,
    /// What the next pushes are refused with, in order.
    pub refusals: Vec<String>,
    pub gas_limit: i64,
    /// What messages with proofs take; None: what all take.
    pub proof_gas: Option<ProofGas>,
    /// What the node estimates.
    pub premium: TokenAmount,
    /// Of every tipset; blocks take no message whose cap lies under it.
    pub base_fee: TokenAmount,
    /// Messages that carry one of these are refused by the miner's actor.
    pub poison: HashSet<SectorNumber>,
    /// Gas estimates are refused with this.
    pub estimate_refusal: Option<String>,
    /// The next push is taken, but its answer is lost.
    pub lose_answer: bool,
    pub challenge_delay: Epoch,
    pub network_version: u32,
    pub miners: HashMap<ActorId, MinerInfo>,
    pub allocated: HashMap<ActorId, BitField>,
    pub balances: HashMap<Address, TokenAmount>,
    /// What miners may spend of their own; less than nothing: they owe fees.
    pub available: HashMap<ActorId, TokenAmount>,
    pub keys: HashMap<Address, Address>,
    /// Accounts whose keys the node's wallet does not have.
    pub no_keys: HashSet<Address>,
    pub precommits: HashMap<(ActorId, SectorNumber), SectorPreCommitOnChainInfo>,
    pub sectors: BTreeMap<(ActorId, SectorNumber), SectorOnChainInfo>,
    /// Open allocations and deals of the market; the allocations of deals.
    pub allocations: BTreeMap<u64, Allocation>,
    /// Allocations that are gone from such an epoch on.
    pub allocations_gone: BTreeMap<u64, Epoch>,
    pub deals: BTreeMap<u64, MarketDeal>,
    pub pending_deals: BTreeMap<u64, u64>,
    pub deposit: TokenAmount,
    pub pledge: TokenAmount,
    /// Sectors whose deposit cannot be told.
    pub no_deposit: HashSet<SectorNumber>,
    /// Signed messages by our id.
    pub pushed: HashMap<uuid::Uuid, SignedMessage>,
    /// Every push that was asked for, repeated ones too.
    pub pushes: Vec<uuid::Uuid>,
    pub republished: Vec<Cid>,
    /// How far back searches went, in order.
    pub searches: Vec<Epoch>,
    /// How often each method was asked while somebody answered.
    pub asked: HashMap<String, usize>,
    /// Tipsets of a branch that the chain left: everything from this height on was replaced.
    pub branches: Vec<Epoch>,
    /// Where miners prove their sectors.
    pub windows: HashMap<ActorId, Windows>,
    /// Changes the randomness, as a reorganisation does.
    pub fork: u8,
    pub(super) mail: Mail,
}

/// Gas of messages with proofs.
#[derive(Clone, Debug, Default)]
pub struct ProofGas {
    /// Of each sector whose proof is carried singly.
    pub single: i64,
    /// Of an aggregate, however many it is of.
    pub aggregate: i64,
    /// The miner's actor refuses aggregates.
    pub refuses_aggregates: bool,
}

/// A miner's deadlines, what lies in them, and what was proven.
#[derive(Clone, Debug)]
pub struct Windows {
    pub deadlines: u64,
    /// Epochs of one window.
    pub window: Epoch,
    pub lookback: Epoch,
    pub cutoff: Epoch,
    /// Sectors of the partitions by deadline.
    pub partitions: BTreeMap<u64, Vec<Vec<SectorNumber>>>,
    pub faulty: Vec<SectorNumber>,
    pub recovering: Vec<SectorNumber>,
    /// Partitions that are proven already, by deadline.
    pub submitted: BTreeMap<u64, Vec<u64>>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            deadlines: 4,
            window: 60,
            lookback: 20,
            cutoff: 70,
            partitions: BTreeMap::new(),
            faulty: Vec::new(),
            recovering: Vec::new(),
            submitted: BTreeMap::new(),
        }
    }
}

impl Windows {
    /// The deadline of that epoch; periods begin at multiples of their length.
    pub(super) fn at(&self, now: Epoch) -> DeadlineInfo {
        let count = i64::try_from(self.deadlines).unwrap();
        let period = self.window * count;
        let period_start = now.div_euclid(period) * period;
        let index = (now - period_start) / self.window;
        let open = period_start + index * self.window;
        DeadlineInfo {
            current_epoch: now,
            period_start,
            index: u64::try_from(index).unwrap(),
            open,
            close: open + self.window,
            challenge: open - self.lookback,
            fault_cutoff: open - self.cutoff,
            wpost_period_deadlines: self.deadlines,
            wpost_proving_period: period,
            wpost_challenge_window: self.window,
            wpost_challenge_lookback: self.lookback,
            fault_declaration_cutoff: self.cutoff,
        }
    }

    /// Deadline and partition of a sector.
    pub(super) fn place(&self, sector: SectorNumber) -> Option<(u64, u64)> {
        let places = self.partitions.iter().flat_map(|(deadline, all)| {
            let numbered = all.iter().zip(0..);
            numbered.map(|(sectors, index)| (*deadline, index, sectors))
        });
        let mut places = places.filter(|(.., sectors)| sectors.contains(&sector));
        places.next().map(|(deadline, index, _)| (deadline, index))
    }
}

/// The chain of a test.
#[derive(Debug)]
pub struct ScriptChain(pub(super) Mutex<Script>);

pub(super) fn cid_of(text: &str) -> Cid {
    chain_cid(text.as_bytes())
}

impl ScriptChain {
    /// A chain of that height, with network version 27 and no miner.
    pub fn at(height: Epoch) -> Self {
        // The prefix is the process's: a devnet that another test starts must not change it in
        // the middle of ours.
        set_current_network(Network::Testnet);
        Self(Mutex::new(Script {
            height,
            network_version: 27,
            challenge_delay: 10,
            gas_limit: 1_000_000,
            base_fee: TokenAmount::from_atto(100),
            premium: TokenAmount::from_atto(100_000),
            deposit: TokenAmount::from_whole(1),
            pledge: TokenAmount::from_whole(3),
            genesis: Some("script".into()),
            ..Script::default()
        }))
    }

    /// The state, to look at or to change.
    pub fn edit(&self) -> MutexGuard<'_, Script> {
        self.0.lock()
    }

    pub fn set_down(&self, down: bool) {
        self.edit().down = down;
    }

    pub fn advance(&self, epochs: Epoch) {
        self.edit().height += epochs;
    }

    /// Adds a miner with 2KiB sectors whose owner and worker is t0100, a funded account.
    pub fn add_miner(&self, miner: ActorId) {
        let worker = Address::new_id(100);
        let info = serde_json::json!({
            "Owner": "t0100", "Worker": "t0100", "NewWorker": "<empty>",
            "ControlAddresses": ["t0101"], "WorkerChangeEpoch": -1, "PeerId": null,
            "Multiaddrs": [], "WindowPoStProofType": 10, "SectorSize": 2048,
            "WindowPoStPartitionSectors": 2, "ConsensusFaultElapsed": -1,
            "PendingOwnerAddress": null, "Beneficiary": "t0100",
            "BeneficiaryTerm": {"Quota": "0", "UsedQuota": "0", "Expiration": 0},
            "PendingBeneficiaryTerm": null,
        });
        let mut script = self.edit();
        script
            .miners
            .insert(miner, serde_json::from_value(info).unwrap());
        script.windows.entry(miner).or_default();
        script.balances.insert(worker, TokenAmount::from_whole(100));
        script
            .balances
            .insert(Address::new_id(101), TokenAmount::from_whole(50));
    }

    /// The name of the tipset at that height, on the branch that is the chain now.
    pub fn tipset(&self, height: Epoch) -> TipSetKey {
        self.edit().tipset(height)
    }

    /// Puts proven sectors into the partitions of a deadline, sealed with these CIDs.
    pub fn place(
        &self,
        miner: ActorId,
        deadline: u64,
        partitions: Vec<Vec<SectorNumber>>,
        sealed: impl Fn(SectorNumber) -> Cid,
    ) {
        let mut script = self.edit();
        for number in partitions.iter().flatten() {
            let info = serde_json::json!({
                "SectorNumber": number, "SealProof": 5,
                "SealedCID": {"/": sealed(*number).to_string()},
                "Activation": 0, "Expiration": 100_000, "DealWeight": "0",
                "VerifiedDealWeight": "0", "InitialPledge": "0",
            });
            let info = serde_json::from_value(info).unwrap();
            script.sectors.insert((miner, *number), info);
        }
        let windows = script.windows.entry(miner).or_default();
        windows.partitions.insert(deadline, partitions);
    }

    /// The chain goes back to `height`: what was executed above it never was, and the tipsets
    /// above it get other names. The pool keeps nothing; the node still knows the messages.
    pub fn go_back(&self, height: Epoch) {
        let mut script = self.edit();
        script.branches.push(height + 1);
        script.height = height;
        script.mail.go_back(height);
        script
            .precommits
            .retain(|_, p| p.pre_commit_epoch <= height);
        script.sectors.retain(|_, s| s.activation <= height);
    }

    pub(super) fn up(&self, method: &str) -> Result<MutexGuard<'_, Script>, ChainError> {
        let mut script = self.edit();
        let lost = script.lost.get_mut(method).filter(|left| **left > 0);
        let lost = lost.map(|left| *left -= 1).is_some();
        if script.down || script.down_for == Some(method) || lost {
            return Err(ChainError::Unreachable {
                method: method.into(),
                reason: "connection refused".into(),
            });
        }
        *script.asked.entry(method.to_owned()).or_default() += 1;
        Ok(script)
    }
}

pub(super) fn refused(method: &str, message: impl Into<String>) -> ChainError {
    ChainError::Refused {
        method: method.into(),
        code: 1,
        message: message.into(),
    }
}

impl Script {
    pub(super) fn tipset(&self, height: Epoch) -> TipSetKey {
        // how often the chain was replaced at that height
        let branch = self.branches.iter().filter(|from| height >= **from).count();
        cid_of(&format!("{height}/{branch}/{}", self.fork)).into()
    }

    /// The height of the tipset with that name, on the chain of now.
    fn height_of(&self, key: &TipSetKey) -> Option<Epoch> {
        if key.is_head() {
            return Some(self.height);
        }
        (0..=self.height).rev().find(|h| self.tipset(*h) == *key)
    }

    /// The same, or a node's refusal.
    pub(super) fn at(&self, method: &str, key: &TipSetKey) -> Result<Epoch, ChainError> {
        self.height_of(key).ok_or_else(|| {
            let block = key.0[0];
            let why =
                format!("failed to load tipset: get block {block}: ipld: could not find {block}");
            refused(method, why)
        })
    }

    /// The ID address of an account; of others the address itself.
    pub(super) fn id_of(&self, address: Address) -> Address {
        let known = self.keys.iter().find(|(_, key)| **key == address);
        known.map_or(address, |(id, _)| *id)
    }

    /// The key address of an account.
    pub(crate) fn key_of(&self, address: Address) -> Result<Address, String> {
        let miner = address.id().is_ok_and(|id| self.miners.contains_key(&id));
        if miner {
            return Err(format!(
                "failed to get account actor state for {address}: actor code is not account: storageminer"
            ));
        }
        match self.keys.get(&address) {
            Some(key) => Ok(*key),
            None if self.balances.contains_key(&self.id_of(address)) => Ok(address),
            None => Err("actor not found".to_owned()),
        }
    }
}
