//! `Devnet.*`: what tests and the demo ask of the network beyond what a real node offers.

use std::time::Duration;

use damocles_node::W;
use damocles_node::devnet::{MessageRecord, PostRecord};
use fvm_shared::MethodNum;
use fvm_shared::address::Address;

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::shapes;
use crate::block::TipsetKey;
use crate::message::named_sectors;
use crate::network::BlockTime;
use crate::view::StateError;

/// Blocks that one call may ask for.
pub(super) const MAX_MINE: u64 = 100_000;

pub(super) fn mine(node: &Node, params: Params) -> Answer {
    let count: u64 = params.get(0)?;
    if count > MAX_MINE {
        return Err(RpcError::failed(format!(
            "{count} blocks at once are too many; ask for at most {MAX_MINE}"
        )));
    }
    answer(shapes::tipset(&*node.network.mine(count)?))
}

pub(super) fn set_block_time(node: &Node, params: Params) -> Answer {
    let milliseconds: u64 = params.get(0)?;
    node.network.set_block_time(match milliseconds {
        0 => BlockTime::Manual,
        ms @ 5..=30_000 => BlockTime::Every(Duration::from_millis(ms)),
        other => {
            return Err(RpcError::failed(format!(
                "blocks cannot be made every {other} ms; give 5 to 30000, or 0 for none"
            )));
        }
    });
    answer(())
}

pub(super) fn snapshot(node: &Node, _: Params) -> Answer {
    node.network.save()?;
    answer(())
}

pub(super) fn hold_messages(node: &Node, params: Params) -> Answer {
    node.network.hold_messages(params.get(0)?);
    answer(())
}

pub(super) fn posts(node: &Node, params: Params) -> Answer {
    let W(miner) = params.get(0)?;
    let posts = node.network.accepted_posts(&miner);
    let records = posts.into_iter().map(|post| PostRecord {
        epoch: post.epoch,
        deadline: post.deadline,
        partition: post.partition,
        sectors: post.sectors,
        message: post.message,
    });
    answer(records.collect::<Vec<_>>())
}

/// Walks the whole chain: it is a question of tests, asked seldom.
pub(super) fn messages(node: &Node, params: Params) -> Answer {
    let W(miner): W<Address> = params.get(0)?;
    let method: Option<MethodNum> = params.get(1)?;
    let view = node.network.state(&TipsetKey::default())?;
    let id = match view.lookup_id(&miner) {
        Ok(id) => id,
        Err(StateError::ActorNotFound(_)) => return answer(Vec::<MessageRecord>::new()),
        Err(error) => return Err(error.into()),
    };
    let is_miner = |to: &Address| *to == miner || to.id().ok() == Some(id);
    let mut records = Vec::new();
    // Receipts of a tipset's messages lie in its child.
    let mut child = node.network.head();
    while child.height > 0 {
        let Some(tipset) = node.network.tipset(&child.parents()) else {
            break;
        };
        let receipts = node.network.parent_receipts(&child);
        let messages = node.network.tipset_messages(&tipset);
        for ((cid, message), receipt) in messages.into_iter().zip(receipts).rev() {
            let message = message.message;
            if !is_miner(&message.to) || method.is_some_and(|m| m != message.method_num) {
                continue;
            }
            records.push(MessageRecord {
                cid,
                from: message.from,
                to: message.to,
                nonce: message.sequence,
                method: message.method_num,
                value: message.value,
                epoch: tipset.height,
                exit_code: i64::from(receipt.exit_code.value()),
                sectors: named_sectors(message.method_num, &message.params),
            });
        }
        child = tipset;
    }
    records.reverse();
    answer(records)
}
