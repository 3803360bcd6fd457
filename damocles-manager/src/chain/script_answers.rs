//! How the scripted chain answers: what its script says, or a refusal.

use crate::chain::{
    Chain, ChainError, DomainTag,
    script::{ScriptChain, cid_of},
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, BlockHeader, Deadline, DeadlineInfo, Message, MinerInfo, MsgLookup, NetworkParams,
    Partition, SectorLocation, SectorOnChainInfo, SectorPreCommitInfo, SectorPreCommitOnChainInfo,
    SendSpec, SignedMessage, TipSet, TipSetKey,
};
use damocles_types::{ActorId, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
    econ::TokenAmount,
};
use std::collections::{BTreeMap, BTreeSet};

fn refused(method: &str, message: impl Into<String>) -> ChainError {
    ChainError::Refused {
        method: method.into(),
        code: 1,
        message: message.into(),
    }
}

fn signed(message: Message) -> SignedMessage {
    SignedMessage {
        message,
        signature: Signature {
            sig_type: SignatureType::BLS,
            bytes: vec![1; 96],
        },
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
        script.pool.insert((message.from, message.nonce));
        let signed = signed(message);
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
        script.pool.insert((from, nonce));
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

    async fn sign_message(&self, message: &Message) -> Result<SignedMessage, ChainError> {
        let _up = self.up("WalletSignMessage")?;
        Ok(signed(message.clone()))
    }

    async fn pending_nonces(&self, from: Address) -> Result<BTreeSet<u64>, ChainError> {
        let script = self.up("MpoolPending")?;
        let waits = |(sender, nonce): &(Address, u64)| {
            *sender == from && !script.nonces.contains_key(&(*sender, *nonce))
        };
        Ok(script
            .pool
            .iter()
            .filter(|m| waits(m))
            .map(|m| m.1)
            .collect())
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
