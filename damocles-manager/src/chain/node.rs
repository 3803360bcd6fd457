//! The real chain: `Filecoin.*` JSON-RPC v1 over HTTP, at one or several nodes.
//!
//! Reads go to the node that answered last and move on to the next one when it does not, when
//! it does not take our token, when what it says is not a node's answer, or when it is of
//! another network.
//! Pushing goes to the first endpoint only: its wallet has the keys, and only there does our
//! message id make a repetition harmless.

use crate::{
    chain::{
        Chain, ChainError, DomainTag, EndpointError,
        endpoint::{Endpoint, Params, unreachable},
        network::Membership,
    },
    policy::NodeEndpoint,
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, Deadline, DeadlineInfo, Message, MinerInfo, MsgLookup, NetworkParams, Partition,
    SectorLocation, SectorOnChainInfo, SectorPreCommitInfo, SectorPreCommitOnChainInfo, SendSpec,
    SignedMessage, TipSet, TipSetKey, W, method,
};
use damocles_types::{ActorId, Base64, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, econ::TokenAmount};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One or several nodes of one network.
#[derive(Debug)]
pub struct NodeChain {
    endpoints: Vec<Endpoint>,
    /// The endpoint that answered last.
    good: AtomicUsize,
    network: Membership,
}

impl NodeChain {
    /// Prepares clients; nothing is asked yet.
    ///
    /// # Errors
    /// [`EndpointError`] for addresses and tokens that no client can be made of.
    pub fn new(endpoints: &[NodeEndpoint]) -> Result<Self, EndpointError> {
        if endpoints.is_empty() {
            return Err(EndpointError::None);
        }
        let endpoints = endpoints
            .iter()
            .map(Endpoint::new)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            endpoints,
            good: AtomicUsize::new(0),
            network: Membership::default(),
        })
    }

    /// What a token allows at the node whose wallet has the keys: `read`, `write`, `sign`,
    /// `admin` (`Filecoin.AuthVerify`).
    ///
    /// # Errors
    /// [`ChainError::Denied`] or [`ChainError::Refused`] for a token that is not the node's.
    pub async fn token_allows(&self, token: &str) -> Result<Vec<String>, ChainError> {
        self.ask_wallet(method::AUTH_VERIFY, Params::none().add(token))
            .await
    }

    async fn ask<T: DeserializeOwned>(&self, name: &str, params: Params) -> Result<T, ChainError> {
        self.ask_within(name, params, false).await
    }

    async fn ask_within<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
        patient: bool,
    ) -> Result<T, ChainError> {
        let count = self.endpoints.len();
        let first = self.good.load(Ordering::Relaxed);
        let mut failed: Option<(usize, ChainError)> = None;
        for index in (0..count).map(|i| (first + i) % count) {
            let endpoint = &self.endpoints[index];
            let ours = match count {
                1 => Ok(()),
                _ => endpoint.belongs(index, &self.network).await,
            };
            let answer = match ours {
                Ok(()) => endpoint.ask(name, &params, patient).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(
                    error @ (ChainError::Unreachable { .. }
                    | ChainError::Denied { .. }
                    | ChainError::Malformed { .. }),
                ) => {
                    // said once, until it answers again; with one node the callers say it
                    if endpoint.ails() && count > 1 {
                        tracing::warn!(endpoint = endpoint.shown, %error, "trying the next node");
                    }
                    // what the first in the operator's order says, counts
                    if failed.as_ref().is_none_or(|(known, _)| index < *known) {
                        failed = Some((index, error));
                    }
                }
                answered => {
                    endpoint.well();
                    self.good.store(index, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        // There is at least one endpoint.
        Err(failed.map_or_else(|| unreachable(name, "no endpoint"), |(_, error)| error))
    }

    /// Reads go to the next node from now on: the present one answers, but its chain stands
    /// still. False: there is no other.
    pub fn turn(&self) -> bool {
        let count = self.endpoints.len();
        if count < 2 {
            return false;
        }
        let next = (self.good.load(Ordering::Relaxed) + 1) % count;
        self.good.store(next, Ordering::Relaxed);
        tracing::warn!(
            endpoint = self.endpoints[next].shown,
            "the node's chain stands still; asking another node"
        );
        true
    }

    /// Asks the endpoint whose wallet has the keys.
    async fn ask_wallet<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        match self.endpoints.first() {
            Some(endpoint) => endpoint.ask(name, &params, true).await,
            None => Err(unreachable(name, "no endpoint")),
        }
    }
}

fn id(miner: ActorId) -> W<Address> {
    W(Address::new_id(miner))
}

fn of(miner: ActorId) -> Params {
    Params::none().add(id(miner))
}

#[async_trait]
impl Chain for NodeChain {
    async fn head(&self) -> Result<TipSet, ChainError> {
        self.ask(method::CHAIN_HEAD, Params::none()).await
    }

    async fn network_params(&self) -> Result<NetworkParams, ChainError> {
        self.ask(method::STATE_GET_NETWORK_PARAMS, Params::none())
            .await
    }

    async fn network_version(&self, key: &TipSetKey) -> Result<u32, ChainError> {
        let params = Params::none().add(key);
        self.ask(method::STATE_NETWORK_VERSION, params).await
    }

    async fn lookup_id(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let params = Params::none().add(W(address)).add(key);
        let found: W<Address> = self.ask(method::STATE_LOOKUP_ID, params).await?;
        Ok(found.0)
    }

    async fn account_key(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let params = Params::none().add(W(address)).add(key);
        let found: W<Address> = self.ask(method::STATE_ACCOUNT_KEY, params).await?;
        Ok(found.0)
    }

    async fn actor(&self, address: Address, key: &TipSetKey) -> Result<ActorState, ChainError> {
        let params = Params::none().add(W(address)).add(key);
        self.ask(method::STATE_GET_ACTOR, params).await
    }

    async fn miner_info(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerInfo, ChainError> {
        self.ask(method::STATE_MINER_INFO, of(miner).add(key)).await
    }

    async fn miner_allocated(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<BitField, ChainError> {
        let params = of(miner).add(key);
        let all: W<BitField> = self.ask(method::STATE_MINER_ALLOCATED, params).await?;
        Ok(all.0)
    }

    async fn miner_proving_deadline(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError> {
        let params = of(miner).add(key);
        self.ask(method::STATE_MINER_PROVING_DEADLINE, params).await
    }

    async fn miner_deadlines(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError> {
        let params = of(miner).add(key);
        self.ask(method::STATE_MINER_DEADLINES, params).await
    }

    async fn miner_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        key: &TipSetKey,
    ) -> Result<Vec<Partition>, ChainError> {
        let params = of(miner).add(deadline).add(key);
        // Go writes an empty slice as null.
        let all: Option<Vec<Partition>> = self.ask(method::STATE_MINER_PARTITIONS, params).await?;
        Ok(all.unwrap_or_default())
    }

    async fn miner_sectors(
        &self,
        miner: ActorId,
        filter: Option<&BitField>,
        key: &TipSetKey,
    ) -> Result<Vec<SectorOnChainInfo>, ChainError> {
        let params = of(miner).add(W(filter.cloned())).add(key);
        let all: Option<Vec<SectorOnChainInfo>> = self
            .ask_within(method::STATE_MINER_SECTORS, params, true)
            .await?;
        Ok(all.unwrap_or_default())
    }

    async fn miner_available_balance(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let params = of(miner).add(key);
        let amount: W<TokenAmount> = self
            .ask(method::STATE_MINER_AVAILABLE_BALANCE, params)
            .await?;
        Ok(amount.0)
    }

    async fn precommit_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorPreCommitOnChainInfo>, ChainError> {
        let params = of(miner).add(sector).add(key);
        self.ask(method::STATE_SECTOR_PRE_COMMIT_INFO, params).await
    }

    async fn sector_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError> {
        let params = of(miner).add(sector).add(key);
        self.ask(method::STATE_SECTOR_GET_INFO, params).await
    }

    async fn sector_partition(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<SectorLocation, ChainError> {
        let params = of(miner).add(sector).add(key);
        self.ask(method::STATE_SECTOR_PARTITION, params).await
    }

    async fn precommit_deposit(
        &self,
        miner: ActorId,
        info: &SectorPreCommitInfo,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let params = of(miner).add(info).add(key);
        let name = method::STATE_MINER_PRE_COMMIT_DEPOSIT_FOR_POWER;
        let amount: W<TokenAmount> = self.ask(name, params).await?;
        Ok(amount.0)
    }

    async fn initial_pledge(
        &self,
        duration: Epoch,
        size: u64,
        verified_size: u64,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let params = Params::none()
            .add(duration)
            .add(size)
            .add(verified_size)
            .add(key);
        let name = method::STATE_MINER_INITIAL_PLEDGE_FOR_SECTOR;
        let amount: W<TokenAmount> = self.ask(name, params).await?;
        Ok(amount.0)
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let name = method::STATE_GET_RANDOMNESS_FROM_TICKETS;
        self.ask(name, draw(tag, epoch, entropy, key)).await
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let name = method::STATE_GET_RANDOMNESS_FROM_BEACON;
        self.ask(name, draw(tag, epoch, entropy, key)).await
    }

    async fn estimate_gas_limit(&self, message: &Message) -> Result<i64, ChainError> {
        let params = Params::none().add(message).add(TipSetKey::HEAD);
        self.ask_within(method::GAS_ESTIMATE_GAS_LIMIT, params, true)
            .await
    }

    async fn estimate_gas_premium(
        &self,
        blocks: u64,
        sender: Address,
        gas_limit: i64,
    ) -> Result<TokenAmount, ChainError> {
        let params = Params::none()
            .add(blocks)
            .add(W(sender))
            .add(gas_limit)
            .add(TipSetKey::HEAD);
        let name = method::GAS_ESTIMATE_GAS_PREMIUM;
        let amount: W<TokenAmount> = self.ask(name, params).await?;
        Ok(amount.0)
    }

    async fn estimate_fee_cap(
        &self,
        message: &Message,
        max_queue_blocks: i64,
    ) -> Result<TokenAmount, ChainError> {
        let params = Params::none()
            .add(message)
            .add(max_queue_blocks)
            .add(TipSetKey::HEAD);
        let amount: W<TokenAmount> = self.ask(method::GAS_ESTIMATE_FEE_CAP, params).await?;
        Ok(amount.0)
    }

    async fn push_message(
        &self,
        message: &Message,
        spec: &SendSpec,
    ) -> Result<SignedMessage, ChainError> {
        let params = Params::none().add(message).add(spec);
        self.ask_wallet(method::MPOOL_PUSH_MESSAGE, params).await
    }

    async fn push_signed(&self, message: &SignedMessage) -> Result<Cid, ChainError> {
        let params = Params::none().add(message);
        let cid: W<Cid> = self.ask_wallet(method::MPOOL_PUSH, params).await?;
        Ok(cid.0)
    }

    async fn search_message(
        &self,
        cid: Cid,
        limit: Epoch,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let params = Params::none()
            .add(TipSetKey::HEAD)
            .add(W(cid))
            .add(limit)
            .add(true);
        self.ask_within(method::STATE_SEARCH_MSG, params, true)
            .await
    }

    async fn message(&self, cid: Cid) -> Result<Message, ChainError> {
        let params = Params::none().add(W(cid));
        self.ask(method::CHAIN_GET_MESSAGE, params).await
    }
}

fn draw(tag: DomainTag, epoch: Epoch, entropy: &[u8], key: &TipSetKey) -> Params {
    Params::none()
        .add(tag.number())
        .add(epoch)
        .add(Base64(entropy.to_vec()))
        .add(key)
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
