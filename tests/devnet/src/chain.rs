//! The chain: tipsets, the messages in them and what they did. Answers look-ups by key,
//! height and message; new tipsets come in at the top only.
use std::collections::HashMap;
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
#[derive(Debug)]
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

/// A message that has the nonce in question but is another call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found message with equal nonce as the one we are looking for that is NOT a valid replacement message (wanted {wanted}, found {found})"
)]
pub struct OtherCall {
    pub wanted: String,
    pub found: String,
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

    /// Tipset of a key; the empty key means the head.
    pub fn node(&self, key: &TipsetKey) -> Option<&Arc<Node>> {
        Some(&self.nodes[self.position(key)?])
    }

    /// Tipset that holds a block, and the block's place in it.
    pub fn block(&self, cid: &Cid) -> Option<(&Arc<Node>, usize)> {
        let node = &self.nodes[*self.by_block.get(cid)?];
        let at = node.tipset.key.0.iter().position(|c| c == cid)?;
        Some((node, at))
    }

    /// Tipset at `height` or the nearest one below it, seen from `anchor`. None above the
    /// anchor and below genesis.
    pub fn at_or_before(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<&Arc<Node>> {
        let top = self.position(anchor)?;
        if height > self.nodes[top].tipset.height {
            return None;
        }
        let upto = &self.nodes[..=top];
        let after = upto.partition_point(|n| n.tipset.height <= height);
        upto.get(after.checked_sub(1)?)
    }

    /// Tipset at `height` or the nearest one above it, seen from `anchor`.
    pub fn at_or_after(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<&Arc<Node>> {
        let top = self.position(anchor)?;
        let upto = &self.nodes[..=top];
        upto.get(upto.partition_point(|n| n.tipset.height < height))
    }

    /// The tipset below.
    pub fn parent(&self, node: &Node) -> Option<&Arc<Node>> {
        let at = self.position(&node.tipset.key)?;
        self.nodes.get(at.checked_sub(1)?)
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
    ) -> Result<Option<Lookup>, OtherCall> {
        let Some(top) = self.position(from) else {
            return Ok(None);
        };
        let Some((at, i)) = self.find(wanted, asked, allow_replaced)? else {
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
        Ok(Some(Lookup {
            message: node.messages[i].0,
            receipt: node.receipts[i].clone(),
            tipset: after.tipset.key.clone(),
            height,
        }))
    }

    fn find(
        &self,
        wanted: &Cid,
        asked: Option<&Message>,
        allow_replaced: bool,
    ) -> Result<Option<(usize, usize)>, OtherCall> {
        if let Some(found) = self.executed.get(wanted) {
            return Ok(Some(*found));
        }
        let Some(asked) = asked else {
            return Ok(None);
        };
        let Some((at, i)) = self.by_nonce.get(&(asked.from, asked.sequence)) else {
            return Ok(None);
        };
        let (found, landed) = &self.nodes[*at].messages[*i];
        let landed = &landed.message;
        let same_call = landed.to == asked.to
            && landed.value == asked.value
            && landed.method_num == asked.method_num
            && landed.params == asked.params;
        if !same_call || !allow_replaced {
            return Err(OtherCall {
                wanted: wanted.to_string(),
                found: found.to_string(),
            });
        }
        Ok(Some((*at, *i)))
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
