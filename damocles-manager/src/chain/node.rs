//! The real chain: `Filecoin.*` JSON-RPC v1 over HTTP, at one or several nodes.
//!
//! Pushing goes to the first endpoint only: its wallet has the keys, and only there does our
//! message id make a repetition harmless.

use crate::{
    chain::{
        Chain, ChainError, DomainTag, EndpointError, Production,
        endpoint::{Params, Question},
        memory::Memory,
        network::Membership,
        nodes::Nodes,
        unless_refused,
    },
    policy::NodeEndpoint,
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, Allocation, BlockMsg, BlockTemplate, Deadline, DeadlineInfo, MarketDeal, Message,
    MinerInfo, MinerPower, MiningBaseInfo, MsgLookup, NetworkParams, Partition, SectorLocation,
    SectorOnChainInfo, SectorPreCommitInfo, SectorPreCommitOnChainInfo, SendSpec, SignedMessage,
    TipSet, TipSetKey, W, method,
};
use damocles_types::{ActorId, Base64, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, crypto::signature::Signature, econ::TokenAmount};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, time::Duration};

/// One or several nodes of one network.
#[derive(Debug)]
pub struct NodeChain {
    nodes: Nodes,
    memory: Memory,
}

/// Not among the devnet's methods; nodes that lack it say so.
const CHAIN_GET_FINALIZED_TIP_SET: &str = "Filecoin.ChainGetFinalizedTipSet";

impl NodeChain {
    /// Prepares clients; nothing is asked yet.
    ///
    /// # Errors
    /// [`EndpointError`] for addresses and tokens that no client can be made of.
    pub fn new(endpoints: &[NodeEndpoint]) -> Result<Self, EndpointError> {
        Ok(Self {
            nodes: Nodes::new(endpoints)?,
            memory: Memory::default(),
        })
    }

    /// The same, believing no head that is older than this. None: every head is believed.
    #[must_use]
    pub fn believing(mut self, max_age: Option<Duration>) -> Self {
        self.nodes.max_age = max_age;
        self
    }

    /// The same, asking only nodes of the network with this genesis. None: whichever the first
    /// node is of.
    #[must_use]
    pub fn of_network(mut self, genesis: Option<String>) -> Self {
        if let Some(genesis) = genesis {
            self.nodes.network = Membership::of(genesis);
        }
        self
    }

    /// The node that is asked first now, without secrets.
    pub fn shown(&self) -> &str {
        self.nodes.shown()
    }

    /// What the node with the wallet says of its genesis, of whichever network it is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn first_genesis(&self) -> Result<Option<String>, ChainError> {
        self.nodes.first_genesis().await
    }

    /// What a token allows at the node whose wallet has the keys: `read`, `write`, `sign`,
    /// `admin` (`Filecoin.AuthVerify`).
    ///
    /// # Errors
    /// [`ChainError::Denied`] or [`ChainError::Refused`] for a token that is not the node's.
    pub async fn token_allows(&self, token: &str) -> Result<Vec<String>, ChainError> {
        self.nodes
            .ask_wallet(method::AUTH_VERIFY, Params::none().add(token))
            .await
    }

    /// A question about a tipset. Where it is named, one answer is enough; where much hangs on the
    /// answer, it is asked anew by [`Nodes::ask`].
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
        let answer: T = self.nodes.ask(name, params).await?;
        self.memory.keep(tipset, question, answer.clone());
        Ok(answer)
    }
}

fn id(miner: ActorId) -> W<Address> {
    W(Address::new_id(miner))
}

fn of(miner: ActorId) -> Params {
    Params::none().add(id(miner))
}

impl NodeChain {
    async fn at_height(&self, height: Epoch, key: &TipSetKey) -> Result<TipSet, ChainError> {
        let params = Params::none().add(height).add(key);
        let name = method::CHAIN_GET_TIP_SET_BY_HEIGHT;
        self.nodes.ask(name, params).await
    }
}

#[async_trait]
impl Chain for NodeChain {
    async fn head(&self) -> Result<TipSet, ChainError> {
        self.nodes.survey().await
    }

    async fn tipset_at(&self, height: Epoch, key: &TipSetKey) -> Result<TipSetKey, ChainError> {
        Ok(self.at_height(height, key).await?.cids)
    }

    async fn base_fee_below(
        &self,
        height: Epoch,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let before = self.at_height(height - 1, key).await?;
        let fee = before.base_fee().ok_or_else(|| ChainError::Malformed {
            method: "ChainGetTipSetByHeight".into(),
            reason: "a tipset without blocks".into(),
        })?;
        Ok(fee.clone())
    }

    async fn finalized(&self) -> Result<Option<Epoch>, ChainError> {
        let asked = self
            .nodes
            .ask::<TipSet>(CHAIN_GET_FINALIZED_TIP_SET, Params::none());
        Ok(unless_refused(asked.await)?.map(|tipset| tipset.height))
    }

    async fn genesis(&self) -> Result<Option<String>, ChainError> {
        self.nodes.genesis().await
    }

    async fn network_params(&self) -> Result<NetworkParams, ChainError> {
        self.nodes
            .ask(method::STATE_GET_NETWORK_PARAMS, Params::none())
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
        let all: Option<Vec<Partition>> = self
            .nodes
            .ask(method::STATE_MINER_PARTITIONS, params)
            .await?;
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
            .nodes
            .ask_as(Question::List, method::STATE_MINER_SECTORS, params)
            .await?;
        Ok(all.unwrap_or_default())
    }

    async fn miner_power(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerPower, ChainError> {
        let params = of(miner).add(key);
        self.nodes.ask(method::STATE_MINER_POWER, params).await
    }

    async fn miner_available_balance(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let params = of(miner).add(key);
        let amount: W<TokenAmount> = self
            .nodes
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
        self.nodes
            .ask(method::STATE_SECTOR_PRE_COMMIT_INFO, params)
            .await
    }

    async fn sector_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError> {
        let params = of(miner).add(sector).add(key);
        self.nodes.ask(method::STATE_SECTOR_GET_INFO, params).await
    }

    async fn sector_partition(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<SectorLocation, ChainError> {
        let params = of(miner).add(sector).add(key);
        self.nodes.ask(method::STATE_SECTOR_PARTITION, params).await
    }

    async fn precommit_deposit(
        &self,
        miner: ActorId,
        info: &SectorPreCommitInfo,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError> {
        let params = of(miner).add(info).add(key);
        let name = method::STATE_MINER_PRE_COMMIT_DEPOSIT_FOR_POWER;
        let amount: W<TokenAmount> = self.nodes.ask(name, params).await?;
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
        let amount: W<TokenAmount> = self.nodes.ask(name, params).await?;
        Ok(amount.0)
    }

    async fn allocation(
        &self,
        client: Address,
        id: u64,
        key: &TipSetKey,
    ) -> Result<Option<Allocation>, ChainError> {
        let params = Params::none().add(W(client)).add(id).add(key);
        self.nodes.ask(method::STATE_GET_ALLOCATION, params).await
    }

    async fn allocation_of_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<u64>, ChainError> {
        let params = Params::none().add(deal).add(key);
        let name = method::STATE_GET_ALLOCATION_ID_FOR_PENDING_DEAL;
        let id: u64 = self.nodes.ask(name, params).await?;
        Ok((id != 0).then_some(id))
    }

    async fn market_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<MarketDeal>, ChainError> {
        let params = Params::none().add(deal).add(key);
        let name = method::STATE_MARKET_STORAGE_DEAL;
        // Lotus: "deal 5 not found - deal may not have completed sealing before …"; it says as much
        // of tipsets and of actors, and that is no answer
        let none = format!("deal {deal} not found");
        match self.nodes.ask(name, params).await {
            Ok(found) => Ok(Some(found)),
            Err(ChainError::Refused { message, .. }) if message.contains(&none) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let name = method::STATE_GET_RANDOMNESS_FROM_TICKETS;
        self.nodes.ask(name, draw(tag, epoch, entropy, key)).await
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError> {
        let name = method::STATE_GET_RANDOMNESS_FROM_BEACON;
        self.nodes.ask(name, draw(tag, epoch, entropy, key)).await
    }

    async fn estimate_gas_limit(&self, message: &Message) -> Result<i64, ChainError> {
        let params = Params::none().add(message).add(TipSetKey::HEAD);
        self.nodes
            .ask_as(Question::Search, method::GAS_ESTIMATE_GAS_LIMIT, params)
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
        let amount: W<TokenAmount> = self.nodes.ask(name, params).await?;
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
        let amount: W<TokenAmount> = self.nodes.ask(method::GAS_ESTIMATE_FEE_CAP, params).await?;
        Ok(amount.0)
    }

    async fn push_message(
        &self,
        message: &Message,
        spec: &SendSpec,
    ) -> Result<SignedMessage, ChainError> {
        let params = Params::none().add(message).add(spec);
        self.nodes
            .ask_wallet(method::MPOOL_PUSH_MESSAGE, params)
            .await
    }

    async fn push_signed(&self, message: &SignedMessage) -> Result<Cid, ChainError> {
        let params = Params::none().add(message);
        let cid: W<Cid> = self.nodes.ask_sender(method::MPOOL_PUSH, params).await?;
        Ok(cid.0)
    }

    async fn search_message(
        &self,
        cid: Cid,
        limit: Epoch,
        key: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let params = Params::none().add(key).add(W(cid)).add(limit).add(true);
        self.nodes
            .ask_as(Question::Search, method::STATE_SEARCH_MSG, params)
            .await
    }

    async fn sign_message(&self, message: &Message) -> Result<SignedMessage, ChainError> {
        let params = Params::none().add(W(message.from)).add(message);
        self.nodes
            .ask_wallet(method::WALLET_SIGN_MESSAGE, params)
            .await
    }

    async fn next_nonce(&self, from: Address) -> Result<u64, ChainError> {
        let params = Params::none().add(W(from));
        self.nodes.ask_sender(method::MPOOL_GET_NONCE, params).await
    }

    async fn pending_nonces(&self, from: Address) -> Result<BTreeSet<u64>, ChainError> {
        let params = Params::none().add(TipSetKey::HEAD);
        let pool: Vec<SignedMessage> = self.nodes.ask_sender(method::MPOOL_PENDING, params).await?;
        let ours = pool.into_iter().filter(|m| m.message.from == from);
        Ok(ours.map(|m| m.message.nonce).collect())
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, ChainError> {
        let params = Params::none().add(W(address));
        self.nodes.ask_wallet(method::WALLET_HAS, params).await
    }

    async fn message(&self, cid: Cid) -> Result<Message, ChainError> {
        let params = Params::none().add(W(cid));
        self.nodes.ask(method::CHAIN_GET_MESSAGE, params).await
    }
}

#[async_trait]
impl Production for NodeChain {
    async fn newest(&self) -> Result<TipSet, ChainError> {
        let params = Params::none();
        self.nodes.ask_wallet(method::CHAIN_HEAD, params).await
    }

    async fn tipset(&self, key: &TipSetKey) -> Result<TipSet, ChainError> {
        let params = Params::none().add(key);
        self.nodes
            .ask_wallet(method::CHAIN_GET_TIP_SET, params)
            .await
    }

    async fn tipset_of_epoch(&self, height: Epoch) -> Result<TipSet, ChainError> {
        self.at_height(height, &TipSetKey::HEAD).await
    }

    async fn mining_base(
        &self,
        miner: ActorId,
        round: Epoch,
        base: &TipSetKey,
    ) -> Result<Option<MiningBaseInfo>, ChainError> {
        let params = of(miner).add(round).add(base);
        self.nodes
            .ask_wallet(method::MINER_GET_BASE_INFO, params)
            .await
    }

    async fn sign(&self, address: Address, bytes: &[u8]) -> Result<Signature, ChainError> {
        let params = Params::none().add(W(address)).add(Base64(bytes.to_vec()));
        let signed: W<Signature> = self.nodes.ask_wallet(method::WALLET_SIGN, params).await?;
        Ok(signed.0)
    }

    async fn select_messages(
        &self,
        base: &TipSetKey,
        quality: f64,
    ) -> Result<Vec<SignedMessage>, ChainError> {
        let params = Params::none().add(base).add(quality);
        // Go writes an empty slice as null
        let chosen: Option<Vec<SignedMessage>> =
            self.nodes.ask_wallet(method::MPOOL_SELECT, params).await?;
        Ok(chosen.unwrap_or_default())
    }

    async fn create_block(&self, template: &BlockTemplate) -> Result<BlockMsg, ChainError> {
        let params = Params::none().add(template);
        self.nodes
            .ask_wallet(method::MINER_CREATE_BLOCK, params)
            .await
    }

    async fn submit_block(&self, block: &BlockMsg) -> Result<(), ChainError> {
        let params = Params::none().add(block);
        self.nodes
            .ask_wallet(method::SYNC_SUBMIT_BLOCK, params)
            .await
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
