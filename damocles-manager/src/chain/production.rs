//! What whoever makes blocks asks of a node. All of it is asked of the node with the wallet: it
//! signs the blocks, and it has the messages that they name.

use crate::chain::ChainError;
use async_trait::async_trait;
use damocles_node::{BlockMsg, BlockTemplate, MiningBaseInfo, SignedMessage, TipSet, TipSetKey};
use damocles_types::{ActorId, Epoch};
use fvm_shared::{address::Address, crypto::signature::Signature};

/// A node by which blocks are made. Names follow `Filecoin.*`.
#[async_trait]
pub trait Production: Send + Sync + std::fmt::Debug + 'static {
    /// The newest tipset of that node.
    async fn newest(&self) -> Result<TipSet, ChainError>;
    /// The tipset of a key, with its blocks.
    async fn tipset(&self, key: &TipSetKey) -> Result<TipSet, ChainError>;
    /// The tipset at that height of the newest chain; after a null round, the one before it.
    async fn tipset_of_epoch(&self, height: Epoch) -> Result<TipSet, ChainError>;
    /// What the miner tries a round with on top of a tipset. None: no sector of it could be proven.
    async fn mining_base(
        &self,
        miner: ActorId,
        round: Epoch,
        base: &TipSetKey,
    ) -> Result<Option<MiningBaseInfo>, ChainError>;
    /// Has the node's wallet sign bytes as they are.
    async fn sign(&self, address: Address, bytes: &[u8]) -> Result<Signature, ChainError>;
    /// Messages that a block on that tipset may hold. `quality` of the ticket, between 0 and 1:
    /// producers of one round avoid each other's messages by it.
    async fn select_messages(
        &self,
        base: &TipSetKey,
        quality: f64,
    ) -> Result<Vec<SignedMessage>, ChainError>;
    /// Makes a block; the same template on the same tipset gives the same block. Lotus and Forest
    /// sign it with the worker's key, and refuse where their wallet has none; Venus may leave it
    /// unsigned.
    async fn create_block(&self, template: &BlockTemplate) -> Result<BlockMsg, ChainError>;
    /// Has a signed block checked and sent to everybody; the same one again does no harm.
    async fn submit_block(&self, block: &BlockMsg) -> Result<(), ChainError>;
}
