//! A running network: the chain, the message pool and the block producer behind one handle.
//! Decisions are made below; this floor only orders them.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fvm_shared::address::{Address, Network as AddressNetwork, set_current_network};
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::SectorSize;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::block::{Tipset, TipsetKey};
use crate::chain::Chain;
use crate::economy::Economy;
use crate::engine::{Engine, Made};
use crate::genesis::{self, Endowment, GENESIS_MINER};
use crate::mempool::Mempool;
use crate::message::SignedMessage;
use crate::orders::Orders;
use crate::policy::{NetworkPolicy, Upgrade, proofs};
use crate::preseal;
use crate::proofs::{RealVerifier, Verifier};
use crate::rounds::Rounds;
use crate::store::Store;

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
    /// Sectors of each miner active at genesis.
    pub preseal: u64,
    /// Miners of genesis, t01000 and those after it.
    pub miners: u64,
    /// Key addresses of all of them.
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

/// Handle of a running network as one node of it sees it; clones are the same node.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
    /// Epochs by which this node is behind.
    pub(crate) lag: Arc<AtomicI64>,
}

/// What goes with a chain besides its tipsets.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    /// Versions after the first, oldest first.
    pub upgrades: Vec<Upgrade>,
    /// The base fee that every tipset pays while it is set.
    pub base_fee: Option<TokenAmount>,
    /// Allocations and deals; new ones only by who holds `producing`.
    pub data: Orders,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) repo: PathBuf,
    pub(crate) engine: Arc<Engine>,
    /// Written only by who holds `producing` and `pool`.
    pub(crate) chain: Arc<RwLock<Chain>>,
    pub(crate) pool: Mutex<Mempool>,
    /// What miners made for the round after the head.
    pub(crate) rounds: Mutex<Rounds>,
    /// Held while a tipset is made.
    pub(crate) producing: Mutex<()>,
    pub(crate) changes: broadcast::Sender<Arc<Vec<HeadChange>>>,
    block_time: watch::Sender<BlockTime>,
    hold: AtomicBool,
    pub(crate) ordered: Mutex<Ordered>,
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
        let economy = Economy::new(supply, config.policy.consensus_miner_min_power);
        let (seals, _) = proofs(config.sector_size);
        let store = config.repo.join(preseal::DIRECTORY);
        let miners = GENESIS_MINER..GENESIS_MINER + config.miners;
        let presealed = miners
            .map(|miner| preseal::seal(&store, seals[0], miner, config.preseal, &config.seed))
            .collect::<anyhow::Result<Vec<_>>>()?;
        // after the sealing, or the first block would be as old as that took
        let genesis_time = match config.genesis_time {
            Some(seconds) => seconds,
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .context("the clock stands before 1970")?
                .as_secs()
                .saturating_sub(config.policy.genesis_age_secs),
        };
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
            Ordered::default(),
        ))
    }

    pub(crate) fn assemble(
        repo: PathBuf,
        engine: Engine,
        chain: Chain,
        pool: Mempool,
        block_time: BlockTime,
        ordered: Ordered,
    ) -> Network {
        Network {
            lag: Arc::default(),
            inner: Arc::new(Inner {
                repo,
                engine: Arc::new(engine),
                chain: Arc::new(RwLock::new(chain)),
                pool: Mutex::new(pool),
                rounds: Mutex::default(),
                producing: Mutex::new(()),
                changes: broadcast::channel(SUBSCRIBER_BACKLOG).0,
                block_time: watch::channel(block_time).0,
                hold: AtomicBool::new(false),
                ordered: Mutex::new(ordered),
            }),
        }
    }

    /// Another node of the same network, with a head of its own.
    pub fn beside(&self) -> Network {
        Network {
            inner: self.inner.clone(),
            lag: Arc::default(),
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
                        let now = tokio::time::Instant::now();
                        due = match self.until_its_time(time) {
                            Some(wait) => now + wait,
                            None => (due + time).max(now),
                        };
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

    /// At the pace that the network tells, a tipset is made when blocks of its epoch have had time
    /// to come in, as on a real one: how long that is from now. None: at another pace, or later
    /// than that already.
    fn until_its_time(&self, pace: Duration) -> Option<Duration> {
        let policy = self.policy();
        if pace != Duration::from_secs(policy.block_delay_secs) {
            return None;
        }
        let epochs = u64::try_from(self.top().height + 1).ok()?;
        let its_time = self.inner.engine.genesis_time + epochs * policy.block_delay_secs;
        let made_at = UNIX_EPOCH + Duration::from_secs(its_time + policy.propagation_delay_secs);
        made_at.duration_since(SystemTime::now()).ok()
    }

    /// Makes `n` blocks now; the new head. Blocking.
    pub fn mine(&self, n: u64) -> anyhow::Result<Arc<Tipset>> {
        for _ in 0..n {
            self.mine_at(1)?;
        }
        Ok(self.head())
    }

    /// Makes a tipset `rounds` epochs above the head, of the blocks that miners sent in for it, or
    /// else of one of its own; the rounds between become null ones.
    pub fn mine_at(&self, rounds: ChainEpoch) -> anyhow::Result<Arc<Tipset>> {
        let inner = &self.inner;
        let _one_at_a_time = inner.producing.lock();
        let pool = (!inner.hold.load(Ordering::Relaxed)).then_some(&inner.pool);
        let orders = inner.ordered.lock().data.waiting();
        let Made { node, posts } = {
            let chain = inner.chain.read();
            let head = chain.head().context("the chain has no genesis")?;
            let height = head.tipset.height + rounds;
            let blocks = inner.rounds.lock().of(&head.tipset.key, height);
            if blocks.is_empty() {
                inner.engine.make(&chain, pool, &orders, height)?
            } else {
                inner.engine.make_of(&chain, blocks, &orders)?
            }
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
        inner.rounds.lock().new_head();
        let mut ordered = inner.ordered.lock();
        ordered.data.carried_out(tipset.height);
        if let Some(fee) = &ordered.base_fee {
            chain.set_next_base_fee(fee.clone());
        }
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

    /// Messages that a block on that tipset may hold; None: the tipset is not known.
    pub fn select(&self, key: &TipsetKey) -> Option<Vec<SignedMessage>> {
        let node = self.node(key)?;
        if self.inner.hold.load(Ordering::Relaxed) {
            return Some(Vec::new());
        }
        let chosen = self.inner.engine.select(&self.inner.pool.lock(), &node);
        Some(chosen.into_iter().map(|pending| pending.message).collect())
    }

    /// While on, blocks hold no messages; the pool still takes them.
    pub fn hold_messages(&self, hold: bool) {
        self.inner.hold.store(hold, Ordering::Relaxed);
    }

    pub fn subscribe(&self) -> Subscription {
        let chain = self.inner.chain.read();
        let changes = self.inner.changes.subscribe();
        let tipset = match chain.behind(self.behind()) {
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
}
