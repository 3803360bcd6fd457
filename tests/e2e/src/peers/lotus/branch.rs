//! What befalls a chain: a branch is lost, the pool forgets, another message takes a nonce.

use super::{chain::Chain, network::Network};
use crate::wait;
use anyhow::{Context, Result, ensure};
use damocles_node::{Message, SignedMessage, method, wire};
use damocles_types::Epoch;
use fvm_shared::econ::TokenAmount;
use serde_json::json;
use std::time::Duration;

/// A node's pool follows its head some seconds late.
const POOL: Duration = Duration::from_secs(20);

/// Whether the pool survives the loss of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// What was on the branch waits again.
    Kept,
    /// As on a node that sat on the branch and was restored.
    Emptied,
}

/// The chain is what it was at `height`, and takes another way from there once the network goes on;
/// it is held until then. `sender` has messages on the branch.
///
/// The producer makes no second block for an epoch, for which it would be left out: the new branch
/// has null rounds where the old one had its blocks. It knows only of blocks that it made since it
/// was started.
pub(super) async fn lose_above(
    network: &Network,
    height: Epoch,
    pool: Pool,
    sender: &str,
) -> Result<()> {
    network.hold();
    let since = network.producing_since();
    ensure!(
        height >= since,
        "the producer has forgotten what it made before {since}, and {height} is to be the head"
    );
    let chain = network.chain()?;
    let used = chain.nonce(sender).await?;
    chain.go_back_to(height).await?;
    let free = chain.nonce(sender).await?;
    if free < used {
        // the node brings them back by itself, late; what it brings after they were cleared stays
        wait::until("the pool to follow the head", POOL, async || {
            Ok((!chain.waiting(sender).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    if pool == Pool::Emptied {
        empty(&chain, sender).await?;
    }
    Ok(())
}

async fn empty(chain: &Chain, sender: &str) -> Result<()> {
    wait::until("the pool to be empty", POOL, async || {
        chain.empty_the_pool().await?;
        Ok(chain.waiting(sender).await?.is_empty().then_some(()))
    })
    .await
}

/// Another message of the sender takes the nonce of the first one that waits, and everything that
/// waited is forgotten: the one that lost it, and the one that took it. The chain must be held.
pub(super) async fn take_nonce(
    network: &Network,
    sender: &str,
    receiver: &str,
) -> Result<(SignedMessage, SignedMessage)> {
    ensure!(network.is_held(), "the chain must stand still for this");
    let chain = network.chain()?;
    let waiting = chain.waiting(sender).await?;
    empty(&chain, sender).await?;
    // the pool counts what the head holds, which the state of the head does not
    let next: u64 = chain
        .rpc
        .call(method::MPOOL_GET_NONCE, [json!(sender)])
        .await?;
    let lost = waiting
        .into_iter()
        .find(|signed| signed.message.nonce == next)
        .with_context(|| format!("nothing with nonce {next} waits"))?;
    let mut other = Message::send(
        lost.message.from,
        wire::parse_address(receiver)?,
        TokenAmount::from_atto(1),
    );
    other.nonce = lost.message.nonce;
    let taker = chain.send_as_it_is(other).await?;
    Ok((lost, taker))
}
