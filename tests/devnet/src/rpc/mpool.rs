//! `Mpool*`: the way of a message into the pool.

use damocles_node::{Message, SendSpec, SignedMessage, TipSetKey, W};

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::{chain, gas, shapes};

pub(super) fn push(node: &Node, params: Params) -> Answer {
    let message: SignedMessage = params.get(0)?;
    answer(W(node.network.push(shapes::to_signed(&message))?))
}

/// Signs with the node's wallet. The id in the spec makes it safe to repeat once it was
/// answered: the same id brings the same signed message back, whatever the message says now.
pub(super) fn push_message(node: &Node, params: Params) -> Answer {
    let message: Message = params.get(0)?;
    let spec: Option<SendSpec> = params.get(1)?;
    let uuid = spec.as_ref().map(|s| s.msg_uuid).filter(|u| !u.is_nil());
    let known = |uuid| node.sent.lock().get(&uuid).cloned();
    if let Some(before) = uuid.and_then(known) {
        tracing::debug!(cid = %before.cid(), "message already processed");
        return answer(before);
    }
    // As on Lotus nothing is locked from the look-up of the id to its storing: a second push of
    // the same id that is under way by now makes a second message.
    node.door.wait_for_pushes();
    let pushed = node.network.push_with(
        message.into(),
        &gas::spec(spec.as_ref()),
        &mut |address, bytes| {
            node.wallet
                .lock()
                .sign(address, bytes)
                .map_err(|e| format!("failed to sign message: {e}"))
        },
    )?;
    let pushed = shapes::signed(&pushed);
    if node.door.forgets_id() {
        return Err(RpcError::failed(
            "mpool push: failed to push message: error publishing message: the node is shutting down",
        ));
    }
    // Without an id of the caller's Lotus makes one up: the message is kept for the pool.
    let uuid = uuid.unwrap_or_else(uuid::Uuid::new_v4);
    let stored = node.sent.lock().put(uuid, pushed.clone());
    stored.map_err(|e| RpcError::failed(format!("the sent message could not be stored: {e}")))?;
    answer(pushed)
}

pub(super) fn get_nonce(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    answer(node.network.nonce(&address)?)
}

pub(super) fn pending(node: &Node, params: Params) -> Answer {
    chain::load(node, &params.get::<TipSetKey>(0)?)?;
    let pending = node.network.pending();
    answer(pending.iter().map(shapes::signed).collect::<Vec<_>>())
}

/// What a block on that tipset could hold. The quality of the ticket, by which producers of one
/// round avoid each other's messages, changes nothing here.
pub(super) fn select(node: &Node, params: Params) -> Answer {
    let _quality: f64 = params.get(1)?;
    let tipset = chain::load(node, &params.get::<TipSetKey>(0)?)?;
    let selected = node.network.select(&tipset.key).unwrap_or_default();
    answer(selected.iter().map(shapes::signed).collect::<Vec<_>>())
}
