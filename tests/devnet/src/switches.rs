//! Trouble on request: lost branches, null rounds, fees, lost and held messages, upgrades. What
//! a switch does to the network is what happens to a real one; only that it happens now.
use std::sync::Arc;

use anyhow::{Context, ensure};
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::message::Message;

use crate::block::Tipset;
use crate::gas;
use crate::mempool::Pending;
use crate::message::{Sign, SignedMessage, cbor_cid};
use crate::network::{HeadChange, HeadChangeKind, Network};
use crate::policy::Upgrade;
use crate::tree::Tree;

/// Versions that an upgrade may lead to: the present one and what this code has heard of.
const VERSIONS: std::ops::RangeInclusive<u32> = 27..=40;

impl Network {
    /// Loses the last `epochs` of the chain and makes `blocks` tipsets of another branch at
    /// once; more come in the ordinary way. Messages of the lost branch return to the pool, as
    /// a node does, or with `forget_pool` everything that waits is gone, as after a restore of
    /// the node; their CIDs stay known. The new head. Blocking.
    pub fn reorg(
        &self,
        epochs: ChainEpoch,
        forget_pool: bool,
        blocks: u64,
    ) -> anyhow::Result<Arc<Tipset>> {
        self.take_back(epochs, forget_pool)?;
        self.mine(blocks)?;
        Ok(self.head())
    }

    fn take_back(&self, epochs: ChainEpoch, forget_pool: bool) -> anyhow::Result<()> {
        let inner = &self.inner;
        let finality = inner.engine.policy.chain_finality;
        ensure!(
            (1..=finality).contains(&epochs),
            "a branch of {epochs} epochs cannot be lost; give 1 to {finality}, the network's finality"
        );
        let _no_new_tipset = inner.producing.lock();
        let mut pool = inner.pool.lock();
        let mut chain = inner.chain.write();
        let height = chain
            .head()
            .context("the chain has no genesis")?
            .tipset
            .height;
        ensure!(
            epochs <= height,
            "the chain has {height} epochs only, {epochs} cannot be lost"
        );
        let lost = chain.take_back(height - epochs);
        inner.rounds.lock().new_head();
        inner.ordered.lock().data.take_back(height - epochs);
        for (cid, message) in lost.iter().rev().flat_map(|node| &node.messages) {
            if forget_pool {
                pool.remember(*cid, message.clone());
            } else {
                pool.restore(Pending {
                    cid: *cid,
                    message: message.clone(),
                });
            }
        }
        if forget_pool {
            pool.forget(false);
        }
        let reverted = lost.iter().map(|node| HeadChange {
            kind: HeadChangeKind::Revert,
            tipset: node.tipset.clone(),
        });
        // told under the lock, as every change of the head; nobody listening is fine
        let _ = inner.changes.send(Arc::new(reverted.collect()));
        Ok(())
    }

    /// Makes a tipset after `n` rounds without one; the new head. Blocking.
    pub fn null_rounds(&self, n: ChainEpoch) -> anyhow::Result<Arc<Tipset>> {
        ensure!(
            (1..=10_000).contains(&n),
            "{n} null rounds cannot be made; give 1 to 10000"
        );
        self.mine_at(n + 1)
    }

    /// From the next tipset on the base fee is this one; None lets it follow the rules again,
    /// from where it stands.
    pub fn set_base_fee(&self, fee: Option<TokenAmount>) -> anyhow::Result<()> {
        let minimum = TokenAmount::from_atto(self.policy().minimum_base_fee);
        ensure!(
            fee.as_ref().is_none_or(|fee| *fee >= minimum),
            "the network's base fee is never below {} attoFIL",
            minimum.atto()
        );
        let _no_new_tipset = self.inner.producing.lock();
        if let Some(fee) = &fee {
            self.inner.chain.write().set_next_base_fee(fee.clone());
        }
        self.inner.ordered.lock().base_fee = fee;
        Ok(())
    }

    /// Loses a waiting message; its CID stays known. False when none waits under it.
    pub fn drop_message(&self, cid: &Cid) -> bool {
        self.inner.pool.lock().remove(cid).is_some()
    }

    /// Keeps one waiting message out of blocks, or lets it in again. False when none waits
    /// under that CID.
    pub fn hold_message(&self, cid: &Cid, on: bool) -> bool {
        self.inner.pool.lock().hold(cid, on)
    }

    /// Empties the pool. With `cids` the node does not even know their names any more.
    pub fn forget_pool(&self, cids: bool) {
        self.inner.pool.lock().forget(cids);
    }

    /// Another message takes the nonce of the sender's first waiting message (which is lost),
    /// or of the next one that it would send: a transfer of nothing to itself, signed by
    /// `sign`, waiting for the next block.
    pub fn take_nonce(&self, from: &Address, sign: &mut Sign<'_>) -> anyhow::Result<SignedMessage> {
        let key = self.state(&Default::default())?.account_key(from)?;
        let mut pool = self.inner.pool.lock();
        let head = self.head_node();
        let tree = Tree::at(&self.inner.engine.store, head.post_state);
        let id = tree.resolve(&key)?;
        let id = id.with_context(|| format!("{key} has no account"))?;
        let sequence = tree.must(id)?.sequence;
        let first = pool
            .first(&key)
            .map(|pending| (pending.cid, pending.message.message.clone()));
        let sequence = first.as_ref().map_or(sequence, |(_, m)| m.sequence);
        let length = fvm_ipld_encoding::to_vec(&key)?.len() * 2 + 200;
        let fee = head.next_base_fee.clone() * 10u64 + TokenAmount::from_atto(1_000_000);
        let message = Message {
            version: 0,
            from: key,
            to: key,
            sequence,
            value: TokenAmount::default(),
            method_num: 0,
            params: Default::default(),
            gas_limit: 2 * gas::message_on_chain(length),
            gas_fee_cap: fee,
            gas_premium: TokenAmount::from_atto(1_000_000),
        };
        let cid = cbor_cid(&message)?;
        let signature = sign(&key, &cid.to_bytes()).map_err(anyhow::Error::msg)?;
        let signed = SignedMessage { message, signature };
        if let Some((cid, _)) = first {
            pool.remove(&cid);
        }
        pool.restore(Pending {
            cid: signed.cid()?,
            message: signed.clone(),
        });
        Ok(signed)
    }

    /// From the epoch `height` on (None: the next one) the network is of that version. The
    /// actors' state goes on as it is; their codes are those of the version (see [`crate::codes`]).
    pub fn upgrade(&self, version: u32, height: Option<ChainEpoch>) -> anyhow::Result<ChainEpoch> {
        ensure!(
            VERSIONS.contains(&version),
            "network version {version} is not known; give {} to {}",
            VERSIONS.start(),
            VERSIONS.end()
        );
        let head = self.top().height;
        let height = height.unwrap_or(head + 1);
        ensure!(
            height > head,
            "an upgrade lies in the future: the head is at {head}"
        );
        let mut ordered = self.inner.ordered.lock();
        ordered.upgrades.retain(|known| known.height < height);
        ordered.upgrades.push(Upgrade { height, version });
        Ok(height)
    }

    /// The network's version at an epoch.
    pub fn version_at(&self, height: ChainEpoch) -> u32 {
        let ordered = self.inner.ordered.lock();
        let latest = ordered.upgrades.iter().rev().find(|u| u.height <= height);
        latest.map_or(self.policy().network_version, |u| u.version)
    }

    /// Upgrades that were ordered, oldest first.
    pub fn upgrades(&self) -> Vec<Upgrade> {
        self.inner.ordered.lock().upgrades.clone()
    }
}
