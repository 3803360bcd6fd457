//! `Chain*`: tipsets, blocks, messages, raw objects.

use std::sync::Arc;

use cid::Cid;
use damocles_node::{BlockMessages, Message, TipSetKey, W};
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::SignatureType;

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::shapes;
use crate::block::Tipset;
use crate::view::StateError;

/// The tipset of a key; the empty key is the head.
pub(super) fn load(node: &Node, key: &TipSetKey) -> Result<Arc<Tipset>, RpcError> {
    if key.is_head() {
        return Ok(node.network.head());
    }
    let key = shapes::key(key);
    let found = node.network.tipset(&key);
    Ok(found.ok_or_else(|| StateError::no_tipset(&key))?)
}

pub(super) fn head(node: &Node, _: Params) -> Answer {
    answer(shapes::tipset(&node.network.head()))
}

pub(super) fn genesis(node: &Node, _: Params) -> Answer {
    answer(shapes::tipset(&node.network.genesis()))
}

pub(super) fn tipset(node: &Node, params: Params) -> Answer {
    answer(shapes::tipset(&*load(node, &params.get(0)?)?))
}

/// Without a faster way to agree: the tipset that lies as deep as the network's finality.
pub(super) fn finalized(node: &Node, _: Params) -> Answer {
    let head = node.network.head();
    let height = head.height - node.network.policy().chain_finality;
    let found = node.network.tipset_by_height(height.max(0), &head.key);
    let found = found.ok_or_else(|| RpcError::failed(format!("no tipset at height {height}")))?;
    answer(shapes::tipset(&found))
}

/// Which tipset stands for a null round.
#[derive(Clone, Copy)]
enum Round {
    Before,
    After,
}

fn at_height(node: &Node, params: &Params, round: Round) -> Answer {
    let height: ChainEpoch = params.get(0)?;
    let anchor = load(node, &params.get(1)?)?;
    if height < 0 {
        return Err(RpcError::failed(format!("height {height} is negative")));
    }
    if height > anchor.height {
        return Err(RpcError::failed(format!(
            "looking for tipset with height greater than start point, req: {height}, head: {}",
            anchor.height
        )));
    }
    let found = match round {
        Round::Before => node.network.tipset_by_height(height, &anchor.key),
        Round::After => node.network.tipset_after_height(height, &anchor.key),
    };
    let found = found.ok_or_else(|| RpcError::failed(format!("no tipset at height {height}")))?;
    answer(shapes::tipset(&found))
}

pub(super) fn tipset_by_height(node: &Node, params: Params) -> Answer {
    at_height(node, &params, Round::Before)
}

pub(super) fn tipset_after_height(node: &Node, params: Params) -> Answer {
    at_height(node, &params, Round::After)
}

fn missing(cid: &Cid) -> RpcError {
    RpcError::failed(format!("ipld: could not find {cid}"))
}

fn block_of(node: &Node, cid: &Cid) -> Result<(Arc<Tipset>, usize), RpcError> {
    node.network.block(cid).ok_or_else(|| missing(cid))
}

pub(super) fn block(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    let (tipset, index) = block_of(node, &cid)?;
    let block = tipset.blocks.get(index).ok_or_else(|| missing(&cid))?;
    answer(shapes::block(block))
}

pub(super) fn block_messages(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    let (tipset, _) = block_of(node, &cid)?;
    let (bls, secp): (Vec<_>, Vec<_>) = node
        .network
        .tipset_messages(&tipset)
        .into_iter()
        .partition(|(_, m)| m.signature.sig_type == SignatureType::BLS);
    answer(BlockMessages {
        cids: bls.iter().chain(&secp).map(|(cid, _)| *cid).collect(),
        bls_messages: bls.into_iter().map(|(_, m)| m.message.into()).collect(),
        secpk_messages: secp.iter().map(|(_, m)| shapes::signed(m)).collect(),
    })
}

pub(super) fn message(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    let found = node.network.message(&cid).ok_or_else(|| missing(&cid))?;
    answer(Message::from(found.message))
}

pub(super) fn read_obj(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    let found = node
        .network
        .read_object(&cid)
        .ok_or_else(|| missing(&cid))?;
    answer(W(found.to_vec()))
}

pub(super) fn has_obj(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    answer(node.network.read_object(&cid).is_some())
}
