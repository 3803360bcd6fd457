//! How the scripted chain answers: what its script says, or a refusal.

use crate::chain::{
    Chain, ChainError, DomainTag,
    script::{Script, ScriptChain, cid_of, refused},
    script_mail::sign,
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, Allocation, BlockHeader, Deadline, DeadlineInfo, MarketDeal, Message, MinerInfo,
    MinerPower, MsgLookup, NetworkParams, Partition, SectorLocation, SectorOnChainInfo,
    SectorPreCommitInfo, SectorPreCommitOnChainInfo, SendSpec, SignedMessage, TipSet, TipSetKey,
};
use damocles_types::{ActorId, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, econ::TokenAmount};
use parking_lot::MutexGuard;
use std::collections::{BTreeMap, BTreeSet};

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
            "Miner": "t01000", "Ticket": {"VRFProof": "AA=="},
            "ElectionProof": {"WinCount": 1, "VRFProof": "AA=="}, "BeaconEntries": [{"Round": 1, "Data": "AA=="}],
            "WinPoStProof": [], "Parents": [], "ParentWeight": "0", "Height": script.height,
            "ParentStateRoot": {"/": cid.to_string()},
            "ParentMessageReceipts": {"/": cid.to_string()},
            "Messages": {"/": cid.to_string()}, "BLSAggregate": {"Type": 2, "Data": "AA=="},
            "Timestamp": 1_700_000_000 + script.height * 30, "BlockSig": null,
            "ForkSignaling": 0, "ParentBaseFee": script.base_fee.atto().to_string(),
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
        let top = script.at(method, key)?;
        if height > top {
            let why = format!(
                "looking for tipset with height greater than start point, req: {height}, head: {top}"
            );
            return Err(refused(method, why));
        }
        Ok(script.tipset(height))
    }

    async fn base_fee_below(
        &self,
        height: Epoch,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        self.tipset_at(height - 1, key).await?;
        Ok(self.edit().base_fee.clone())
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

    async fn network_version(&self, key: &TipSetKey) -> Result<u32, ChainError> {
        let method = "StateNetworkVersion";
        let script = self.up(method)?;
        script.at(method, key)?;
        Ok(script.network_version)
    }

    async fn lookup_id(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let method = "StateLookupID";
        let script = self.up(method)?;
        script.at(method, key)?;
        let id = script.id_of(address);
        if id.id().is_ok() {
            Ok(id)
        } else {
            Err(refused(method, "actor not found"))
        }
    }

    async fn account_key(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let method = "StateAccountKey";
        let script = self.up(method)?;
        script.at(method, key)?;
        script.key_of(address).map_err(|why| refused(method, why))
    }

    async fn actor(&self, address: Address, key: &TipSetKey) -> Result<ActorState, ChainError> {
        let method = "StateGetActor";
        let script = self.up(method)?;
        let at = script.at(method, key)?;
        let id = script.id_of(address);
        let miner = id.id().is_ok_and(|id| script.miners.contains_key(&id));
        let balance = match script.balances.get(&id) {
            Some(balance) => balance.clone(),
            None if miner => TokenAmount::default(),
            None => return Err(refused(method, "actor not found")),
        };
        let nonce = match script.key_of(id) {
            Ok(from) => script.mail.nonce(from, at),
            Err(_) => 0,
        };
        let kind = if miner { "storageminer" } else { "account" };
        Ok(ActorState {
            code: cid_of(kind),
            head: cid_of(&format!("{kind} {id}")),
            nonce,
            balance,
            delegated_address: None,
        })
    }

    async fn miner_info(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerInfo, ChainError> {
        let script = self.miner("StateMinerInfo", miner, key)?.0;
        Ok(script.miners[&miner].clone())
    }

    async fn miner_allocated(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<BitField, ChainError> {
        let script = self.miner("StateMinerAllocated", miner, key)?.0;
        Ok(script.allocated.get(&miner).cloned().unwrap_or_default())
    }

    async fn miner_proving_deadline(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError> {
        let (script, at) = self.miner("StateMinerProvingDeadline", miner, key)?;
        Ok(script.windows[&miner].at(at))
    }

    async fn miner_deadlines(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError> {
        let script = self.miner("StateMinerDeadlines", miner, key)?.0;
        let windows = &script.windows[&miner];
        let deadline = |index| Deadline {
            post_submissions: bits(windows.submitted.get(&index).into_iter().flatten()),
            disputable_proof_count: 0,
            daily_fee: TokenAmount::default(),
        };
        Ok((0..windows.deadlines).map(deadline).collect())
    }

    async fn miner_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        key: &TipSetKey,
    ) -> Result<Vec<Partition>, ChainError> {
        let script = self.miner("StateMinerPartitions", miner, key)?.0;
        let windows = &script.windows[&miner];
        let partition = |all: &Vec<SectorNumber>| {
            let all = bits(all);
            let faulty = &all & &bits(&windows.faulty);
            Partition {
                recovering_sectors: &all & &bits(&windows.recovering),
                active_sectors: &all - &faulty,
                faulty_sectors: faulty,
                live_sectors: all.clone(),
                all_sectors: all,
            }
        };
        let partitions = windows.partitions.get(&deadline).into_iter().flatten();
        Ok(partitions.map(partition).collect())
    }

    async fn miner_sectors(
        &self,
        miner: ActorId,
        filter: Option<&BitField>,
        key: &TipSetKey,
    ) -> Result<Vec<SectorOnChainInfo>, ChainError> {
        let (script, at) = self.miner("StateMinerSectors", miner, key)?;
        Ok(script
            .sectors
            .iter()
            .filter(|((m, n), _)| *m == miner && filter.is_none_or(|f| f.get(*n)))
            .filter(|(_, info)| info.activation <= at)
            .map(|(_, info)| info.clone())
            .collect())
    }

    async fn miner_power(&self, _: ActorId, key: &TipSetKey) -> Result<MinerPower, ChainError> {
        let script = self.up("StateMinerPower")?;
        script.at("StateMinerPower", key)?;
        let none = serde_json::json!({"RawBytePower": "0", "QualityAdjPower": "0"});
        let none =
            serde_json::json!({"MinerPower": none, "TotalPower": none, "HasMinPower": false});
        Ok(serde_json::from_value(none).unwrap())
    }

    async fn miner_available_balance(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let script = self.miner("StateMinerAvailableBalance", miner, key)?.0;
        Ok(script.available.get(&miner).cloned().unwrap_or_default())
    }

    async fn precommit_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorPreCommitOnChainInfo>, ChainError> {
        let (script, at) = self.miner("StateSectorPreCommitInfo", miner, key)?;
        let there = script.precommits.get(&(miner, sector));
        Ok(there.filter(|info| info.pre_commit_epoch <= at).cloned())
    }

    async fn sector_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError> {
        let (script, at) = self.miner("StateSectorGetInfo", miner, key)?;
        let there = script.sectors.get(&(miner, sector));
        Ok(there.filter(|info| info.activation <= at).cloned())
    }

    async fn sector_partition(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<SectorLocation, ChainError> {
        let method = "StateSectorPartition";
        let script = self.miner(method, miner, key)?.0;
        match script.windows[&miner].place(sector) {
            Some((deadline, partition)) => Ok(SectorLocation {
                deadline,
                partition,
            }),
            None => {
                let why = format!("sector {sector} not due at any deadline");
                Err(refused(method, why))
            }
        }
    }

    async fn precommit_deposit(
        &self,
        miner: ActorId,
        info: &SectorPreCommitInfo,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let method = "StateMinerPreCommitDepositForPower";
        let script = self.miner(method, miner, key)?.0;
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
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let method = "StateMinerInitialPledgeForSector";
        let script = self.up(method)?;
        script.at(method, key)?;
        Ok(script.pledge.clone())
    }

    /// Of tickets a node does not speak without a tipset.
    async fn allocation(
        &self,
        client: Address,
        id: u64,
        key: &TipSetKey,
    ) -> Result<Option<Allocation>, ChainError> {
        let script = self.up("StateGetAllocation")?;
        let at = script.at("StateGetAllocation", key)?;
        let gone = script
            .allocations_gone
            .get(&id)
            .is_some_and(|gone| at >= *gone);
        let found = script.allocations.get(&id).filter(|_| !gone);
        Ok(found
            .filter(|a| Address::new_id(a.client) == client)
            .cloned())
    }

    async fn allocation_of_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<u64>, ChainError> {
        let method = "StateGetAllocationIdForPendingDeal";
        let script = self.up(method)?;
        script.at(method, key)?;
        Ok(script.pending_deals.get(&deal).copied())
    }

    async fn market_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<MarketDeal>, ChainError> {
        let script = self.up("StateMarketStorageDeal")?;
        script.at("StateMarketStorageDeal", key)?;
        Ok(script.deals.get(&deal).cloned())
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let method = "StateGetRandomnessFromTickets";
        if key.is_head() {
            let why = "loading tipset key: NewTipSet called with zero length array of blocks";
            return Err(refused(method, why));
        }
        self.draw(method, "ticket", (tag, epoch, entropy), key)
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let method = "StateGetRandomnessFromBeacon";
        self.draw(method, "beacon", (tag, epoch, entropy), key)
    }

    async fn estimate_gas_limit(&self, message: &Message) -> Result<i64, ChainError> {
        let method = "GasEstimateGasLimit";
        self.up(method)?.estimate(method, message)
    }

    async fn estimate_gas_premium(
        &self,
        _: u64,
        _: Address,
        _: i64,
    ) -> Result<TokenAmount, ChainError> {
        self.up("GasEstimateGasPremium")
            .map(|script| script.premium.clone())
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
        self.up("MpoolPushMessage")?.send(message, spec)
    }

    async fn push_signed(&self, message: &SignedMessage) -> Result<Cid, ChainError> {
        self.up("MpoolPush")?.push_signed(message)
    }

    async fn search_message(
        &self,
        cid: Cid,
        limit: Epoch,
        key: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let mut script = self.up("StateSearchMsg")?;
        script.searches.push(limit);
        script.search(cid, limit, key, true)
    }

    async fn sign_message(&self, message: &Message) -> Result<SignedMessage, ChainError> {
        let _up = self.up("WalletSignMessage")?;
        Ok(sign(message.clone()))
    }

    async fn next_nonce(&self, from: Address) -> Result<u64, ChainError> {
        Ok(self.up("MpoolGetNonce")?.next_nonce(from))
    }

    async fn pending_nonces(&self, from: Address) -> Result<BTreeSet<u64>, ChainError> {
        let script = self.up("MpoolPending")?;
        let names = script.mail.waiting.keys();
        Ok(names
            .filter(|name| name.0 == from)
            .map(|name| name.1)
            .collect())
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, ChainError> {
        let script = self.up("WalletHas")?;
        let id = script.id_of(address);
        Ok(script.balances.contains_key(&id) && !script.no_keys.contains(&id))
    }

    async fn message(&self, cid: Cid) -> Result<Message, ChainError> {
        let method = "ChainGetMessage";
        let script = self.up(method)?;
        let known = script.mail.message(cid).cloned();
        known.ok_or_else(|| refused(method, format!("ipld: could not find {cid}")))
    }
}

fn bits<'a>(numbers: impl IntoIterator<Item = &'a u64>) -> BitField {
    BitField::try_from_bits(numbers.into_iter().copied()).unwrap()
}

impl ScriptChain {
    /// The script and the height that is asked for, of a miner that there is.
    fn miner(
        &self,
        method: &str,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<(MutexGuard<'_, Script>, Epoch), ChainError> {
        let script = self.up(method)?;
        let at = script.at(method, key)?;
        if script.miners.contains_key(&miner) {
            return Ok((script, at));
        }
        let why = if script.balances.contains_key(&Address::new_id(miner)) {
            "failed to load miner actor state: actor code is not miner: account"
        } else {
            "failed to load miner actor: actor not found"
        };
        Err(refused(method, why))
    }

    fn draw(
        &self,
        method: &str,
        kind: &str,
        (tag, epoch, entropy): (DomainTag, Epoch, &[u8]),
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let script = self.up(method)?;
        if epoch > script.at(method, key)? {
            let why = format!("getting {kind} randomness: cannot draw randomness from the future");
            return Err(refused(method, why));
        }
        Ok(randomness(tag, epoch, entropy, script.fork))
    }
}
