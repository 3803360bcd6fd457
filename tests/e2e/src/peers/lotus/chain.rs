//! What is asked of a real node: its head, what it executed and with what outcome, who may send
//! what, and the branches of its chain.

use crate::{node::Node, rpc::Rpc};
use anyhow::{Context, Result, ensure};
use damocles_devnet::message::named_sectors;
use damocles_node::{Message, MessageReceipt, SignedMessage, TipSet, TipSetKey, method};
use damocles_types::{ActorId, Epoch};
use fil_actor_miner_state::v18::SubmitWindowedPoStParams;
use fvm_shared::{address::Address, econ::TokenAmount};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap};

/// Method number of SubmitWindowedPoSt.
pub(super) const WINDOW_POST: u64 = 5;

/// A message that the chain executed.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    /// Height of the tipset that holds it.
    pub(super) epoch: Epoch,
    pub(super) message: Message,
    /// 0 is success.
    pub(super) exit_code: i64,
}

impl Executed {
    /// The sectors that its parameters name.
    pub(super) fn sectors(&self) -> Vec<u64> {
        named_sectors(self.message.method, &self.message.params)
    }

    /// The deadline of a WindowPoSt.
    pub(super) fn deadline(&self) -> Option<u64> {
        if self.message.method != WINDOW_POST {
            return None;
        }
        let params: SubmitWindowedPoStParams = self.message.params.deserialize().ok()?;
        Some(params.deadline)
    }
}

/// One message of `ChainGetParentMessages`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParentMessage {
    message: Message,
}

/// A node's door.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) rpc: Rpc,
    /// What can be asked of the devnet, too.
    pub(super) node: Node,
    /// What was executed below a tipset: it never changes.
    below: RefCell<BTreeMap<String, Below>>,
}

#[derive(Clone, Debug)]
struct Below {
    executed: Vec<Executed>,
    parent: TipSet,
}

impl Chain {
    pub(super) fn new(rpc: Rpc) -> Self {
        Self {
            node: Node { rpc: rpc.clone() },
            rpc,
            below: RefCell::default(),
        }
    }

    pub(super) async fn head(&self) -> Result<TipSet> {
        self.rpc.call(method::CHAIN_HEAD, []).await
    }

    pub(super) async fn height(&self) -> Result<Epoch> {
        Ok(self.head().await?.height)
    }

    /// Everything that the chain executed above `since`, oldest first.
    pub(super) async fn executed(&self, since: Epoch) -> Result<Vec<Executed>> {
        let mut tipset = self.head().await?;
        let mut all = Vec::new();
        while tipset.height > since {
            let below = self.below(&tipset).await?;
            all.extend(below.executed.into_iter().rev());
            tipset = below.parent;
        }
        all.reverse();
        all.retain(|executed| executed.epoch > since);
        Ok(all)
    }

    /// What the parents of a tipset held: their outcome is in its state.
    async fn below(&self, tipset: &TipSet) -> Result<Below> {
        let name = json!(tipset.cids).to_string();
        let known = self.below.borrow().get(&name).cloned();
        if let Some(below) = known {
            return Ok(below);
        }
        let block = json!(tipset.cids)[0].clone();
        let first = tipset.blocks.first().context("a tipset has a block")?;
        let parents = TipSetKey(first.parents.clone());
        let parent: TipSet = self
            .rpc
            .call(method::CHAIN_GET_TIP_SET, [json!(parents)])
            .await?;
        let messages: Option<Vec<ParentMessage>> = self
            .rpc
            .call("Filecoin.ChainGetParentMessages", [block.clone()])
            .await?;
        let receipts: Option<Vec<MessageReceipt>> = self
            .rpc
            .call("Filecoin.ChainGetParentReceipts", [block])
            .await?;
        let (messages, receipts) = (messages.unwrap_or_default(), receipts.unwrap_or_default());
        ensure!(
            messages.len() == receipts.len(),
            "{} messages have {} receipts",
            messages.len(),
            receipts.len()
        );
        let executed = messages.into_iter().zip(receipts);
        let below = Below {
            executed: executed
                .map(|(parent_message, receipt)| Executed {
                    epoch: parent.height,
                    message: parent_message.message,
                    exit_code: receipt.exit_code,
                })
                .collect(),
            parent,
        };
        self.below.borrow_mut().insert(name, below.clone());
        Ok(below)
    }

    /// Messages to the miners that the chain executed above `since`.
    pub(super) async fn to_miners(
        &self,
        miners: &[ActorId],
        since: Epoch,
    ) -> Result<Vec<Executed>> {
        let mut all = self.executed(since).await?;
        let ids: Vec<Address> = miners.iter().map(|id| Address::new_id(*id)).collect();
        all.retain(|executed| ids.contains(&executed.message.to));
        Ok(all)
    }

    /// The number that another message of the address must have, by the state of the head.
    pub(super) async fn nonce(&self, address: &str) -> Result<u64> {
        let actor: damocles_node::ActorState = self
            .rpc
            .call(method::STATE_GET_ACTOR, [json!(address), Value::Null])
            .await?;
        Ok(actor.nonce)
    }

    /// Messages of the address that wait for a block.
    pub(super) async fn waiting(&self, from: &str) -> Result<Vec<SignedMessage>> {
        let all: Vec<SignedMessage> = self.rpc.call(method::MPOOL_PENDING, [Value::Null]).await?;
        let from = damocles_node::wire::parse_address(from)?;
        Ok(all
            .into_iter()
            .filter(|signed| signed.message.from == from)
            .collect())
    }

    /// The pool of the node has nothing any more, of nobody.
    pub(super) async fn empty_the_pool(&self) -> Result<()> {
        self.rpc
            .call::<Value>("Filecoin.MpoolClear", [json!(true)])
            .await
            .map(drop)
    }

    /// Sends by the node's wallet; nonce, gas and fees are the node's to choose.
    pub(super) async fn send(&self, message: &Message) -> Result<SignedMessage> {
        let params = [json!(message), Value::Null];
        self.rpc.call(method::MPOOL_PUSH_MESSAGE, params).await
    }

    /// Signs a message with the nonce that it has, by the node's wallet, and pushes it.
    pub(super) async fn send_as_it_is(&self, mut message: Message) -> Result<SignedMessage> {
        let asked = [json!(message), Value::Null, Value::Null];
        let estimated: Message = self
            .rpc
            .call(method::GAS_ESTIMATE_MESSAGE_GAS, asked)
            .await?;
        message.gas_limit = estimated.gas_limit;
        message.gas_fee_cap = estimated.gas_fee_cap;
        message.gas_premium = estimated.gas_premium;
        let from = message.from.to_string();
        let signed: SignedMessage = self
            .rpc
            .call(method::WALLET_SIGN_MESSAGE, [json!(from), json!(message)])
            .await?;
        self.rpc
            .call::<Value>(method::MPOOL_PUSH, [json!(signed)])
            .await?;
        Ok(signed)
    }

    /// A new key of the wallet (`bls` or `secp256k1`), without funds.
    pub(super) async fn new_key(&self, kind: &str) -> Result<String> {
        self.rpc.call(method::WALLET_NEW, [json!(kind)]).await
    }

    pub(super) async fn balance(&self, key: &str) -> Result<TokenAmount> {
        let told: damocles_node::W<TokenAmount> =
            self.rpc.call(method::WALLET_BALANCE, [json!(key)]).await?;
        Ok(told.0)
    }

    /// The tipset of that height, or the one before it after a null round.
    pub(super) async fn tipset_at(&self, height: Epoch) -> Result<TipSet> {
        let params = [json!(height), Value::Null];
        self.rpc
            .call(method::CHAIN_GET_TIP_SET_BY_HEIGHT, params)
            .await
    }

    /// Everything above `height` is no longer the chain, and never will be again: the node takes
    /// its blocks for bad. Who makes blocks must stand still or be away.
    pub(super) async fn go_back_to(&self, height: Epoch) -> Result<()> {
        let base = self.tipset_at(height).await?;
        let after = [json!(height + 1), Value::Null];
        let lost: TipSet = self
            .rpc
            .call(method::CHAIN_GET_TIP_SET_AFTER_HEIGHT, after)
            .await?;
        for block in &lost.cids.0 {
            let params = [json!(damocles_node::W(*block))];
            self.rpc
                .call::<Value>("Filecoin.SyncMarkBad", params)
                .await?;
        }
        self.rpc
            .call::<Value>("Filecoin.ChainSetHead", [json!(base.cids)])
            .await?;
        let height = self.height().await?;
        ensure!(
            height == base.height,
            "the head is at {height}, not at {}",
            base.height
        );
        Ok(())
    }
}
