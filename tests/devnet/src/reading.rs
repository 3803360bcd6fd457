//! What a node tells of the network's chain: tipsets, messages, where they landed, proofs that
//! were accepted. A node that is behind sees no further than its own head.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::anyhow;
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::receipt::Receipt;
use tokio::sync::broadcast;

use crate::block::{BeaconEntry, Tipset, TipsetKey};
use crate::chain::{AcceptedPost, Lookup, Node, Steps};
use crate::message::SignedMessage;
use crate::network::Network;
use crate::randomness::{beacon_entry, beacon_round};
use crate::view::{StateError, StateView};

impl Network {
    /// Epochs by which this node is behind.
    pub fn behind(&self) -> ChainEpoch {
        self.lag.load(Ordering::Relaxed)
    }

    /// Lets this node be behind; it does not know the tipsets above its head.
    pub fn set_behind(&self, epochs: ChainEpoch) {
        self.lag.store(epochs.max(0), Ordering::Relaxed);
    }

    /// The head of the network, however far this node has come.
    pub fn top(&self) -> Arc<Tipset> {
        let chain = self.inner.chain.read();
        match chain.head() {
            Some(node) => node.tipset.clone(),
            None => unreachable!("a network is only made with a genesis"),
        }
    }

    pub(crate) fn head_node(&self) -> Arc<Node> {
        let chain = self.inner.chain.read();
        match chain.behind(self.behind()) {
            Some(node) => node.clone(),
            None => unreachable!("a network is only made with a genesis"),
        }
    }

    pub(crate) fn node(&self, key: &TipsetKey) -> Option<Arc<Node>> {
        let head = self.head_node();
        if key.is_head() {
            return Some(head);
        }
        let node = self.inner.chain.read().node(key).cloned()?;
        (self.behind() == 0 || node.tipset.height <= head.tipset.height).then_some(node)
    }

    /// What leads from one head to another.
    pub fn steps(&self, from: &TipsetKey, to: &TipsetKey) -> Option<Steps> {
        self.inner.chain.read().steps(from, to)
    }

    pub fn head(&self) -> Arc<Tipset> {
        self.head_node().tipset.clone()
    }

    pub fn genesis(&self) -> Arc<Tipset> {
        let chain = self.inner.chain.read();
        match chain.genesis() {
            Some(node) => node.tipset.clone(),
            None => unreachable!("a network is only made with a genesis"),
        }
    }

    pub fn tipset(&self, key: &TipsetKey) -> Option<Arc<Tipset>> {
        Some(self.node(key)?.tipset.clone())
    }

    /// The tipset at `height`, or before it when that round was null; None above the anchor.
    pub fn tipset_by_height(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<Arc<Tipset>> {
        let chain = self.inner.chain.read();
        Some(chain.at_or_before(height, anchor)?.tipset.clone())
    }

    /// The tipset at `height`, or after it when that round was null.
    pub fn tipset_after_height(
        &self,
        height: ChainEpoch,
        anchor: &TipsetKey,
    ) -> Option<Arc<Tipset>> {
        let chain = self.inner.chain.read();
        Some(chain.at_or_after(height, anchor)?.tipset.clone())
    }

    /// Tipset that holds a block, and the block's place in it.
    pub fn block(&self, cid: &Cid) -> Option<(Arc<Tipset>, usize)> {
        let chain = self.inner.chain.read();
        let (node, at) = chain.block(cid)?;
        Some((node.tipset.clone(), at))
    }

    /// Messages of the tipset, BLS first, as ChainGetBlockMessages orders them.
    pub fn tipset_messages(&self, tipset: &Tipset) -> Vec<(Cid, SignedMessage)> {
        self.node(&tipset.key)
            .map_or_else(Vec::new, |node| node.messages.clone())
    }

    /// Receipts of the parent's messages.
    pub fn parent_receipts(&self, tipset: &Tipset) -> Vec<Receipt> {
        let chain = self.inner.chain.read();
        chain
            .node(&tipset.key)
            .and_then(|node| chain.parent(node))
            .map_or_else(Vec::new, |parent| parent.receipts.clone())
    }

    /// The beacon's entry for an epoch; the chain need not have come so far.
    pub fn beacon_entry(&self, epoch: ChainEpoch) -> BeaconEntry {
        beacon_entry(&self.inner.engine.seed, beacon_round(epoch))
    }

    /// State as of a tipset (empty key: the head).
    pub fn state(&self, key: &TipsetKey) -> Result<StateView, StateError> {
        let node = self.node(key).ok_or_else(|| StateError::no_tipset(key))?;
        Ok(StateView::new(
            self.inner.engine.clone(),
            self.inner.chain.clone(),
            node.tipset.clone(),
        ))
    }

    /// Raw IPLD block.
    pub fn read_object(&self, cid: &Cid) -> Option<Arc<[u8]>> {
        self.inner.engine.store.raw(cid)
    }

    /// Looks for a message's execution, `limit` epochs back from `from` (negative: no limit).
    /// A message that the node never heard of is an error, another one at its nonce too.
    pub fn search_message(
        &self,
        from: &TipsetKey,
        message: &Cid,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> Result<Option<Lookup>, StateError> {
        let Some(asked) = self.message(message) else {
            return Err(StateError::UnknownMessage(*message));
        };
        // Empty means this node's head, which may be an old one.
        let from = self.node(from).ok_or_else(|| StateError::no_tipset(from))?;
        let chain = self.inner.chain.read();
        chain
            .search(
                &from.tipset.key,
                message,
                Some(&asked.message),
                limit,
                allow_replaced,
            )
            .map_err(StateError::Replaced)
    }

    /// Waits until the message is `confidence` epochs deep.
    pub async fn wait_message(
        &self,
        message: &Cid,
        confidence: u64,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> anyhow::Result<Lookup> {
        let mut changes = self.subscribe().changes;
        loop {
            let head = TipsetKey::default();
            if let Some(found) = self.search_message(&head, message, limit, allow_replaced)?
                && self.head().height >= found.height.saturating_add_unsigned(confidence)
            {
                return Ok(found);
            }
            match changes.recv().await {
                // one that fell behind looks at the head again all the same
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(anyhow!("the network stopped"));
                }
            }
        }
    }

    /// A message of the chain or the pool.
    pub fn message(&self, cid: &Cid) -> Option<SignedMessage> {
        let mined = self.inner.chain.read().message(cid).cloned();
        mined.or_else(|| self.inner.pool.lock().seen(cid).cloned())
    }

    /// WindowPoSts accepted since genesis, oldest first.
    pub fn accepted_posts(&self, miner: &Address) -> Vec<AcceptedPost> {
        let id = self
            .state(&TipsetKey::default())
            .and_then(|view| view.lookup_id(miner));
        let chain = self.inner.chain.read();
        chain
            .posts()
            .iter()
            .filter(|(of, _)| id.as_ref().is_ok_and(|id| id == of))
            .map(|(_, post)| post.clone())
            .collect()
    }
}
