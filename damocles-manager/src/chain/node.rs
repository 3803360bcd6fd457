//! The real chain: `Filecoin.*` JSON-RPC v1 over HTTP, at one or several nodes.
//!
//! Reads go to the first node in the operator's order whose head is believed: it is young, and
//! not behind another's. Which one that is, is found out whenever the head is asked for. In
//! between they move on to the next one when a node does not answer, does not take our token,
//! talks nonsense, or is of another network.
//! Pushing goes to the first endpoint only: its wallet has the keys, and only there does our
//! message id make a repetition harmless.

use crate::{
    chain::{
        Chain, ChainError, DomainTag, EndpointError,
        belief::{self, Sight},
        endpoint::{Endpoint, Params, Question, sight, unreachable},
        memory::Memory,
        network::Membership,
    },
    model::unix_ms,
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
use futures::future::join_all;
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, econ::TokenAmount};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// One or several nodes of one network.
#[derive(Debug)]
pub struct NodeChain {
    endpoints: Vec<Endpoint>,
    /// The endpoint that is asked first.
    good: AtomicUsize,
    network: Membership,
    /// A head that is older is not believed. None: every head is.
    max_age: Option<Duration>,
    memory: Memory,
}

/// A node that does not tell its head in this time, beside others, is passed over.
const SURVEY_LIMIT: Duration = Duration::from_secs(10);
/// Not among the devnet's methods; nodes that lack it say so.
const CHAIN_GET_FINALIZED_TIP_SET: &str = "Filecoin.ChainGetFinalizedTipSet";

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
            max_age: None,
            memory: Memory::default(),
        })
    }

    /// The same, believing no head that is older than this. None: every head is believed.
    #[must_use]
    pub fn believing(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// The same, asking only nodes of the network with this genesis. None: whichever the first
    /// node is of.
    #[must_use]
    pub fn of_network(mut self, genesis: Option<String>) -> Self {
        if let Some(genesis) = genesis {
            self.network = Membership::of(genesis);
        }
        self
    }

    /// The node that is asked first now, without secrets.
    pub fn shown(&self) -> &str {
        let good = self.good.load(Ordering::Relaxed);
        self.endpoints.get(good).map_or("", |e| e.shown.as_str())
    }

    /// What the node with the wallet says of its genesis, of whichever network it is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn first_genesis(&self) -> Result<Option<String>, ChainError> {
        match self.endpoints.first() {
            Some(endpoint) => endpoint.genesis().await,
            None => Err(unreachable(method::CHAIN_GET_GENESIS, "no endpoint")),
        }
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
        self.ask_as(Question::Quick, name, params).await
    }

    /// A question about a tipset. Where it is named, one answer is enough; where much hangs on the
    /// answer, it is asked anew by [`Self::ask`].
    async fn ask_of<T>(
        &self,
        tipset: &TipSetKey,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError>
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let params = params.add(tipset);
        let question = params.question(name);
        if let Some(known) = self.memory.recall(tipset, &question) {
            return Ok(known);
        }
        let answer: T = self.ask(name, params).await?;
        self.memory.keep(tipset, question, answer.clone());
        Ok(answer)
    }

    async fn ask_as<T: DeserializeOwned>(
        &self,
        question: Question,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        let count = self.endpoints.len();
        let first = self.good.load(Ordering::Relaxed);
        let mut failed: Option<(usize, ChainError)> = None;
        for index in (0..count).map(|i| (first + i) % count) {
            let endpoint = &self.endpoints[index];
            // one that is behind is worse than none
            if endpoint.is_behind() && failed.is_some() {
                continue;
            }
            let answer = match self.belongs(index).await {
                Ok(()) => endpoint.ask(name, &params, question).await,
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
                    // until the next survey
                    self.good.store(index, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        // There is at least one endpoint.
        Err(failed.map_or_else(|| unreachable(name, "no endpoint"), |(_, error)| error))
    }

    async fn belongs(&self, index: usize) -> Result<(), ChainError> {
        if self.endpoints.len() == 1 && !self.network.is_stamped() {
            return Ok(());
        }
        self.endpoints[index].belongs(index, &self.network).await
    }

    /// The head of the first node whose head is believed. Reads go to that one from now on.
    async fn survey(&self) -> Result<TipSet, ChainError> {
        let several = self.endpoints.len() > 1;
        let none_left = self.endpoints.iter().all(Endpoint::is_ailing);
        let resting: Vec<bool> = self
            .endpoints
            .iter()
            .map(|e| several && !none_left && e.rests())
            .collect();
        let resting = &resting;
        let ask = |index: usize| async move {
            if resting[index] {
                let why = "it did not answer when it was asked last";
                return Err(unreachable(method::CHAIN_HEAD, why));
            }
            let asked = async {
                self.belongs(index).await?;
                self.endpoints[index].head().await
            };
            if !several {
                return asked.await;
            }
            let limited = tokio::time::timeout(SURVEY_LIMIT, asked).await;
            limited.unwrap_or_else(|_| {
                Err(unreachable(method::CHAIN_HEAD, "it does not tell its head"))
            })
        };
        let mut heads = join_all((0..self.endpoints.len()).map(ask)).await;
        let sights: Vec<Option<Sight>> = heads.iter().map(|h| h.as_ref().ok().map(sight)).collect();
        let doubts = belief::doubts(&sights, unix_ms() / 1000, self.max_age);
        let mut chosen = None;
        let mut reasons = Vec::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let (why, news) = match (&heads[index], &doubts[index]) {
                (Err(error), _) => (error.to_string(), !resting[index] && endpoint.ails()),
                (Ok(_), Some(doubt)) => {
                    endpoint.well();
                    (doubt.clone(), endpoint.set_behind(true))
                }
                (Ok(_), None) => {
                    endpoint.well();
                    endpoint.set_behind(false);
                    chosen = chosen.or(Some(index));
                    continue;
                }
            };
            // with one node the callers say it
            if several && news {
                tracing::warn!(
                    endpoint = endpoint.shown,
                    why,
                    "a Filecoin node is passed over"
                );
            }
            reasons.push(format!("{}: {why}", endpoint.shown));
        }
        if let Some(index) = chosen {
            if self.good.swap(index, Ordering::Relaxed) != index {
                tracing::info!(
                    endpoint = self.endpoints[index].shown,
                    "asking this Filecoin node now"
                );
            }
            return heads.swap_remove(index);
        }
        // nobody answers: what the first in the operator's order says, counts
        if heads.iter().all(Result::is_err) && !heads.is_empty() {
            return heads.swap_remove(0);
        }
        Err(ChainError::Behind {
            reason: reasons.join("; "),
        })
    }

    /// Asks the endpoint whose wallet has the keys.
    async fn ask_wallet<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        match self.endpoints.first() {
            Some(endpoint) => {
                self.belongs(0).await?;
                endpoint.ask(name, &params, Question::Search).await
            }
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
        self.survey().await
    }

    async fn tipset_at(&self, height: Epoch, key: &TipSetKey) -> Result<TipSetKey, ChainError> {
        let params = Params::none().add(height).add(key);
        let name = method::CHAIN_GET_TIP_SET_BY_HEIGHT;
        let tipset: TipSet = self.ask(name, params).await?;
        Ok(tipset.cids)
    }

    async fn finalized(&self) -> Result<Option<Epoch>, ChainError> {
        match self
            .ask::<TipSet>(CHAIN_GET_FINALIZED_TIP_SET, Params::none())
            .await
        {
            Ok(tipset) => Ok(Some(tipset.height)),
            Err(ChainError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn genesis(&self) -> Result<Option<String>, ChainError> {
        let good = self.good.load(Ordering::Relaxed);
        match self.endpoints.get(good) {
            Some(endpoint) => endpoint.genesis().await,
            None => Err(unreachable(method::CHAIN_GET_GENESIS, "no endpoint")),
        }
    }

    async fn network_params(&self) -> Result<NetworkParams, ChainError> {
        self.ask(method::STATE_GET_NETWORK_PARAMS, Params::none())
            .await
    }

    async fn network_version(&self, key: &TipSetKey) -> Result<u32, ChainError> {
        self.ask_of(key, method::STATE_NETWORK_VERSION, Params::none())
            .await
    }

    async fn lookup_id(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let params = Params::none().add(W(address));
        let found: W<Address> = self.ask_of(key, method::STATE_LOOKUP_ID, params).await?;
        Ok(found.0)
    }

    async fn account_key(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError> {
        let params = Params::none().add(W(address));
        let found: W<Address> = self.ask_of(key, method::STATE_ACCOUNT_KEY, params).await?;
        Ok(found.0)
    }

    async fn actor(&self, address: Address, key: &TipSetKey) -> Result<ActorState, ChainError> {
        let params = Params::none().add(W(address));
        self.ask_of(key, method::STATE_GET_ACTOR, params).await
    }

    async fn miner_info(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerInfo, ChainError> {
        self.ask_of(key, method::STATE_MINER_INFO, of(miner)).await
    }

    async fn miner_allocated(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<BitField, ChainError> {
        let name = method::STATE_MINER_ALLOCATED;
        let all: W<BitField> = self.ask_of(key, name, of(miner)).await?;
        Ok(all.0)
    }

    async fn miner_proving_deadline(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError> {
        self.ask_of(key, method::STATE_MINER_PROVING_DEADLINE, of(miner))
            .await
    }

    async fn miner_deadlines(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError> {
        self.ask_of(key, method::STATE_MINER_DEADLINES, of(miner))
            .await
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
            .ask_as(Question::List, method::STATE_MINER_SECTORS, params)
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
        self.ask_as(Question::Search, method::GAS_ESTIMATE_GAS_LIMIT, params)
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
        key: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let params = Params::none().add(key).add(W(cid)).add(limit).add(true);
        self.ask_as(Question::Search, method::STATE_SEARCH_MSG, params)
            .await
    }

    async fn sign_message(&self, message: &Message) -> Result<SignedMessage, ChainError> {
        let params = Params::none().add(W(message.from)).add(message);
        self.ask_wallet(method::WALLET_SIGN_MESSAGE, params).await
    }

    async fn pending_nonces(&self, from: Address) -> Result<BTreeSet<u64>, ChainError> {
        let params = Params::none().add(TipSetKey::HEAD);
        let pool: Vec<SignedMessage> = self.ask_wallet(method::MPOOL_PENDING, params).await?;
        let ours = pool.into_iter().filter(|m| m.message.from == from);
        Ok(ours.map(|m| m.message.nonce).collect())
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, ChainError> {
        let params = Params::none().add(W(address));
        self.ask_wallet(method::WALLET_HAS, params).await
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
