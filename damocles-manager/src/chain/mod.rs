//! The one adapter that speaks to a Filecoin node.
//!
//! ```text
//! Chain (trait) ◄── node.rs    JSON-RPC v1 of Lotus, Forest, Venus or the devnet
//!                              (endpoint.rs one node, network.rs whether it is of our network,
//!                              belief.rs whose head is believed, refusal.rs what it says behind 500)
//!               ◄── script.rs  a chain that tests write themselves (script_mail.rs its messages,
//!                              script_pool.rs what becomes of them,
//!                              script_answers.rs how it answers, as contract_tests.rs demands)
//! production.rs  what makers of blocks ask besides
//! head.rs  follows the head and publishes it; facts.rs  what the node tells once
//! ```
//! State reads name the tipset that they look at, so that several of them see one state.
//! Every call has a time-out. Two kinds of failure matter to callers: the node could not be
//! asked, or it was asked and said no. Whoever begins something asks for the head first: while
//! no node's head is believed, that fails.

mod belief;
mod facts;
mod head;
mod memory;
mod network;
mod refusal;
mod endpoint;
mod node;
mod nodes;
mod production;
mod randomness;
#[cfg(test)]
pub mod script;
#[cfg(test)]
mod script_answers;
#[cfg(test)]
mod script_mail;
#[cfg(test)]
mod script_pool;
#[cfg(test)]
mod contract_tests;

pub use endpoint::EndpointError;
pub(crate) use endpoint::{Client, Params, client, request, request_once};
pub use facts::Facts;
pub use head::{Head, HeadFollower};
pub use node::NodeChain;
pub use production::Production;
pub use randomness::{DomainTag, entropy};

use async_trait::async_trait;
use cid::Cid;
use damocles_node::{
    ActorState, Allocation, Deadline, DeadlineInfo, MarketDeal, Message, MinerInfo, MinerPower,
    MsgLookup, NetworkParams, Partition, SectorLocation, SectorOnChainInfo, SectorPreCommitInfo,
    SectorPreCommitOnChainInfo, SendSpec, SignedMessage, TipSet, TipSetKey,
};
use damocles_types::{ActorId, Epoch, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use fvm_shared::{address::Address, econ::TokenAmount};
use std::collections::BTreeSet;

/// Why there is no answer from the chain.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainError {
    /// Nobody answered in time: ask again later.
    #[error(
        "the Filecoin node does not answer {method} ({reason}); check Common.API.Chain and the node"
    )]
    Unreachable { method: String, reason: String },
    /// Nodes answer, but none of them has a head that can be believed: ask again later.
    #[error("no Filecoin node is up to date: {reason}")]
    Behind { reason: String },
    /// The token is wrong or allows too little.
    #[error(
        "the Filecoin node refuses our token for {method} ({reason}); put a token with permission \"sign\" into the config"
    )]
    Denied { method: String, reason: String },
    /// The node was asked and said no; asking again may or may not help.
    #[error("the Filecoin node refused {method}: {message}")]
    Refused {
        method: String,
        code: i64,
        message: String,
    },
    /// The answer has another shape than the method's.
    #[error("the Filecoin node's answer to {method} cannot be read: {reason}")]
    Malformed { method: String, reason: String },
}

/// The answer; None where the node was asked and said no, as of what it does not know.
///
/// # Errors
/// Every other failure.
pub fn unless_refused<T>(answer: Result<T, ChainError>) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(ChainError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl ChainError {
    /// Whether the node was not reached, so that nothing is known of the question.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Behind { .. })
    }

    /// Whether a pool has the message, or a dearer one of its nonce, already. Known by its words
    /// (Lotus: "already in mpool", "message with nonce already exists").
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("already"))
    }

    /// Whether a node that was asked for an actor says that there is none. Known by
    /// its words (Lotus: "actor not found", from whatever depth).
    pub fn knows_no_actor(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("actor not found"))
    }
}

/// What the manager asks of a chain. Names follow `Filecoin.*`; `key` is the tipset whose
/// state is meant, [`TipSetKey::HEAD`] for the newest.
#[async_trait]
pub trait Chain: Send + Sync + std::fmt::Debug + 'static {
    /// The newest tipset, if it can be believed.
    async fn head(&self) -> Result<TipSet, ChainError>;
    /// The tipset at that height of the chain that ends in `key`; after a null round, the one
    /// before it.
    async fn tipset_at(&self, height: Epoch, key: &TipSetKey) -> Result<TipSetKey, ChainError>;
    /// The base fee of the messages that a tipset executed: that of the tipset before it.
    async fn base_fee_below(
        &self,
        height: Epoch,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError>;
    /// Height up to which the chain is final. None: the node does not say.
    async fn finalized(&self) -> Result<Option<Epoch>, ChainError>;
    /// The CID of the genesis block, by which a network is known. None: the node does not say.
    async fn genesis(&self) -> Result<Option<String>, ChainError>;
    async fn network_params(&self) -> Result<NetworkParams, ChainError>;
    async fn network_version(&self, key: &TipSetKey) -> Result<u32, ChainError>;

    /// The ID address (`t0…`) of any address.
    async fn lookup_id(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError>;
    /// The key address of an account.
    async fn account_key(&self, address: Address, key: &TipSetKey) -> Result<Address, ChainError>;
    async fn actor(&self, address: Address, key: &TipSetKey) -> Result<ActorState, ChainError>;

    async fn miner_info(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerInfo, ChainError>;
    /// All sector numbers that were ever used on chain.
    async fn miner_allocated(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<BitField, ChainError>;
    async fn miner_proving_deadline(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<DeadlineInfo, ChainError>;
    async fn miner_deadlines(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<Vec<Deadline>, ChainError>;
    async fn miner_partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        key: &TipSetKey,
    ) -> Result<Vec<Partition>, ChainError>;
    /// Sectors by number; all of them with no filter.
    async fn miner_sectors(
        &self,
        miner: ActorId,
        filter: Option<&BitField>,
        key: &TipSetKey,
    ) -> Result<Vec<SectorOnChainInfo>, ChainError>;
    /// Power of the miner, and of the whole network.
    async fn miner_power(&self, miner: ActorId, key: &TipSetKey) -> Result<MinerPower, ChainError>;
    /// What the miner may spend of its own.
    async fn miner_available_balance(
        &self,
        miner: ActorId,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError>;

    /// The precommit of a sector, while it waits for its proof.
    async fn precommit_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorPreCommitOnChainInfo>, ChainError>;
    /// A proven sector.
    async fn sector_info(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<Option<SectorOnChainInfo>, ChainError>;
    async fn sector_partition(
        &self,
        miner: ActorId,
        sector: SectorNumber,
        key: &TipSetKey,
    ) -> Result<SectorLocation, ChainError>;
    /// Overestimated by a tenth by the node.
    async fn precommit_deposit(
        &self,
        miner: ActorId,
        info: &SectorPreCommitInfo,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError>;
    /// Pledge of a sector of `size` bytes for `duration` epochs; overestimated by a tenth.
    async fn initial_pledge(
        &self,
        duration: Epoch,
        size: u64,
        verified_size: u64,
        key: &TipSetKey,
    ) -> Result<TokenAmount, ChainError>;

    /// An allocation of the verified registry that is open. None: there is none of that number and
    /// client (any more).
    async fn allocation(
        &self,
        client: Address,
        id: u64,
        key: &TipSetKey,
    ) -> Result<Option<Allocation>, ChainError>;
    /// The allocation of a deal of the market that is not active yet, if its data is verified.
    async fn allocation_of_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<u64>, ChainError>;
    /// A deal of the market. None: there is none of that number (any more).
    async fn market_deal(
        &self,
        deal: u64,
        key: &TipSetKey,
    ) -> Result<Option<MarketDeal>, ChainError>;

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError>;
    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        epoch: Epoch,
        entropy: &[u8],
        key: &TipSetKey,
    ) -> Result<Randomness, ChainError>;

    /// Gas that the message would use, without any margin.
    async fn estimate_gas_limit(&self, message: &Message) -> Result<i64, ChainError>;
    /// Premium per unit of gas with which the message gets in within `blocks` blocks.
    async fn estimate_gas_premium(
        &self,
        blocks: u64,
        sender: Address,
        gas_limit: i64,
    ) -> Result<TokenAmount, ChainError>;
    async fn estimate_fee_cap(
        &self,
        message: &Message,
        max_queue_blocks: i64,
    ) -> Result<TokenAmount, ChainError>;

    /// Has the node's wallet sign and send a message. The same `spec.msg_uuid` again gives the
    /// same signed message back. Always asked of the first endpoint, whose wallet has the keys.
    async fn push_message(
        &self,
        message: &Message,
        spec: &SendSpec,
    ) -> Result<SignedMessage, ChainError>;
    /// Sends a message that is signed already; again does no harm.
    async fn push_signed(&self, message: &SignedMessage) -> Result<Cid, ChainError>;
    /// Looks `limit` epochs back from `key` for a message that was executed, -1 for all; a
    /// replacement of the same nonce is found as well. Nodes refuse what they know nothing of,
    /// and a message whose nonce another one has.
    async fn search_message(
        &self,
        cid: Cid,
        limit: Epoch,
        key: &TipSetKey,
    ) -> Result<Option<MsgLookup>, ChainError>;
    /// Has the node's wallet sign a message as it stands, its nonce included. It is not sent.
    async fn sign_message(&self, message: &Message) -> Result<SignedMessage, ChainError>;
    /// The sender's next nonce as the node that sends has it: behind what is on chain and behind
    /// what waits in its pool without a gap.
    async fn next_nonce(&self, from: Address) -> Result<u64, ChainError>;
    /// Nonces of the sender's messages that wait in the pool of the node that sends. A call for
    /// rare cases: nodes answer with their whole pool.
    async fn pending_nonces(&self, from: Address) -> Result<BTreeSet<u64>, ChainError>;
    /// Whether the wallet that signs has the key of that address.
    async fn wallet_has(&self, address: Address) -> Result<bool, ChainError>;
    async fn message(&self, cid: Cid) -> Result<Message, ChainError>;
}
