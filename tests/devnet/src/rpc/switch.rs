//! `Devnet.*` switches: trouble that a test orders. Those of the chain and the pool are of the
//! whole network, the others of the endpoint that they are sent to.

use std::time::Duration;

use damocles_node::W;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

use super::call::{Answer, Params, RpcError, answer};
use super::devnet::MAX_MINE;
use super::door::LONGEST;
use super::node::Node;
use super::shapes;

pub(super) fn reorg(node: &Node, params: Params) -> Answer {
    let epochs: ChainEpoch = params.get(0)?;
    let forget_pool: Option<bool> = params.get(1)?;
    let blocks: u64 = params.get::<Option<_>>(2)?.unwrap_or_default();
    if blocks > MAX_MINE {
        return Err(RpcError::failed(format!(
            "{blocks} blocks at once are too many; ask for at most {MAX_MINE}"
        )));
    }
    let head = node
        .network
        .reorg(epochs, forget_pool.unwrap_or_default(), blocks)?;
    answer(shapes::tipset(&head))
}

pub(super) fn null_rounds(node: &Node, params: Params) -> Answer {
    answer(shapes::tipset(&*node.network.null_rounds(params.get(0)?)?))
}

pub(super) fn set_base_fee(node: &Node, params: Params) -> Answer {
    let W(fee) = params.get(0)?;
    answer(node.network.set_base_fee(fee)?)
}

pub(super) fn drop_message(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    answer(node.network.drop_message(&cid))
}

pub(super) fn hold_message(node: &Node, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    answer(node.network.hold_message(&cid, params.get(1)?))
}

pub(super) fn forget_pool(node: &Node, params: Params) -> Answer {
    let all = params.get::<Option<bool>>(0)?.unwrap_or_default();
    node.network.forget_pool(all);
    if all {
        node.sent.lock().forget().map_err(|e| {
            RpcError::failed(format!("the sent messages could not be forgotten: {e}"))
        })?;
    }
    answer(())
}

pub(super) fn take_nonce(node: &Node, params: Params) -> Answer {
    let W(from): W<Address> = params.get(0)?;
    let taken = node.network.take_nonce(&from, &mut |address, bytes| {
        let wallet = node.wallet.lock();
        wallet.sign(address, bytes).map_err(|e| e.to_string())
    })?;
    answer(shapes::signed(&taken))
}

pub(super) fn upgrade_network(node: &Node, params: Params) -> Answer {
    answer(node.network.upgrade(params.get(0)?, params.get(1)?)?)
}

fn limited(milliseconds: u64) -> Result<Duration, RpcError> {
    let time = Duration::from_millis(milliseconds);
    if time > LONGEST {
        return Err(RpcError::failed(format!(
            "{milliseconds} ms are too long; give at most {}",
            LONGEST.as_millis()
        )));
    }
    Ok(time)
}

pub(super) fn set_behind(node: &Node, params: Params) -> Answer {
    node.network.set_behind(params.get(0)?);
    answer(())
}

pub(super) fn stall(node: &Node, params: Params) -> Answer {
    node.door.stall(params.get(0)?, limited(params.get(1)?)?);
    answer(())
}

pub(super) fn fail(node: &Node, params: Params) -> Answer {
    let message: String = params.get(2)?;
    let count = params.get::<Option<u64>>(3)?.unwrap_or(u64::MAX);
    let error = RpcError::new(params.get(1)?, message);
    node.door.refuse(params.get(0)?, error, count);
    answer(())
}

pub(super) fn lose_answers(node: &Node, params: Params) -> Answer {
    node.door.lose_answers(params.get(0)?, params.get(1)?);
    answer(())
}

pub(super) fn outage(node: &Node, params: Params) -> Answer {
    let time = match params.get::<Option<u64>>(0)? {
        Some(milliseconds) => limited(milliseconds)?,
        None => LONGEST,
    };
    node.door.outage(time);
    answer(())
}

pub(super) fn hold_pushes(node: &Node, params: Params) -> Answer {
    answer(node.door.hold_pushes(params.get(0)?))
}

pub(super) fn lose_ids(node: &Node, params: Params) -> Answer {
    node.door.forget_ids(params.get(0)?);
    answer(())
}
