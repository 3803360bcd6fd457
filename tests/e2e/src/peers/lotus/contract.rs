//! The contract on this network: a node that is driven as the devnet is, by holding its producer,
//! and the scene that the questions speak of.

use super::{
    branch::{Pool, lose_above, take_nonce},
    chain::Chain,
    network::{Network, PRODUCER},
};
use crate::{node::PRE_COMMIT, wait};
use anyhow::{Context, Result};
use damocles_devnet::contract::{Asked, Asking, Driven, Live, Reply, Scene, Token, histories};
use damocles_node::SignedMessage;
use damocles_types::{ActorId, Epoch};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A producer may have to start first.
const BLOCKS: Duration = Duration::from_secs(180);
/// A CID of nothing.
const UNKNOWN: &str = "bafy2bzacedtajipvj3frgzl5xq5lv43dn2skxidldw7hzxrswg6c65acgp5f4";

/// What a history wants of the network.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Grow(u64),
    TakeNonce,
    EmptyPool,
    /// What was made last.
    LoseBranch,
}

/// The node that is asked; its wishes go to the one who holds the network.
#[derive(Debug)]
struct Held {
    live: Live,
    people: (String, String),
    wishes: mpsc::Sender<(Wish, oneshot::Sender<()>)>,
}

impl Held {
    /// Panics when the network cannot do it: the history would be another one.
    async fn wish(&self, wish: Wish) -> bool {
        let (done, heard) = oneshot::channel();
        let sent = self.wishes.send((wish, done)).await;
        assert!(
            sent.is_ok() && heard.await.is_ok(),
            "{wish:?} cannot be done"
        );
        true
    }
}

impl Asked for Held {
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        self.live.ask(token, method, params).await
    }
}

impl Driven for Held {
    fn sender(&self) -> String {
        self.people.0.clone()
    }

    fn receiver(&self) -> String {
        self.people.1.clone()
    }

    async fn mine(&self, blocks: u64) {
        self.wish(Wish::Grow(blocks)).await;
    }

    async fn take_nonce(&self) -> bool {
        self.wish(Wish::TakeNonce).await
    }

    async fn lose(&self, _: &Value) -> bool {
        self.wish(Wish::EmptyPool).await
    }

    async fn lose_branch(&self, _: i64) -> bool {
        self.wish(Wish::LoseBranch).await
    }
}

/// Tells the histories with a funded key that nobody else sends from. The chain goes on afterwards.
pub(super) async fn tell(network: &Network, sender: &str, receiver: &str) -> Result<Asking> {
    let (wishes, mut wished) = mpsc::channel::<(Wish, oneshot::Sender<()>)>(1);
    let held = Held {
        live: Live::new(network.address(), network.token()?),
        people: (sender.to_owned(), receiver.to_owned()),
        wishes,
    };
    network.hold();
    let mut last = network.chain()?.height().await?;
    let told = histories(&held);
    tokio::pin!(told);
    let told = loop {
        tokio::select! {
            told = &mut told => break told,
            Some((wish, done)) = wished.recv() => {
                match wish {
                    Wish::Grow(blocks) => last = grow(network, blocks, sender).await?,
                    Wish::TakeNonce => drop(take_nonce(network, sender, receiver).await?),
                    Wish::EmptyPool => network.chain()?.empty_the_pool().await?,
                    Wish::LoseBranch => {
                        lose_above(network, last, Pool::Emptied, sender).await?;
                    }
                }
                // the history may have panicked; then this is not reached
                let _ = done.send(());
            }
        }
    };
    network.go_on();
    Ok(told)
}

/// Lets blocks be made, then holds the chain again; where it was before. One more than was asked
/// for: the producer has the next one ready before its time, without what waits now.
async fn grow(network: &Network, blocks: u64, sender: &str) -> Result<Epoch> {
    let chain = network.chain()?;
    let begin = chain.height().await?;
    let end = begin.saturating_add_unsigned(blocks + 1);
    network.go_on();
    let grown = wait::until(format!("epoch {end}"), BLOCKS, async || {
        Ok((chain.height().await? >= end).then_some(()))
    })
    .await;
    network.hold();
    grown?;
    // the pool hears some seconds late of what has landed, and talks of it as waiting until then
    wait::until("the pool to follow the head", BLOCKS, async || {
        let next = chain.nonce(sender).await?;
        let waiting = chain.waiting(sender).await?;
        let late = waiting.iter().any(|signed| signed.message.nonce < next);
        Ok((!late).then_some(()))
    })
    .await?;
    Ok(begin)
}

/// Who and what the story has brought about so far.
#[derive(Clone, Debug)]
pub(super) struct Brought<'a> {
    pub(super) miner: ActorId,
    /// One that has no power.
    pub(super) powerless: ActorId,
    /// A token that allows everything.
    pub(super) token: &'a str,
    pub(super) worker: &'a str,
    pub(super) other: &'a str,
    /// A sector that is proven.
    pub(super) proven: u64,
    /// One that is precommitted and not proven, if there is one.
    pub(super) precommitted: Option<u64>,
    /// The message that lost its nonce, and the one that took it.
    pub(super) nonce: &'a (SignedMessage, SignedMessage),
}

/// The names that questions speak of.
pub(super) async fn scene(chain: &Chain, brought: &Brought<'_>) -> Result<Scene> {
    let miner = json!(format!("t0{}", brought.miner));
    let head = chain.head().await?;
    let place = chain.node.location(brought.miner, brought.proven).await?;
    let landed = chain
        .to_miners(&[brought.miner], 0)
        .await?
        .into_iter()
        .find(|e| e.message.method == PRE_COMMIT && e.sectors().contains(&brought.proven))
        .context("the precommit of a proven sector")?;
    let worker_id: Value = chain
        .rpc
        .call(
            damocles_node::method::STATE_LOOKUP_ID,
            [json!(brought.worker), Value::Null],
        )
        .await?;
    let version: Value = chain
        .rpc
        .call(damocles_node::method::STATE_NETWORK_VERSION, [Value::Null])
        .await?;
    let (lost, taker) = brought.nonce;
    let cid = |signed: &SignedMessage| json!(signed.cid().to_string());
    let mut scene = Scene::from([
        ("miner", miner),
        ("miner_id", json!(brought.miner)),
        ("worker", json!(brought.worker)),
        ("worker_id", worker_id),
        ("other", json!(brought.other)),
        ("nobody", json!("t099999")),
        ("token", json!(brought.token)),
        ("version", version),
        ("producer", json!(PRODUCER)),
        ("powerless", json!(format!("t0{}", brought.powerless))),
        ("sector", json!(brought.proven)),
        ("unknown_sector", json!(999)),
        ("deadline", json!(place.deadline)),
        ("empty_deadline", json!((place.deadline + 20) % 48)),
        ("height", json!(head.height - 2)),
        ("future", json!(head.height + 500)),
        ("head_height", json!(head.height)),
        ("head", json!(head.cids)),
        ("block", json!(head.cids)[0].clone()),
        ("unknown_cid", json!(UNKNOWN)),
        ("landed", json!(landed.message.cid().to_string())),
        ("short", json!(4)),
        ("taken", cid(lost)),
        ("taker", cid(taker)),
        ("taken_nonce", json!(lost.message.nonce)),
    ]);
    if let Some(precommitted) = brought.precommitted {
        scene.insert("precommitted", json!(precommitted));
    }
    Ok(scene)
}
