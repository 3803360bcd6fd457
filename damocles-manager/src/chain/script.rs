//! A chain that tests write themselves: state is set, calls are counted, trouble is ordered.

use crate::chain::ChainError;
use cid::Cid;
use damocles_node::{
    Deadline, DeadlineInfo, Message, MessageReceipt, MinerInfo, MsgLookup, Partition,
    SectorOnChainInfo, SectorPreCommitOnChainInfo, SignedMessage, TipSetKey, message::chain_cid,
};
use damocles_types::{ActorId, Epoch, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{address::Address, econ::TokenAmount};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Everything the chain knows; tests change it directly.
#[derive(Debug, Default)]
pub struct Script {
    pub height: Epoch,
    /// Nobody answers.
    pub down: bool,
    /// No head is believed; why.
    pub behind: Option<String>,
    /// What the node says of its genesis and of finality.
    pub genesis: Option<String>,
    pub finalized: Option<Epoch>,
    /// Whether the node's pool has lost everything, and knows no message any more.
    pub forgetful: bool,
    /// What the next pushes are refused with, in order.
    pub refusals: Vec<String>,
    pub gas_limit: i64,
    /// Gas estimates are refused with this.
    pub estimate_refusal: Option<String>,
    /// The next push is taken, but its answer is lost.
    pub lose_answer: bool,
    pub challenge_delay: Epoch,
    pub network_version: u32,
    pub miners: HashMap<ActorId, MinerInfo>,
    pub allocated: HashMap<ActorId, BitField>,
    pub balances: HashMap<Address, TokenAmount>,
    pub keys: HashMap<Address, Address>,
    pub precommits: HashMap<(ActorId, SectorNumber), SectorPreCommitOnChainInfo>,
    pub sectors: BTreeMap<(ActorId, SectorNumber), SectorOnChainInfo>,
    pub deposit: TokenAmount,
    pub pledge: TokenAmount,
    /// Sectors whose deposit cannot be told.
    pub no_deposit: HashSet<SectorNumber>,
    /// Signed messages by our id.
    pub pushed: HashMap<uuid::Uuid, SignedMessage>,
    /// Every push that was asked for, repeated ones too.
    pub pushes: Vec<uuid::Uuid>,
    pub republished: Vec<Cid>,
    /// Senders and nonces of what was put into the pool, executed or not.
    pub pool: HashSet<(Address, u64)>,
    /// What became of messages.
    pub lookups: HashMap<Cid, MsgLookup>,
    /// Nonces by sender that somebody else used, and at which height.
    pub taken: HashMap<(Address, u64), Epoch>,
    /// Nonces by sender that were executed, and at which height.
    pub nonces: HashMap<(Address, u64), Epoch>,
    /// How far back searches went, in order.
    pub searches: Vec<Epoch>,
    /// Tipsets of a branch that the chain left: everything from this height on was replaced.
    pub branches: Vec<Epoch>,
    /// Messages that are on chain under a name that we did not give.
    pub messages: HashMap<Cid, Message>,
    pub deadlines: HashMap<ActorId, DeadlineInfo>,
    pub post_submissions: HashMap<ActorId, Vec<Deadline>>,
    pub partitions: HashMap<(ActorId, u64), Vec<Partition>>,
    /// Changes the randomness, as a reorganisation does.
    pub fork: u8,
    pub(super) next_nonce: u64,
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
        Self(Mutex::new(Script {
            height,
            network_version: 27,
            challenge_delay: 10,
            gas_limit: 1_000_000,
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
            "BeneficiaryTerm": null, "PendingBeneficiaryTerm": null,
        });
        let mut script = self.edit();
        script
            .miners
            .insert(miner, serde_json::from_value(info).unwrap());
        script.balances.insert(worker, TokenAmount::from_whole(100));
        script
            .balances
            .insert(Address::new_id(101), TokenAmount::from_whole(50));
    }

    /// The name of the tipset at that height, on the branch that is the chain now.
    pub fn tipset(&self, height: Epoch) -> TipSetKey {
        self.edit().tipset(height)
    }

    /// The chain goes back to `height`: what was executed above it never was, and the tipsets
    /// above it get other names. The pool keeps nothing.
    pub fn go_back(&self, height: Epoch) {
        let mut script = self.edit();
        script.branches.push(height + 1);
        script.height = height;
        script.lookups.retain(|_, found| found.height <= height);
        script.nonces.retain(|_, at| *at <= height);
        script.taken.retain(|_, at| *at <= height);
        script
            .precommits
            .retain(|_, p| p.pre_commit_epoch <= height);
        script.sectors.retain(|_, s| s.activation <= height);
        let used = script.nonces.keys().map(|(_, nonce)| nonce + 1);
        script.next_nonce = used.max().unwrap_or(0);
        script.forgetful = true;
        script.pool.clear();
    }

    /// Another message of the sender is executed with that nonce, at the present height.
    pub fn take_nonce(&self, from: Address, nonce: u64) {
        let mut script = self.edit();
        let height = script.height;
        script.taken.insert((from, nonce), height);
        script.nonces.insert((from, nonce), height);
        script.next_nonce = script.next_nonce.max(nonce + 1);
    }

    /// Executes a pushed message at the present height with that exit code and return value.
    pub fn land(&self, cid: Cid, exit_code: i64, value: RawBytes) {
        let mut script = self.edit();
        let height = script.height;
        let executed = script.pushed.values().find(|m| m.cid() == cid);
        if let Some(name) = executed.map(|m| (m.message.from, m.message.nonce)) {
            script.nonces.insert(name, height);
        }
        let tip_set = script.tipset(height);
        script.lookups.insert(
            cid,
            MsgLookup {
                message: cid,
                receipt: MessageReceipt {
                    exit_code,
                    r#return: value,
                    gas_used: 1000,
                    events_root: None,
                },
                return_dec: serde_json::Value::Null,
                tip_set,
                height,
            },
        );
    }

    pub(super) fn up(&self, method: &str) -> Result<MutexGuard<'_, Script>, ChainError> {
        let script = self.edit();
        if script.down {
            return Err(ChainError::Unreachable {
                method: method.into(),
                reason: "connection refused".into(),
            });
        }
        Ok(script)
    }
}

impl Script {
    pub(super) fn tipset(&self, height: Epoch) -> TipSetKey {
        // how often the chain was replaced at that height
        let branch = self.branches.iter().filter(|from| height >= **from).count();
        cid_of(&format!("{height}/{branch}/{}", self.fork)).into()
    }

    /// The height of the tipset with that name, on the chain of now.
    pub(super) fn height_of(&self, key: &TipSetKey) -> Option<Epoch> {
        if key.is_head() {
            return Some(self.height);
        }
        (0..=self.height).rev().find(|h| self.tipset(*h) == *key)
    }
}
