//! What tests and the demo ask of the devnet: the chain's own view of a miner, and the
//! devnet's record of what it accepted.

use crate::{rpc::Rpc, wait};
use anyhow::Result;
use cid::Cid;
use damocles_node::{
    ActorState, DeadlineInfo, Message, Partition, SectorLocation, SectorOnChainInfo, SignedMessage,
    TipSet, TipSetKey,
    devnet::{MessageRecord, PostRecord},
    method, wire,
};
use damocles_types::{ActorId, Epoch};
use fvm_ipld_bitfield::BitField;
use fvm_shared::bigint::BigInt;
use serde_json::{Value, json};
use std::time::Duration;

/// Method number of PreCommitSectorBatch2.
pub const PRE_COMMIT: u64 = 28;
/// Method number of ProveCommitSectors3.
pub const PROVE_COMMIT: u64 = 34;

/// The devnet, asked through its RPC.
#[derive(Clone, Debug)]
pub struct Node {
    pub rpc: Rpc,
}

fn address(miner: ActorId) -> Value {
    json!(format!("t0{miner}"))
}

impl Node {
    pub async fn epoch(&self) -> Result<Epoch> {
        let head: TipSet = self.rpc.call(method::CHAIN_HEAD, []).await?;
        Ok(head.height)
    }

    /// The sector as an active one, once its proof landed.
    pub async fn sector(&self, miner: ActorId, number: u64) -> Result<Option<SectorOnChainInfo>> {
        let params = [address(miner), json!(number), Value::Null];
        self.rpc.call(method::STATE_SECTOR_GET_INFO, params).await
    }

    /// Deadline and partition of an active sector.
    pub async fn location(&self, miner: ActorId, number: u64) -> Result<SectorLocation> {
        let params = [address(miner), json!(number), Value::Null];
        self.rpc.call(method::STATE_SECTOR_PARTITION, params).await
    }

    pub async fn deadline(&self, miner: ActorId) -> Result<DeadlineInfo> {
        let params = [address(miner), Value::Null];
        self.rpc
            .call(method::STATE_MINER_PROVING_DEADLINE, params)
            .await
    }

    /// The epoch at which the next window of an active sector opens.
    pub async fn next_opening(&self, miner: ActorId, number: u64) -> Result<Epoch> {
        let now = self.deadline(miner).await?;
        let place = self.location(miner, number).await?;
        let opens = now.period_start + place.deadline as i64 * now.wpost_challenge_window;
        let passed = opens <= now.current_epoch;
        Ok(opens + if passed { now.wpost_proving_period } else { 0 })
    }

    pub async fn faults(&self, miner: ActorId) -> Result<Vec<u64>> {
        let params = [address(miner), Value::Null];
        let faults: wire::W<BitField> = self.rpc.call(method::STATE_MINER_FAULTS, params).await?;
        Ok(faults.0.iter().collect())
    }

    /// WindowPoSts that the chain accepted, oldest first.
    pub async fn posts(&self, miner: ActorId) -> Result<Vec<PostRecord>> {
        self.rpc.call(method::DEVNET_POSTS, [address(miner)]).await
    }

    /// Messages on chain to the miner, of one method, that name the sector; oldest first,
    /// failed ones included.
    pub async fn messages(
        &self,
        miner: ActorId,
        method: u64,
        sector: u64,
    ) -> Result<Vec<MessageRecord>> {
        let mut all = self.all_messages(miner, method).await?;
        all.retain(|message| message.sectors.contains(&sector));
        Ok(all)
    }

    /// The same of whichever sectors.
    pub async fn all_messages(&self, miner: ActorId, method: u64) -> Result<Vec<MessageRecord>> {
        let params = [address(miner), json!(method)];
        self.rpc.call(method::DEVNET_MESSAGES, params).await
    }

    /// Messages to the miner that wait for a block.
    pub async fn pending(&self, miner: ActorId, method: u64) -> Result<Vec<SignedMessage>> {
        let all: Vec<SignedMessage> = self.rpc.call(method::MPOOL_PENDING, [Value::Null]).await?;
        let to = wire::parse_address(&format!("t0{miner}"))?;
        Ok(all
            .into_iter()
            .filter(|m| m.message.to == to && m.message.method == method)
            .collect())
    }

    /// While held, blocks carry no messages; the pool still takes them.
    pub async fn hold_messages(&self, on: bool) -> Result<()> {
        self.rpc
            .call::<Value>(method::DEVNET_HOLD_MESSAGES, [json!(on)])
            .await
            .map(drop)
    }

    /// Calls one of the devnet's switches that answer with nothing of use to a test.
    async fn switch(&self, method: &str, params: impl IntoIterator<Item = Value>) -> Result<()> {
        self.rpc.call::<Value>(method, params).await.map(drop)
    }

    /// Makes so many blocks at once.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.switch(method::DEVNET_MINE, [json!(blocks)]).await
    }

    /// The last `epochs` are lost; their messages return to the pool, or with `forget_pool` the
    /// pool is empty afterwards.
    pub async fn reorg(&self, epochs: Epoch, forget_pool: bool) -> Result<()> {
        let params = [json!(epochs), json!(forget_pool), json!(0)];
        self.switch(method::DEVNET_REORG, params).await
    }

    /// The last `epochs` are lost, and another branch of that length is there at once.
    pub async fn other_branch(&self, epochs: Epoch) -> Result<()> {
        let params = [json!(epochs), json!(false), json!(epochs)];
        self.switch(method::DEVNET_REORG, params).await
    }

    /// This endpoint's head is so many epochs below the network's.
    pub async fn set_behind(&self, epochs: Epoch) -> Result<()> {
        self.switch(method::DEVNET_SET_BEHIND, [json!(epochs)])
            .await
    }

    /// attoFIL per gas unit from the next tipset on; None: by the rules, from where it stands.
    pub async fn set_base_fee(&self, fee: Option<u64>) -> Result<()> {
        let fee = fee.map(|fee| fee.to_string());
        self.switch(method::DEVNET_SET_BASE_FEE, [json!(fee)]).await
    }

    /// The tipset of an epoch.
    pub async fn tipset(&self, height: Epoch) -> Result<TipSet> {
        let params = [json!(height), Value::Null];
        self.rpc
            .call(method::CHAIN_GET_TIP_SET_BY_HEIGHT, params)
            .await
    }

    /// Partitions of a deadline before the messages of a tipset.
    pub async fn partitions(
        &self,
        miner: ActorId,
        deadline: u64,
        tip: &TipSetKey,
    ) -> Result<Vec<Partition>> {
        let params = [address(miner), json!(deadline), json!(tip)];
        // none are `null`, as Go writes them
        let found: Option<_> = self
            .rpc
            .call(method::STATE_MINER_PARTITIONS, params)
            .await?;
        Ok(found.unwrap_or_default())
    }

    /// What a miner has in attoFIL, before the messages of a tipset.
    pub async fn funds(&self, miner: ActorId, tip: &TipSetKey) -> Result<BigInt> {
        let params = [address(miner), json!(tip)];
        let actor: ActorState = self.rpc.call(method::STATE_GET_ACTOR, params).await?;
        Ok(actor.balance.atto().clone())
    }

    /// A message that the chain or the pool has.
    pub async fn message(&self, cid: &Cid) -> Result<Message> {
        let params = [json!(wire::W(*cid))];
        self.rpc.call(method::CHAIN_GET_MESSAGE, params).await
    }

    /// Another message of the sender takes the nonce of its first one in the pool.
    pub async fn take_nonce(&self, from: &str) -> Result<()> {
        self.switch(method::DEVNET_TAKE_NONCE, [json!(from)]).await
    }

    /// The node answers nobody for so long; its chain goes on.
    pub async fn outage(&self, time: Duration) -> Result<()> {
        let params = [json!(time.as_millis() as u64)];
        self.switch(method::DEVNET_OUTAGE, params).await
    }

    /// The key that the miner sends with.
    pub async fn key(&self) -> Result<String> {
        self.rpc.call(method::WALLET_DEFAULT_ADDRESS, []).await
    }

    /// A key without funds.
    pub async fn new_key(&self) -> Result<String> {
        self.rpc
            .call(method::WALLET_NEW, [json!("secp256k1")])
            .await
    }

    /// attoFIL.
    pub async fn balance(&self, key: &str) -> Result<u128> {
        let balance: String = self.rpc.call(method::WALLET_BALANCE, [json!(key)]).await?;
        Ok(balance.parse()?)
    }

    /// Sends everything from one key to the other but for `rest`, and waits until it is there.
    pub async fn send_all_but(&self, rest: u128, from: &str, to: &str) -> Result<()> {
        let value = self.balance(from).await? - rest;
        self.send(value, from, to).await
    }

    /// Sends attoFIL from a key of the node's, and waits until they are there.
    pub async fn send(&self, value: u128, from: &str, to: &str) -> Result<()> {
        let before = self.balance(to).await?;
        let message = json!({
            "Version": 0, "To": to, "From": from, "Nonce": 0, "Value": value.to_string(),
            "GasLimit": 0, "GasFeeCap": "0", "GasPremium": "0", "Method": 0, "Params": null,
        });
        self.switch(method::MPOOL_PUSH_MESSAGE, [message, Value::Null])
            .await?;
        wait::until(
            format!("{value} attoFIL to reach {to}"),
            Duration::from_secs(60),
            async || Ok((self.balance(to).await? >= before + value).then_some(())),
        )
        .await
    }

    /// Time between two blocks.
    pub async fn set_block_time(&self, time: Duration) -> Result<()> {
        self.rpc
            .call::<Value>(
                method::DEVNET_SET_BLOCK_TIME,
                [json!(time.as_millis() as u64)],
            )
            .await
            .map(drop)
    }
}
