//! The network as its RPC server sees it: the chain, the message pool and the block
//! producer behind one handle. Decisions are made below; this floor only orders them.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use cid::Cid;
use fvm_shared::address::{Address, Network as AddressNetwork, set_current_network};
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::receipt::Receipt;
use fvm_shared::sector::SectorSize;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::block::{BeaconEntry, Tipset, TipsetKey};
use crate::chain::{AcceptedPost, Chain, Lookup, Node};
use crate::economy::Economy;
use crate::engine::{Engine, Made};
use crate::genesis::{self, Endowment, GENESIS_MINER};
use crate::mempool::Mempool;
use crate::message::SignedMessage;
use crate::policy::{NetworkPolicy, proofs};
use crate::preseal;
use crate::proofs::{RealVerifier, Verifier};
use crate::randomness::{beacon_entry, beacon_round};
use crate::store::Store;
use crate::view::{StateError, StateView};

/// Head changes that a slow subscriber may fall behind before it loses some.
const SUBSCRIBER_BACKLOG: usize = 1024;

/// How often blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTime {
    Every(Duration),
    /// Only by `mine`.
    Manual,
}

/// What a new network is made from.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Home of the network: presealed files and snapshot live under it.
    pub repo: PathBuf,
    pub policy: NetworkPolicy,
    pub seed: [u8; 32],
    pub block_time: BlockTime,
    pub sector_size: SectorSize,
    /// Sectors active at genesis.
    pub preseal: u64,
    /// Key addresses of the genesis miner t01000.
    pub owner: Address,
    pub worker: Address,
    /// Key addresses with their funds at genesis (owner and worker included).
    pub funded: Vec<(Address, TokenAmount)>,
    /// Unix seconds of the genesis block; None takes the clock.
    pub genesis_time: Option<u64>,
}

/// A change of the head, in the order in which ChainNotify tells them.
#[derive(Clone, Debug)]
pub struct HeadChange {
    pub kind: HeadChangeKind,
    pub tipset: Arc<Tipset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadChangeKind {
    Current,
    Apply,
    Revert,
}

/// What a subscriber gets first, and what comes after it without a gap.
#[derive(Debug)]
pub struct Subscription {
    pub current: HeadChange,
    pub changes: broadcast::Receiver<Arc<Vec<HeadChange>>>,
}

/// Handle of a running network; clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) repo: PathBuf,
    pub(crate) engine: Arc<Engine>,
    /// Written only by who holds `producing` and `pool`.
    pub(crate) chain: Arc<RwLock<Chain>>,
    pub(crate) pool: Mutex<Mempool>,
    /// Held while a tipset is made.
    pub(crate) producing: Mutex<()>,
    changes: broadcast::Sender<Arc<Vec<HeadChange>>>,
    block_time: watch::Sender<BlockTime>,
    hold: AtomicBool,
}

impl Network {
    /// Makes genesis (sealing `preseal` sectors with the real proofs library). Blocking.
    pub fn create(config: NetworkConfig) -> anyhow::Result<Network> {
        Self::create_with(config, Arc::new(RealVerifier))
    }

    pub(crate) fn create_with(
        config: NetworkConfig,
        verifier: Arc<dyn Verifier>,
    ) -> anyhow::Result<Network> {
        config.policy.validate()?;
        set_current_network(AddressNetwork::Testnet);
        std::fs::create_dir_all(&config.repo)
            .with_context(|| format!("could not make the directory {}", config.repo.display()))?;
        let supply = config.funded.iter().map(|(_, funds)| funds).sum();
        let genesis_time = match config.genesis_time {
            Some(seconds) => seconds,
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .context("the clock stands before 1970")?
                .as_secs(),
        };
        let economy = Economy::new(supply, config.policy.consensus_miner_min_power);
        let engine = Engine {
            store: Store::default(),
            actor_policy: config.policy.actor_policy(config.sector_size),
            policy: config.policy,
            economy,
            verifier,
            sector_size: config.sector_size,
            seed: config.seed,
            genesis_time,
            producer: GENESIS_MINER,
        };
        let (seals, _) = proofs(config.sector_size);
        let presealed = preseal::seal(
            &config.repo.join(preseal::DIRECTORY),
            seals[0],
            GENESIS_MINER,
            config.preseal,
            &config.seed,
        )?;
        // enough for the pledge of what is sealed already; all else comes with messages
        let per_sector = engine
            .economy
            .initial_pledge(&BigInt::from(config.sector_size as u64), 0);
        let endowment = Endowment {
            owner: config.owner,
            worker: config.worker,
            funded: &config.funded,
            miner_funds: per_sector * config.preseal,
        };
        let node = genesis::build(&engine, &endowment, &presealed)?;
        let mut chain = Chain::default();
        chain.push(node, vec![]);
        Ok(Self::assemble(
            config.repo,
            engine,
            chain,
            Mempool::default(),
            config.block_time,
        ))
    }

    pub(crate) fn assemble(
        repo: PathBuf,
        engine: Engine,
        chain: Chain,
        pool: Mempool,
        block_time: BlockTime,
    ) -> Network {
        Network {
            inner: Arc::new(Inner {
                repo,
                engine: Arc::new(engine),
                chain: Arc::new(RwLock::new(chain)),
                pool: Mutex::new(pool),
                producing: Mutex::new(()),
                changes: broadcast::channel(SUBSCRIBER_BACKLOG).0,
                block_time: watch::channel(block_time).0,
                hold: AtomicBool::new(false),
            }),
        }
    }

    pub fn policy(&self) -> &NetworkPolicy {
        &self.inner.engine.policy
    }

    pub fn sector_size(&self) -> SectorSize {
        self.inner.engine.sector_size
    }

    /// Makes blocks at the block time until cancelled.
    pub async fn produce(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut block_time = self.inner.block_time.subscribe();
        let mut due = tokio::time::Instant::now();
        loop {
            let pace = *block_time.borrow_and_update();
            let wait = async {
                match pace {
                    BlockTime::Every(time) => {
                        // a tipset that took too long delays the next ones; none is made up for
                        due = (due + time).max(tokio::time::Instant::now());
                        tokio::time::sleep_until(due).await;
                    }
                    BlockTime::Manual => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = block_time.changed() => {
                    changed.context("the network is gone")?;
                    due = tokio::time::Instant::now();
                }
                () = wait => {
                    let network = self.clone();
                    tokio::task::spawn_blocking(move || network.mine(1))
                        .await
                        .context("the block producer panicked")??;
                }
            }
        }
    }

    /// Makes `n` blocks now; the new head. Blocking.
    pub fn mine(&self, n: u64) -> anyhow::Result<Arc<Tipset>> {
        for _ in 0..n {
            self.mine_at(1)?;
        }
        Ok(self.head())
    }

    /// Makes one block `rounds` epochs above the head; those between become null rounds.
    pub fn mine_at(&self, rounds: ChainEpoch) -> anyhow::Result<Arc<Tipset>> {
        let inner = &self.inner;
        let _one_at_a_time = inner.producing.lock();
        let pool = (!inner.hold.load(Ordering::Relaxed)).then_some(&inner.pool);
        let Made { node, posts } = {
            let chain = inner.chain.read();
            let head = chain.head().context("the chain has no genesis")?;
            inner
                .engine
                .make(&chain, pool, head.tipset.height + rounds)?
        };
        let tipset = node.tipset.clone();
        // The pool stays locked until the head has changed, so that nobody sees a nonce that
        // is neither pending nor on the chain.
        let mut pool = inner.pool.lock();
        for (_, message) in &node.messages {
            let message = &message.message;
            pool.drop_below(&message.from, message.sequence + 1);
        }
        let mut chain = inner.chain.write();
        chain.push(node, posts);
        // Told under the lock, so that a subscriber misses none; nobody listening is fine.
        let _ = inner.changes.send(Arc::new(vec![HeadChange {
            kind: HeadChangeKind::Apply,
            tipset: tipset.clone(),
        }]));
        Ok(tipset)
    }

    pub fn set_block_time(&self, block_time: BlockTime) {
        self.inner.block_time.send_replace(block_time);
    }

    pub fn block_time(&self) -> BlockTime {
        *self.inner.block_time.borrow()
    }

    /// While on, blocks hold no messages; the pool still takes them.
    pub fn hold_messages(&self, hold: bool) {
        self.inner.hold.store(hold, Ordering::Relaxed);
    }

    pub(crate) fn head_node(&self) -> Arc<Node> {
        let chain = self.inner.chain.read();
        match chain.head() {
            Some(node) => node.clone(),
            None => unreachable!("a network is only made with a genesis"),
        }
    }

    fn node(&self, key: &TipsetKey) -> Option<Arc<Node>> {
        self.inner.chain.read().node(key).cloned()
    }

    pub fn head(&self) -> Arc<Tipset> {
        self.head_node().tipset.clone()
    }

    pub fn genesis(&self) -> Arc<Tipset> {
        let chain = self.inner.chain.read();
        match chain.genesis() {
            Some(node) => node.tipset.clone(),
            None => unreachable!("a network is only made with a genesis"),
        }
    }

    pub fn tipset(&self, key: &TipsetKey) -> Option<Arc<Tipset>> {
        Some(self.node(key)?.tipset.clone())
    }

    /// The tipset at `height`, or before it when that round was null; None above the anchor.
    pub fn tipset_by_height(&self, height: ChainEpoch, anchor: &TipsetKey) -> Option<Arc<Tipset>> {
        let chain = self.inner.chain.read();
        Some(chain.at_or_before(height, anchor)?.tipset.clone())
    }

    /// The tipset at `height`, or after it when that round was null.
    pub fn tipset_after_height(
        &self,
        height: ChainEpoch,
        anchor: &TipsetKey,
    ) -> Option<Arc<Tipset>> {
        let chain = self.inner.chain.read();
        Some(chain.at_or_after(height, anchor)?.tipset.clone())
    }

    /// Tipset that holds a block, and the block's place in it.
    pub fn block(&self, cid: &Cid) -> Option<(Arc<Tipset>, usize)> {
        let chain = self.inner.chain.read();
        let (node, at) = chain.block(cid)?;
        Some((node.tipset.clone(), at))
    }

    /// Messages of the tipset, BLS first, as ChainGetBlockMessages orders them.
    pub fn tipset_messages(&self, tipset: &Tipset) -> Vec<(Cid, SignedMessage)> {
        self.node(&tipset.key)
            .map_or_else(Vec::new, |node| node.messages.clone())
    }

    /// Receipts of the parent's messages.
    pub fn parent_receipts(&self, tipset: &Tipset) -> Vec<Receipt> {
        let chain = self.inner.chain.read();
        chain
            .node(&tipset.key)
            .and_then(|node| chain.parent(node))
            .map_or_else(Vec::new, |parent| parent.receipts.clone())
    }

    pub fn subscribe(&self) -> Subscription {
        let chain = self.inner.chain.read();
        let changes = self.inner.changes.subscribe();
        let tipset = match chain.head() {
            Some(node) => node.tipset.clone(),
            None => unreachable!("a network is only made with a genesis"),
        };
        Subscription {
            current: HeadChange {
                kind: HeadChangeKind::Current,
                tipset,
            },
            changes,
        }
    }

    /// The beacon's entry for an epoch; the chain need not have come so far.
    pub fn beacon_entry(&self, epoch: ChainEpoch) -> BeaconEntry {
        beacon_entry(&self.inner.engine.seed, beacon_round(epoch))
    }

    /// State as of a tipset (empty key: the head).
    pub fn state(&self, key: &TipsetKey) -> Result<StateView, StateError> {
        let node = self.node(key).ok_or_else(|| {
            StateError::NotFound(format!("tipset {:?} is not on the chain", key.0))
        })?;
        Ok(StateView::new(
            self.inner.engine.clone(),
            self.inner.chain.clone(),
            node.tipset.clone(),
        ))
    }

    /// Raw IPLD block.
    pub fn read_object(&self, cid: &Cid) -> Option<Arc<[u8]>> {
        self.inner.engine.store.raw(cid)
    }

    /// Looks for a message's execution, `limit` epochs back from `from` (negative: no limit).
    pub fn search_message(
        &self,
        from: &TipsetKey,
        message: &Cid,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> Result<Option<Lookup>, StateError> {
        let asked = self.message(message);
        self.inner
            .chain
            .read()
            .search(
                from,
                message,
                asked.as_ref().map(|m| &m.message),
                limit,
                allow_replaced,
            )
            .map_err(|e| StateError::NotFound(e.to_string()))
    }

    /// Waits until the message is `confidence` epochs deep.
    pub async fn wait_message(
        &self,
        message: &Cid,
        confidence: u64,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> anyhow::Result<Lookup> {
        let mut changes = self.subscribe().changes;
        loop {
            let head = TipsetKey::default();
            if let Some(found) = self.search_message(&head, message, limit, allow_replaced)?
                && self.head().height >= found.height.saturating_add_unsigned(confidence)
            {
                return Ok(found);
            }
            match changes.recv().await {
                // one that fell behind looks at the head again all the same
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(anyhow!("the network stopped"));
                }
            }
        }
    }

    /// A message of the chain or the pool.
    pub fn message(&self, cid: &Cid) -> Option<SignedMessage> {
        let mined = self.inner.chain.read().message(cid).cloned();
        mined.or_else(|| self.inner.pool.lock().seen(cid).cloned())
    }

    /// WindowPoSts accepted since genesis, oldest first.
    pub fn accepted_posts(&self, miner: &Address) -> Vec<AcceptedPost> {
        let id = self
            .state(&TipsetKey::default())
            .and_then(|view| view.lookup_id(miner));
        let chain = self.inner.chain.read();
        chain
            .posts()
            .iter()
            .filter(|(of, _)| id.as_ref().is_ok_and(|id| id == of))
            .map(|(_, post)| post.clone())
            .collect()
    }
}
