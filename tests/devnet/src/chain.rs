//! The chain: tipsets, the messages in them and what they did. Answers look-ups by key,
//! height and message; new tipsets come in at the top, and a reorganisation takes some off.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::ensure;
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::message::Message;
use fvm_shared::receipt::Receipt;
use fvm_shared::sector::SectorNumber;

use crate::block::{Tipset, TipsetKey};
use crate::message::SignedMessage;
use crate::miner::Rand;
use crate::randomness::{beacon_round, blake2b256, draw};

/// A tipset and what came of running it.
#[derive(Clone, Debug)]
pub struct Node {
    pub tipset: Arc<Tipset>,
    /// In the order in which they ran.
    pub messages: Vec<(Cid, SignedMessage)>,
    pub receipts: Vec<Receipt>,
    pub receipts_root: Cid,
    /// Root of the state after its messages and its epoch's cron.
    pub post_state: Cid,
    /// Base fee that the next tipset pays.
    pub next_base_fee: TokenAmount,
}

/// A WindowPoSt that the miner actor accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedPost {
    pub deadline: u64,
    pub partition: u64,
    /// Epoch of the message's execution.
    pub epoch: ChainEpoch,
    pub message: Cid,
    /// Sectors that the proof covered (skipped and faulty ones excluded).
    pub sectors: Vec<SectorNumber>,
}

/// Where a message landed. `tipset` is the one *after* that which holds the message, whose
/// parent receipts hold `receipt`, as in Lotus.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Differs from the question when the message was replaced.
    pub message: Cid,
    pub receipt: Receipt,
    pub tipset: TipsetKey,
    pub height: ChainEpoch,
}

/// A part of the chain, and above it what is seen of a lost branch.
type Seen<'a> = (&'a [Arc<Node>], Vec<&'a Arc<Node>>);

/// A message that has the nonce in question but is another call; in Lotus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "message was replaced: found message with equal nonce as the one we are looking for that is NOT a valid replacement message (F:{wanted} n {nonce}, TS: {found} n{nonce}): message was replaced"
)]
pub struct OtherCall {
    pub wanted: Cid,
    pub found: Cid,
    pub nonce: u64,
}

/// Tipsets of lost branches that are still known by their keys, as a real node keeps them.
const LOST_TIPSETS: usize = 2000;

/// What leads from one head to another.
#[derive(Debug, Default)]
pub struct Steps {
    /// Newest first.
    pub reverted: Vec<Arc<Node>>,
    /// Oldest first.
    pub applied: Vec<Arc<Node>>,
}

/// The chain from genesis to the head.
#[derive(Debug, Default)]
pub struct Chain {
    nodes: Vec<Arc<Node>>,
    by_block: HashMap<Cid, usize>,
    /// Message CID to (position of its tipset, position in it).
    executed: HashMap<Cid, (usize, usize)>,
    /// Sender and nonce to the same.
    by_nonce: HashMap<(Address, u64), (usize, usize)>,
    posts: Vec<(ActorID, AcceptedPost)>,
    /// Tipsets that left the chain, by their first block.
    lost: HashMap<Cid, Arc<Node>>,
    /// The same, oldest loss first.
    lost_order: VecDeque<Cid>,
    /// How often a branch was lost: every branch has tickets of its own.
    forks: u64,
}

impl Chain {
    /// Puts a tipset on top.
    pub fn push(&mut self, node: Arc<Node>, posts: Vec<(ActorID, AcceptedPost)>) {
        let at = self.nodes.len();
        for cid in &node.tipset.key.0 {
            self.by_block.insert(*cid, at);
        }
        for (i, (cid, message)) in node.messages.iter().enumerate() {
            self.executed.insert(*cid, (at, i));
            let m = &message.message;
            self.by_nonce.insert((m.from, m.sequence), (at, i));
        }
        self.posts.extend(posts);
        self.nodes.push(node);
    }

    /// Takes off every tipset above `height` (genesis stays); the lost ones, newest first.
    /// What comes next is another branch.
    pub fn take_back(&mut self, height: ChainEpoch) -> Vec<Arc<Node>> {
        let keep = self.nodes.partition_point(|n| n.tipset.height <= height);
        let mut lost = self.nodes.split_off(keep.max(1).min(self.nodes.len()));
        if lost.is_empty() {
            return lost;
        }
        self.forks += 1;
        for node in &lost {
            for cid in &node.tipset.key.0 {
                self.by_block.remove(cid);
            }
            for (cid, message) in &node.messages {
                let m = &message.message;
                self.executed.remove(cid);
                self.by_nonce.remove(&(m.from, m.sequence));
            }
            if let Some(first) = node.tipset.key.0.first() {
                self.lost.insert(*first, node.clone());
                self.lost_order.push_back(*first);
            }
        }
        while self.lost_order.len() > LOST_TIPSETS {
            if let Some(oldest) = self.lost_order.pop_front() {
                self.lost.remove(&oldest);
            }
        }
        let top = self.head().map_or(0, |node| node.tipset.height);
        self.posts.retain(|(_, post)| post.epoch <= top);
        lost.reverse();
        lost
    }

    /// How often a branch was lost.
    pub fn forks(&self) -> u64 {
        self.forks
    }

    /// The same of a snapshot.
    pub fn set_forks(&mut self, forks: u64) {
        self.forks = forks;
    }

    /// Lets the head ask another base fee of the next tipset.
    pub fn set_next_base_fee(&mut self, fee: TokenAmount) {
        if let Some(head) = self.nodes.last_mut() {
            let mut node = Node::clone(head);
            node.next_base_fee = fee;
            *head = Arc::new(node);
        }
    }

    /// Enters WindowPoSts that were accepted before (of a snapshot).
    pub fn add_posts(&mut self, posts: impl IntoIterator<Item = (ActorID, AcceptedPost)>) {
        self.posts.extend(posts);
    }

    /// The tipset on top; None only before genesis.
    pub fn head(&self) -> Option<&Arc<Node>> {
        self.nodes.last()
    }

    pub fn genesis(&self) -> Option<&Arc<Node>> {
        self.nodes.first()
    }

    /// All tipsets, genesis first.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub fn posts(&self) -> &[(ActorID, AcceptedPost)] {
        &self.posts
    }

    fn position(&self, key: &TipsetKey) -> Option<usize> {
        if key.is_head() {
            return self.nodes.len().checked_sub(1);
        }
        let at = *self.by_block.get(key.0.first()?)?;
        (self.nodes[at].tipset.key == *key).then_some(at)
    }

    fn lost_node(&self, key: &TipsetKey) -> Option<&Arc<Node>> {
        let node = self.lost.get(key.0.first()?)?;
        (node.tipset.key == *key).then_some(node)
    }

    /// Tipset of a key; the empty key means the head. One that left the chain is still known.
    pub fn node(&self, key: &TipsetKey) -> Option<&Arc<Node>> {
        match self.position(key) {
            Some(at) => Some(&self.nodes[at]),
            None => self.lost_node(key),
        }
    }

    /// The head of a node that is `epochs` behind: genesis when the chain is no longer.
    pub fn behind(&self, epochs: ChainEpoch) -> Option<&Arc<Node>> {
        let height = self.head()?.tipset.height.saturating_sub(epochs);
        let after = self.nodes.partition_point(|n| n.tipset.height <= height);
        self.nodes.get(after.saturating_sub(1))
    }

    /// Tipset that holds a block, and the block's place in it.
    pub fn block(&self, cid: &Cid) -> Option<(&Arc<Node>, usize)> {
        let node = match self.by_block.get(cid) {
            Some(at) => &self.nodes[*at],
            None => self.lost.get(cid)?,
        };
        let at = node.tipset.key.0.iter().position(|c| c == cid)?;
        Some((node, at))
    }

    /// What a tipset stands on, itself included: a part of the chain, and above it what it
    /// has of a lost branch, oldest first.
    fn seen_from(&self, anchor: &TipsetKey) -> Option<Seen<'_>> {
        let mut above = Vec::new();
        let mut key = anchor.clone();
        loop {
            if let Some(top) = self.position(&key) {
                above.reverse();
                return Some((&self.nodes[..=top], above));
            }
            let node = self.lost_node(&key)?;
            key = node.tipset.parents();
            above.push(node);
        }
    }

    /// Tipset at `height` or the nearest one below it, seen from `anchor`. None above the
    /// anchor and below genesis.
    pub fn at_or_before(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<&Arc<Node>> {
        let (trunk, above) = self.seen_from(anchor)?;
        let top = above.last().copied().or(trunk.last())?;
        if height > top.tipset.height {
            return None;
        }
        let on_branch = above.into_iter().rev().find(|n| n.tipset.height <= height);
        let after = trunk.partition_point(|n| n.tipset.height <= height);
        on_branch.or_else(|| trunk.get(after.checked_sub(1)?))
    }

    /// Tipset at `height` or the nearest one above it, seen from `anchor`.
    pub fn at_or_after(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<&Arc<Node>> {
        let (trunk, above) = self.seen_from(anchor)?;
        trunk
            .get(trunk.partition_point(|n| n.tipset.height < height))
            .or_else(|| above.into_iter().find(|n| n.tipset.height >= height))
    }

    /// The tipset below.
    pub fn parent(&self, node: &Node) -> Option<&Arc<Node>> {
        let parents = node.tipset.parents();
        // genesis has none, and no key means the head
        (!parents.is_head()).then(|| self.node(&parents))?
    }

    /// What is reverted and applied between two heads; None when one of them is not known.
    pub fn steps(&self, from: &TipsetKey, to: &TipsetKey) -> Option<Steps> {
        let mut steps = Steps::default();
        let mut old = self.node(from)?;
        let mut new = self.node(to)?;
        while old.tipset.key != new.tipset.key {
            if old.tipset.height > new.tipset.height {
                steps.reverted.push(old.clone());
                old = self.parent(old)?;
            } else {
                steps.applied.push(new.clone());
                new = self.parent(new)?;
            }
        }
        steps.applied.reverse();
        Some(steps)
    }

    /// A message that was mined.
    pub fn message(&self, cid: &Cid) -> Option<&SignedMessage> {
        let (at, i) = self.executed.get(cid)?;
        Some(&self.nodes[*at].messages[*i].1)
    }

    /// Looks for a message's execution in `from` and its ancestors, `limit` epochs back
    /// (negative: all). With `allow_replaced`, a message of the same sender and nonce that
    /// makes the same call counts too; for that the caller tells what it `asked` for, if the
    /// pool once had it.
    pub fn search(
        &self,
        from: &TipsetKey,
        wanted: &Cid,
        asked: Option<&Message>,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> Result<Option<Lookup>, Box<OtherCall>> {
        let Some(top) = self.position(from) else {
            return Ok(None);
        };
        let Some((at, i)) = self.find(wanted, asked) else {
            return Ok(None);
        };
        let Some(after) = self.nodes[..=top].get(at + 1) else {
            return Ok(None);
        };
        let height = after.tipset.height;
        if limit >= 0 && height <= self.nodes[top].tipset.height - limit {
            return Ok(None);
        }
        let node = &self.nodes[at];
        let (found, landed) = &node.messages[i];
        if found != wanted {
            // Lotus meets the other message, and keeps silent where replacements do not count.
            if !allow_replaced {
                return Ok(None);
            }
            if !asked.is_some_and(|asked| same_call(asked, &landed.message)) {
                return Err(Box::new(OtherCall {
                    wanted: *wanted,
                    found: *found,
                    nonce: landed.message.sequence,
                }));
            }
        }
        Ok(Some(Lookup {
            message: node.messages[i].0,
            receipt: node.receipts[i].clone(),
            tipset: after.tipset.key.clone(),
            height,
        }))
    }

    /// Where the message was executed, or the one that took its nonce.
    fn find(&self, wanted: &Cid, asked: Option<&Message>) -> Option<(usize, usize)> {
        if let Some(found) = self.executed.get(wanted) {
            return Some(*found);
        }
        let asked = asked?;
        let found = self.by_nonce.get(&(asked.from, asked.sequence))?;
        Some(*found)
    }

    /// Digest of the ticket that belongs to an epoch, as `anchor` sees the chain.
    fn ticket_digest(&self, epoch: ChainEpoch, anchor: &Anchor<'_>) -> anyhow::Result<[u8; 32]> {
        let tipset = self.randomness_tipset(epoch, anchor)?;
        let ticket = tipset
            .min_ticket_block()
            .ticket
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("tipset {} has no ticket", tipset.height))?;
        Ok(blake2b256(&ticket.vrf_proof))
    }

    fn beacon_digest(&self, epoch: ChainEpoch, anchor: &Anchor<'_>) -> anyhow::Result<[u8; 32]> {
        let tipset = self.randomness_tipset(epoch, anchor)?;
        let entries = &tipset.min_ticket_block().beacon_entries;
        let entry = if epoch < 0 {
            entries.last()
        } else {
            let round = beacon_round(epoch);
            entries.iter().find(|entry| entry.round == round)
        };
        let entry = entry.ok_or_else(|| anyhow::anyhow!("didn't find beacon for epoch {epoch}"))?;
        Ok(blake2b256(&entry.data))
    }

    /// The first tipset from an epoch on; genesis for epochs before it.
    fn randomness_tipset<'a>(
        &'a self,
        epoch: ChainEpoch,
        anchor: &Anchor<'a>,
    ) -> anyhow::Result<&'a Tipset> {
        let epoch = epoch.max(0);
        let key = match anchor {
            Anchor::On(key) => key,
            Anchor::Above(tipset, parent) => {
                if epoch > parent.height {
                    ensure!(epoch <= tipset.height, FUTURE);
                    return Ok(tipset);
                }
                &parent.key
            }
        };
        // nothing from that epoch on means that the anchor lies below it
        let node = self
            .at_or_after(epoch, key)
            .ok_or_else(|| anyhow::anyhow!(FUTURE))?;
        Ok(&node.tipset)
    }
}

/// Whether one message may replace the other: all but gas and fees are the same.
fn same_call(a: &Message, b: &Message) -> bool {
    a.to == b.to && a.value == b.value && a.method_num == b.method_num && a.params == b.params
}

const FUTURE: &str = "cannot draw randomness from the future";

/// From where randomness is looked up.
#[derive(Debug, Clone)]
pub enum Anchor<'a> {
    /// A tipset of the chain.
    On(TipsetKey),
    /// A tipset that is being made on top of another.
    Above(&'a Tipset, &'a Tipset),
}

/// The chain's randomness as one tipset sees it.
#[derive(Debug)]
pub struct ChainRand<'a> {
    pub chain: &'a Chain,
    pub anchor: Anchor<'a>,
}

impl Rand for ChainRand<'_> {
    fn tickets(&self, tag: i64, epoch: ChainEpoch, entropy: &[u8]) -> anyhow::Result<[u8; 32]> {
        let digest = self.chain.ticket_digest(epoch, &self.anchor)?;
        Ok(draw(&digest, tag, epoch, entropy))
    }

    fn beacon(&self, tag: i64, epoch: ChainEpoch, entropy: &[u8]) -> anyhow::Result<[u8; 32]> {
        let digest = self.chain.beacon_digest(epoch, &self.anchor)?;
        Ok(draw(&digest, tag, epoch, entropy))
    }
}
