//! A network goes to disk and comes back: what of it is stored, and how it is put together
//! again. The form of the file is `snapshot`'s.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::{from_slice, to_vec};
use fvm_shared::address::{Network as AddressNetwork, set_current_network};
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::SectorSize;
use num_traits::FromPrimitive;

use crate::chain::{AcceptedPost, Chain, Node};
use crate::economy::Economy;
use crate::engine::Engine;
use crate::genesis::GENESIS_MINER;
use crate::mempool::{Mempool, Pending};
use crate::network::{BlockTime, Network, Ordered};
use crate::orders::Orders;
use crate::proofs::RealVerifier;
use crate::snapshot::{self, StoredChain, StoredConfig, StoredNode, StoredPost};
use crate::store::Store;

impl Network {
    /// Whether `repo` holds a snapshot that `load` would read.
    pub fn exists(repo: &Path) -> bool {
        snapshot::path(repo).exists()
    }

    /// Loads the snapshot; a newer, foreign or damaged one is refused with a
    /// [`snapshot::BadSnapshot`].
    pub fn load(repo: &Path) -> anyhow::Result<Network> {
        set_current_network(AddressNetwork::Testnet);
        let loaded = snapshot::read(repo)?;
        let config = loaded.config;
        let damaged = |why: &str| snapshot::BadSnapshot::Damaged {
            path: snapshot::path(repo),
            why: why.to_owned(),
        };
        config.policy.validate()?;
        let sector_size = SectorSize::from_u64(config.sector_size)
            .ok_or_else(|| damaged("its sector size is unknown"))?;
        let supply: BigInt = config.circulating_supply.parse()?;
        let store = Store::default();
        for (cid, bytes) in &loaded.blocks {
            store.put_keyed(cid, bytes)?;
        }
        let engine = Engine {
            actor_policy: config.policy.actor_policy(sector_size),
            economy: Economy::new(
                TokenAmount::from_atto(supply),
                config.policy.consensus_miner_min_power,
            ),
            policy: config.policy,
            store,
            verifier: Arc::new(RealVerifier),
            sector_size,
            seed: config.seed,
            genesis_time: config.genesis_time,
            producer: GENESIS_MINER,
        };
        let base_fee = config
            .base_fee
            .map(|fee| fee.parse::<BigInt>())
            .transpose()?;
        let ordered = Ordered {
            upgrades: config.upgrades,
            base_fee: base_fee.map(TokenAmount::from_atto),
            data: match config.data.as_str() {
                "" => Orders::default(),
                text => from_slice(&hex::decode(text)?)?,
            },
        };
        let mut chain = Chain::default();
        chain.set_forks(config.forks);
        for stored in loaded.chain.nodes {
            chain.push(Arc::new(revive(&engine, stored)?), vec![]);
        }
        chain.add_posts(loaded.chain.posts.into_iter().map(|post| {
            let accepted = AcceptedPost {
                deadline: post.deadline,
                partition: post.partition,
                epoch: post.epoch,
                message: post.message,
                sectors: post.sectors,
            };
            (post.miner, accepted)
        }));
        let head = chain.head().ok_or_else(|| damaged("it holds no tipset"))?;
        ensure!(
            engine.store.has(&head.post_state)?,
            damaged("the state of its head is missing")
        );
        let mut pool = Mempool::default();
        for message in loaded.chain.pending {
            pool.add(Pending {
                cid: message.cid()?,
                message,
            })?;
        }
        for message in loaded.chain.replaced {
            pool.remember(message.cid()?, message);
        }
        let block_time = config.block_time_ms.map_or(BlockTime::Manual, |ms| {
            BlockTime::Every(Duration::from_millis(ms))
        });
        Ok(Self::assemble(
            repo.to_owned(),
            engine,
            chain,
            pool,
            block_time,
            ordered,
        ))
    }

    /// Writes the snapshot (temporary file, then rename).
    pub fn save(&self) -> anyhow::Result<()> {
        let inner = &self.inner;
        let _no_new_tipset = inner.producing.lock();
        let ordered = inner.ordered.lock().clone();
        let config = StoredConfig {
            policy: inner.engine.policy.clone(),
            seed: inner.engine.seed,
            sector_size: inner.engine.sector_size as u64,
            genesis_time: inner.engine.genesis_time,
            block_time_ms: match self.block_time() {
                BlockTime::Every(time) => Some(time.as_millis() as u64),
                BlockTime::Manual => None,
            },
            circulating_supply: inner.engine.economy.circulating_supply.atto().to_string(),
            forks: inner.chain.read().forks(),
            upgrades: ordered.upgrades,
            base_fee: ordered.base_fee.map(|fee| fee.atto().to_string()),
            data: hex::encode(to_vec(&ordered.data)?),
        };
        let stored = {
            let pool = inner.pool.lock();
            let chain = inner.chain.read();
            let pending: Vec<_> = pool.all();
            let replaced = pool
                .all_seen()
                .filter(|(cid, _)| chain.message(cid).is_none())
                .filter(|(cid, _)| pending.iter().all(|p| p.cid != **cid))
                .map(|(_, message)| message.clone())
                .collect();
            StoredChain {
                config: serde_json::to_string(&config)?,
                nodes: chain.nodes().iter().map(|n| store_form(n)).collect(),
                posts: chain
                    .posts()
                    .iter()
                    .map(|(miner, post)| StoredPost {
                        miner: *miner,
                        deadline: post.deadline,
                        partition: post.partition,
                        epoch: post.epoch,
                        message: post.message,
                        sectors: post.sectors.clone(),
                    })
                    .collect(),
                pending: pending.into_iter().map(|p| p.message).collect(),
                replaced,
            }
        };
        snapshot::write(&inner.repo, &stored, &inner.engine.store.export())
    }
}

fn store_form(node: &Node) -> StoredNode {
    StoredNode {
        blocks: node.tipset.blocks.clone(),
        messages: node.messages.iter().map(|(_, m)| m.clone()).collect(),
        receipts: node.receipts.clone(),
        receipts_root: node.receipts_root,
        post_state: node.post_state,
        next_base_fee: node.next_base_fee.clone(),
    }
}

fn revive(engine: &Engine, stored: StoredNode) -> anyhow::Result<Node> {
    let [header] = <[_; 1]>::try_from(stored.blocks)
        .map_err(|blocks| anyhow!("a tipset of {} blocks was stored", blocks.len()))?;
    let messages = stored
        .messages
        .into_iter()
        .map(|message| Ok((message.cid()?, message)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Node {
        tipset: Arc::new(engine.seal_header(header)?),
        messages,
        receipts: stored.receipts,
        receipts_root: stored.receipts_root,
        post_state: stored.post_state,
        next_base_fee: stored.next_base_fee,
    })
}
