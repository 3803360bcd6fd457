//! A chain that tests write themselves: state is set, calls are counted, trouble is ordered.

use crate::chain::{Chain, ChainError, DomainTag};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, BlockHeader, Deadline, DeadlineInfo, Message, MessageReceipt, MinerInfo, MsgLookup,
    NetworkParams, Partition, SectorLocation, SectorOnChainInfo, SectorPreCommitInfo,
    SectorPreCommitOnChainInfo, SendSpec, SignedMessage, TipSet, TipSetKey, message::chain_cid,
};
use damocles_types::{ActorId, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
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
    next_nonce: u64,
}

/// The chain of a test.
#[derive(Debug)]
pub struct ScriptChain(Mutex<Script>);

fn cid_of(text: &str) -> Cid {
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

    fn up(&self, method: &str) -> Result<MutexGuard<'_, Script>, ChainError> {
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
    fn tipset(&self, height: Epoch) -> TipSetKey {
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
}

fn refused(method: &str, message: impl Into<String>) -> ChainError {
    ChainError::Refused {
        method: method.into(),
        code: 1,
        message: message.into(),
    }
}

fn randomness(tag: DomainTag, epoch: Epoch, entropy: &[u8], fork: u8) -> Randomness {
    let mut input = tag.number().to_be_bytes().to_vec();
    input.extend(epoch.to_be_bytes());
    input.extend(entropy);
    input.push(fork);
    let hash = blake2b_simd::Params::new().hash_length(32).hash(&input);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_bytes());
    Randomness(out)
}

#[async_trait]
impl Chain for ScriptChain {
    async fn head(&self) -> Result<TipSet, ChainError> {
        let script = self.up("ChainHead")?;
        if let Some(reason) = script.behind.clone() {
            return Err(ChainError::Behind { reason });
        }
        let key = script.tipset(script.height);
        let cid = key.0[0];
        let zero = serde_json::json!({
            "Miner": "t01000", "Ticket": null, "ElectionProof": null, "BeaconEntries": [],
            "WinPoStProof": [], "Parents": [], "ParentWeight": "0", "Height": script.height,
            "ParentStateRoot": {"/": cid.to_string()},
            "ParentMessageReceipts": {"/": cid.to_string()},
            "Messages": {"/": cid.to_string()}, "BLSAggregate": null,
            "Timestamp": 1_700_000_000 + script.height * 30, "BlockSig": null,
            "ForkSignaling": 0, "ParentBaseFee": "100",
        });
        let block: BlockHeader = serde_json::from_value(zero).unwrap();
        Ok(TipSet {
            cids: key,
            blocks: vec![block],
            height: script.height,
        })
    }

    async fn tipset_at(&self, height: Epoch, key: &TipSetKey) -> Result<TipSetKey, ChainError> {
        let method = "ChainGetTipSetByHeight";
        let script = self.up(method)?;
        match script.height_of(key) {
            Some(top) if height <= top => Ok(script.tipset(height)),
            Some(top) => Err(refused(
                method,
                format!(
                    "looking for tipset with height greater than start point, req: {height}, head: {top}"
                ),
            )),
            None => Err(refused(method, "failed to load tipset")),
        }
    }

    async fn finalized(&self) -> Result<Option<Epoch>, ChainError> {
        Ok(self.up("ChainGetFinalizedTipSet")?.finalized)
    }

    async fn genesis(&self) -> Result<Option<String>, ChainError> {
        Ok(self.up("ChainGetGenesis")?.genesis.clone())
    }

    async fn network_params(&self) -> Result<NetworkParams, ChainError> {
        let script = self.up("StateGetNetworkParams")?;
        Ok(NetworkParams {
            network_name: "script".into(),
            block_delay_secs: 4,
            consensus_miner_min_power: 0.into(),
            pre_commit_challenge_delay: script.challenge_delay,
            fork_upgrade_params: BTreeMap::new(),
            eip155_chain_id: 0,
            genesis_timestamp: 0,
        })
    }

    async fn network_version(&self, _: &TipSetKey) -> Result<u32, ChainError> {
        Ok(self.up("StateNetworkVersion")?.network_version)
    }

    async fn lookup_id(&self, address: Address, _: &TipSetKey) -> Result<Address, ChainError> {
        let script = self.up("StateLookupID")?;
        if address.id().is_ok() {
            return Ok(address);
        }
        let known = script.keys.iter().find(|(_, key)| **key == address);
        known
            .map(|(id, _)| *id)
            .ok_or_else(|| refused("StateLookupID", "actor not found"))
    }

    async fn account_key(&self, address: Address, _: &TipSetKey) -> Result<Address, ChainError> {
        let script = self.up("StateAccountKey")?;
        Ok(*script.keys.get(&address).unwrap_or(&address))
    }

    async fn actor(&self, address: Address, key: &TipSetKey) -> Result<ActorState, ChainError> {
        let script = self.up("StateGetActor")?;
        let at = script
            .height_of(key)
            .ok_or_else(|| refused("StateGetActor", "failed to load tipset"))?;
        let used = script
            .nonces
            .iter()
            .filter(|((from, _), height)| *from == address && **height <= at)
            .map(|((_, nonce), _)| nonce + 1);
        let nonce = used.max().unwrap_or(0);
        let balance = script
            .balances
            .get(&address)
            .ok_or_else(|| refused("StateGetActor", "actor not found"))?;
        Ok(ActorState {
            code: cid_of("account"),
            head: cid_of("account"),
            nonce,
            balance: balance.clone(),
            delegated_address: None,
        })
    }

    async fn miner_info(&self, miner: ActorId, _: &TipSetKey) -> Result<MinerInfo, ChainError> {
        let script = self.up("StateMinerInfo")?;
        script
            .miners
            .get(&miner)
            .cloned()
            .ok_or_else(|| refused("StateMinerInfo", "actor not found"))
    }

    async fn miner_allocated(&self, miner: ActorId, _: &TipSetKey) -> Result<BitField, ChainError> {
        let script = self.up("StateMinerAllocated")?;
        Ok(script.allocated.get(&miner).cloned().unwrap_or_default())
    }

    async fn miner_proving_deadline(
        &self,
        miner: ActorId,
        _: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError> {
        let script = self.up("StateMinerProvingDeadline")?;
        script
            .deadlines
            .get(&miner)
            .copied()
            .ok_or_else(|| refused("StateMinerProvingDeadline", "actor not found"))
    }

    async fn miner_deadlines(
        &self,
        miner: ActorId,
        _: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError> {
        let script = self.up("StateMinerDeadlines")?;
        Ok(script
            .post_submissions
            .get(&miner)
            .cloned()
            .unwrap_or_default())
    }

    async fn miner_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        _: &TipSetKey,
    ) -> Result<Vec<Partition>, ChainError> {
        let script = self.up("StateMinerPartitions")?;
        Ok(script
            .partitions
            .get(&(miner, deadline))
            .cloned()
            .unwrap_or_default())
    }

    async fn miner_sectors(
        &self,
        miner: ActorId,
        filter: Option<&BitField>,
        _: &TipSetKey,
    ) -> Result<Vec<SectorOnChainInfo>, ChainError> {
        let script = self.up("StateMinerSectors")?;
        Ok(script
            .sectors
            .iter()
            .filter(|((m, n), _)| *m == miner && filter.is_none_or(|f| f.get(*n)))
            .map(|(_, info)| info.clone())
            .collect())
    }

    async fn miner_available_balance(
        &self,
        _: ActorId,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        Ok(TokenAmount::default())
    }

    async fn precommit_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        _: &TipSetKey,
    ) -> Result<Option<SectorPreCommitOnChainInfo>, ChainError> {
        let script = self.up("StateSectorPreCommitInfo")?;
        Ok(script.precommits.get(&(miner, sector)).cloned())
    }

    async fn sector_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        _: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError> {
        let script = self.up("StateSectorGetInfo")?;
        Ok(script.sectors.get(&(miner, sector)).cloned())
    }

    async fn sector_partition(
        &self,
        _: ActorId,
        _: SectorNumber,
        _: &TipSetKey,
    ) -> Result<SectorLocation, ChainError> {
        Ok(SectorLocation {
            deadline: 0,
            partition: 0,
        })
    }

    async fn precommit_deposit(
        &self,
        _: ActorId,
        info: &SectorPreCommitInfo,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let method = "StateMinerPreCommitDepositForPower";
        let script = self.up(method)?;
        if script.no_deposit.contains(&info.sector_number) {
            return Err(refused(method, "no such proof type"));
        }
        Ok(script.deposit.clone())
    }

    async fn initial_pledge(
        &self,
        _: Epoch,
        _: u64,
        _: u64,
        _: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        Ok(self.up("StateMinerInitialPledgeForSector")?.pledge.clone())
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        _: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let script = self.up("StateGetRandomnessFromTickets")?;
        if epoch > script.height {
            return Err(refused("StateGetRandomnessFromTickets", "in the future"));
        }
        Ok(randomness(tag, epoch, entropy, script.fork))
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        _: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let script = self.up("StateGetRandomnessFromBeacon")?;
        if epoch > script.height {
            return Err(refused("StateGetRandomnessFromBeacon", "in the future"));
        }
        Ok(randomness(tag, epoch, entropy, script.fork))
    }

    async fn estimate_gas_limit(&self, _: &Message) -> Result<i64, ChainError> {
        let method = "GasEstimateGasLimit";
        let script = self.up(method)?;
        match &script.estimate_refusal {
            Some(why) => Err(refused(method, why.clone())),
            None => Ok(script.gas_limit),
        }
    }

    async fn estimate_gas_premium(
        &self,
        _: u64,
        _: Address,
        _: i64,
    ) -> Result<TokenAmount, ChainError> {
        self.up("GasEstimateGasPremium")
            .map(|_| TokenAmount::from_atto(100_000))
    }

    async fn estimate_fee_cap(&self, _: &Message, _: i64) -> Result<TokenAmount, ChainError> {
        self.up("GasEstimateFeeCap")
            .map(|_| TokenAmount::from_nano(1))
    }

    async fn push_message(
        &self,
        message: &Message,
        spec: &SendSpec,
    ) -> Result<SignedMessage, ChainError> {
        let method = "MpoolPushMessage";
        let mut script = self.up(method)?;
        script.pushes.push(spec.msg_uuid);
        if let Some(known) = script.pushed.get(&spec.msg_uuid) {
            return Ok(known.clone());
        }
        if !script.refusals.is_empty() {
            let why = script.refusals.remove(0);
            return Err(refused(method, why));
        }
        let mut message = message.clone();
        // Lotus' CapGasFee, with its default where the caller names no limit
        let max_fee = if spec.max_fee.is_zero() {
            TokenAmount::from_atto(70_000_000_000_000_000_u64)
        } else {
            spec.max_fee.clone()
        };
        if &message.gas_fee_cap * message.gas_limit > max_fee {
            message.gas_fee_cap = max_fee.div_floor(message.gas_limit);
        }
        message.nonce = script.next_nonce;
        script.next_nonce += 1;
        let signed = SignedMessage {
            message,
            signature: Signature {
                sig_type: SignatureType::BLS,
                bytes: vec![1; 96],
            },
        };
        script.pushed.insert(spec.msg_uuid, signed.clone());
        if std::mem::take(&mut script.lose_answer) {
            return Err(ChainError::Unreachable {
                method: method.into(),
                reason: "connection reset".into(),
            });
        }
        Ok(signed)
    }

    async fn push_signed(&self, message: &SignedMessage) -> Result<Cid, ChainError> {
        let method = "MpoolPush";
        let mut script = self.up(method)?;
        let cid = message.cid();
        let Message { from, nonce, .. } = message.message;
        if script.nonces.contains_key(&(from, nonce)) {
            return Err(refused(
                method,
                "minimum expected nonce: message nonce too low",
            ));
        }
        script.republished.push(cid);
        script.forgetful = false;
        script.next_nonce = script.next_nonce.max(nonce + 1);
        Ok(cid)
    }

    /// As Lotus says it: an unknown message, and one whose nonce another message has, are errors.
    async fn search_message(
        &self,
        cid: Cid,
        limit: Epoch,
        key: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let method = "StateSearchMsg";
        let mut script = self.up(method)?;
        script.searches.push(limit);
        let at = script
            .height_of(key)
            .ok_or_else(|| refused(method, "failed to load tipset"))?;
        let message = script.pushed.values().find(|m| m.cid() == cid);
        let name = message.map(|m| (m.message.from, m.message.nonce));
        if let Some(taken) = name.and_then(|name| script.taken.get(&name))
            && *taken <= at
        {
            return Err(refused(
                method,
                "message was replaced: found message with equal nonce as the one we are looking for that is NOT a valid replacement message",
            ));
        }
        if script.forgetful && !script.lookups.contains_key(&cid) {
            return Err(refused(
                method,
                format!("failed to load message: ipld: could not find {cid}"),
            ));
        }
        let found = script
            .lookups
            .get(&cid)
            .filter(|found| found.height <= at && (limit < 0 || found.height >= at - limit));
        Ok(found.cloned())
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, ChainError> {
        Ok(self.up("WalletHas")?.balances.contains_key(&address))
    }

    async fn message(&self, cid: Cid) -> Result<Message, ChainError> {
        let script = self.up("ChainGetMessage")?;
        script
            .messages
            .get(&cid)
            .cloned()
            .ok_or_else(|| refused("ChainGetMessage", "not found"))
    }
}
