//! Blocks on a real network in this process: the miner wins rounds and makes its blocks, with real
//! WinningPoSts of a child process, and what the node verifies is in the chain; through stops at any
//! time, of which none makes a second block. Tipsets are made when the test says so; nothing is
//! timed.
//!
//! Needs the 2KiB WinningPoSt parameters in the parameter cache (`make test` sees to that).

use damocles_devnet::{cli::Genesis, network::BlockTime, rpc::Node, start};
use damocles_flow::block::BlockState;
use damocles_manager::{
    chain::{Chain, Facts, Head, HeadFollower, NodeChain, Production},
    config,
    db::{Db, blocks::BlockRecord},
    policy::{NodeEndpoint, StorePolicy},
    roles::{Role, Roles},
    served::Served,
    storage::{Replica, Stores},
    wallet::Keys,
    winning::{self, Counts, Parts, PoolProver},
};
use damocles_node::TipSet;
use damocles_processor::{Pool, Processors, Stage, StartOptions};
use damocles_types::{ActorId, Epoch, SectorSize};
use fvm_shared::address::{Address, Network, set_current_network};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const MINER: ActorId = 1000;
/// What an operator writes.
const CONFIG: &str = r#"
[Common.API]
Chain = "/ip4/127.0.0.1/tcp/1"
[[Miners]]
Actor = 1000
[Miners.Proof]
Enabled = true
"#;
/// No step of the test takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

/// A network whose tipsets follow the clock: quick, but with time for a proof.
const BY_THE_CLOCK: &str = "block_delay_secs = 3\npropagation_delay_secs = 1\n";

struct House {
    _dir: TempDir,
    node: Arc<Node>,
    chain: Arc<NodeChain>,
    head: watch::Sender<Option<Head>>,
    db: Db,
    stores: Stores,
    prover: Arc<PoolProver>,
    stop_node: CancellationToken,
}

struct Manager {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Manager {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl House {
    async fn new(policy: &str) -> Self {
        set_current_network(Network::Testnet);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        std::fs::write(&file, policy).unwrap();
        let genesis = Genesis {
            sector_size: SectorSize::KiB2,
            preseal: 2,
            miners: 1,
            seed: Some([7; 32]),
            policy: Some(file),
            // no sector is proven here, so none may be due
            proving_period_deadlines: Some(6),
            challenge_window: Some(60),
        };
        let stop_node = CancellationToken::new();
        let net = start::local(dir.path(), genesis, stop_node.clone()).await;
        let net = net.unwrap();
        let endpoint = NodeEndpoint {
            url: net.url(),
            token: Some(net.token),
        };
        let db = Db::in_memory();
        Self {
            chain: Arc::new(NodeChain::new(&[endpoint]).unwrap()),
            head: watch::channel(None).0,
            stores: presealed(&db, dir.path()).await,
            prover: Arc::new(PoolProver::new(pool())),
            db,
            node: net.node,
            stop_node,
            _dir: dir,
        }
    }

    /// A manager begins to make blocks, as a start of the daemon does, by heads or by the clock.
    fn start(&self, by_the_clock: bool, head: watch::Receiver<Option<Head>>) -> Manager {
        let parts = Parts {
            db: self.db.clone(),
            chain: self.chain.clone(),
            node: self.chain.clone(),
            facts: Facts::new(self.chain.clone()),
            head,
            stores: self.stores.clone(),
            prover: self.prover.clone(),
            keys: Keys::none(),
            by_the_clock,
            counts: Counts::default(),
            by: "this".into(),
        };
        let file = self._dir.path().join("sector-manager.cfg");
        std::fs::write(&file, CONFIG).unwrap();
        let served = Served::new(config::check_file(&file).unwrap().miners);
        let stop = CancellationToken::new();
        let roles = Roles::new(self.db.clone(), "this", Role::ALL);
        let task = tokio::spawn(winning::run(parts, served, roles, stop.clone()));
        Manager { stop, task }
    }

    /// So many more tipsets; the newest epoch.
    async fn mine(&self, count: u64) -> Epoch {
        let network = self.node.network.clone();
        let mine = move || network.mine(count).map(|_| ());
        tokio::task::spawn_blocking(mine).await.unwrap().unwrap();
        let tip = self.chain.head().await.unwrap();
        let height = tip.height;
        self.head.send_replace(Some(Head {
            height,
            key: tip.cids,
            timestamp: tip.blocks[0].timestamp,
        }));
        height
    }

    async fn tipset(&self, height: Epoch) -> TipSet {
        self.chain.tipset_of_epoch(height).await.unwrap()
    }

    async fn until(&self, what: &str, look: impl Fn() -> bool) {
        let found = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while !look() {
                ticks.tick().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        let records = || self.db.recent_blocks(MINER, 9).unwrap();
        found.unwrap_or_else(|_| panic!("{what} did not come about: {:#?}", records()));
    }

    /// Waits until the round of that epoch has been tried.
    async fn tried(&self, height: Epoch) {
        let tried = || self.db.rounds(MINER).unwrap().last >= height;
        self.until(&format!("the round of {height}"), tried).await;
    }
}

fn pool() -> Pool {
    let options = StartOptions::of(env!("CARGO_BIN_EXE_damocles-manager"));
    let stages = [Stage::WinningPost, Stage::ReadSectors];
    Pool::start(&stages, &Processors::default(), &options).unwrap()
}

/// The devnet's presealed sectors as a persist store.
async fn presealed(db: &Db, dir: &Path) -> Stores {
    let store = StorePolicy {
        name: "presealed".into(),
        path: dir.join(damocles_devnet::preseal::DIRECTORY),
        strict: false,
        read_only: true,
        weight: 1,
        allow_miners: vec![],
        deny_miners: vec![],
        meta: None,
    };
    let stores = Stores::new(db.clone(), vec![store]).unwrap();
    stores.attach("presealed", Replica::Normal).await.unwrap();
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_makes_its_blocks_and_no_stop_makes_a_second_one() {
    let house = House::new("").await;
    house.mine(3).await;
    let start = || house.start(false, house.head.subscribe());
    let manager = start();
    let first = house.chain.head().await.unwrap().height + 1;
    for height in first..first + 3 {
        house.tried(height).await;
        assert_eq!(house.mine(1).await, height);
    }
    // a stop while the next block is made; its round is not over
    let next = first + 3;
    let begun = || house.db.block(MINER, next).unwrap().is_some();
    let tried = || house.db.rounds(MINER).unwrap().last >= next;
    house.until("the next round", || begun() || tried()).await;
    manager.stop().await;
    let manager = start();
    house.tried(next).await;
    // a stop after it: it is not tried again
    manager.stop().await;
    let before = house.db.recent_blocks(MINER, 9).unwrap();
    let manager = start();
    house.mine(1).await;
    house.tried(next + 1).await;
    manager.stop().await;
    let after = house.db.block(MINER, next).unwrap();
    assert_eq!(after.as_ref(), before.iter().find(|r| r.height == next));

    // what became of them
    house.mine(8).await;
    let manager = start();
    let finished = || {
        let all = house.db.recent_blocks(MINER, 20).unwrap();
        let mut old = all.iter().filter(|r| r.height <= next + 1);
        old.all(|r| r.state.is_final())
    };
    house.until("the end of all blocks", finished).await;
    manager.stop().await;
    let view = winning::blocks(&house.db, MINER, 20).await.unwrap();
    let mut included = BTreeSet::new();
    for record in house.db.recent_blocks(MINER, 20).unwrap() {
        if record.height > next + 1 {
            continue;
        }
        let tipset = house.tipset(record.height).await;
        match record.state {
            BlockState::Included => {
                assert_eq!(tipset.cids.0, [record.cid.unwrap()]);
                let block = &tipset.blocks[0];
                assert_eq!(block.miner, Address::new_id(MINER));
                assert_eq!(block.win_po_st_proof.len(), 1);
                let wins = block.election_proof.as_ref().map(|p| p.win_count);
                assert_eq!(wins, Some(record.wins));
                included.insert(record.height);
            }
            // signed or not when the manager was stopped: nobody knows, nobody asks again
            BlockState::Lost => assert_eq!(record.height, next, "{record:?}"),
            other => panic!("{other}: {record:#?}"),
        }
    }
    // with all of the power hardly any round is lost
    assert!(included.len() >= 3, "{view:#?}");
    assert!(included.contains(&first) || view.not_won > 0);
    house.stop_node.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_blocks_follow_the_clock_they_are_sent_at_their_time() {
    let house = House::new(BY_THE_CLOCK).await;
    let network = house.node.network.clone();
    network.set_block_time(BlockTime::Every(Duration::from_secs(3)));
    let made = house.stop_node.clone();
    tokio::spawn(async move { network.produce(made).await });
    let chain: Arc<dyn Chain> = house.chain.clone();
    let (follower, head) = HeadFollower::new(chain.clone(), Facts::new(chain));
    tokio::spawn(follower.run(house.stop_node.clone()));
    let manager = house.start(true, head);
    let of = |state| move |record: &BlockRecord| record.state == state;
    let has = |state| {
        let all = house.db.recent_blocks(MINER, 50).unwrap();
        all.into_iter().find(of(state))
    };
    // on a busy machine one or the other comes too late; it is told from those that did not
    house
        .until("a block in the chain", || {
            has(BlockState::Included).is_some()
        })
        .await;
    manager.stop().await;
    let record = has(BlockState::Included).unwrap();
    let tipset = house.tipset(record.height).await;
    assert_eq!(tipset.cids.0, [record.cid.unwrap()]);
    let times = record.times;
    assert!(times.base.is_some() && times.made.is_some());
    house.stop_node.cancel();
}
