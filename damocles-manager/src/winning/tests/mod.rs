//! The making of blocks for one miner on a node of the test's own, head by head. The database and
//! the stores are real.

mod node;

use super::*;
use crate::{
    chain::{Facts, Head, script::ScriptChain},
    db::blocks::{BlockRecord, Lost},
    policy::tests::store,
    storage::{Replica, Stores},
    wallet::Keys,
};
use damocles_flow::block::BlockState;
use damocles_types::{SectorId, SectorSize};
use node::{FakeNode, Side, signature};
use std::{fs, sync::Arc};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

const MINER: ActorId = 1000;
/// The epoch of the first block that can be made.
const FIRST: Epoch = 11;
/// No step of a test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    _dir: TempDir,
    db: Db,
    node: FakeNode,
    stores: Stores,
    head: watch::Sender<Option<Head>>,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a");
        let name = SectorId::new(MINER, 7).to_string();
        let cache = root.join("cache").join(&name);
        fs::create_dir_all(&cache).unwrap();
        fs::create_dir_all(root.join("sealed")).unwrap();
        fs::write(root.join("sealed").join(&name), vec![1; 2048]).unwrap();
        for file in SectorSize::KiB2.proving_cache_files() {
            fs::write(cache.join(file), b"x").unwrap();
        }
        let db = Db::in_memory();
        let stores = Stores::new(db.clone(), vec![store("a", root)]).unwrap();
        stores.attach("a", Replica::Normal).await.unwrap();
        let house = Self {
            _dir: dir,
            db,
            node: FakeNode::at(FIRST - 1),
            stores,
            head: watch::channel(None).0,
        };
        house.show_head();
        house
    }

    /// The manager sees the node's head.
    fn show_head(&self) {
        let state = self.node.state.lock();
        let (_, tip) = state.chain.last_key_value().unwrap();
        self.head.send_replace(Some(Head {
            height: tip.height,
            key: tip.cids.clone(),
            timestamp: tip.blocks[0].timestamp,
        }));
    }

    fn maker(&self, db: &Db) -> Maker {
        let chain = Arc::new(ScriptChain::at(FIRST - 1));
        let parts = Parts {
            db: db.clone(),
            facts: Facts::new(chain.clone()),
            chain,
            node: Arc::new(self.node.clone()),
            head: self.head.subscribe(),
            stores: self.stores.clone(),
            prover: Arc::new(self.node.clone()),
            keys: Keys::none(),
            by_the_clock: false,
            counts: Counts::default(),
            by: "this".into(),
        };
        Maker::new(parts, MINER)
    }

    /// A manager begins to make blocks.
    fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.maker(&self.db).run(stop.clone()));
        Running { stop, task }
    }

    /// The next epoch of the chain: of the blocks that were sent for it, or without them.
    fn grow(&self, with_ours: bool) -> Epoch {
        let height = self.node.state.lock().chain.len();
        let height = Epoch::try_from(height).unwrap();
        let sent = self.node.state.lock().sent.clone();
        let ours = sent.into_iter().map(|block| block.header);
        let ours: Vec<_> = ours.filter(|b| with_ours && b.height == height).collect();
        self.node.grow(height, ours.get(..1).unwrap_or_default());
        self.show_head();
        height
    }

    fn record(&self, height: Epoch) -> Option<BlockRecord> {
        self.db.block(MINER, height).unwrap()
    }

    fn state(&self, height: Epoch) -> Option<BlockState> {
        self.record(height).map(|record| record.state)
    }

    async fn until(&self, what: &str, look: impl Fn() -> bool) {
        let found = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            while !look() {
                ticks.tick().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        let records = || self.db.recent_blocks(MINER, 9).unwrap();
        found.unwrap_or_else(|_| panic!("{what} did not come about: {:#?}", records()));
    }

    /// Waits until the round has been tried.
    async fn tried(&self, height: Epoch) {
        let tried = || self.db.rounds(MINER).unwrap().last >= height;
        self.until(&format!("the round of {height}"), tried).await;
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As by a power cut.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[tokio::test]
async fn every_round_that_is_won_has_its_block_in_the_chain() {
    let house = House::new().await;
    let running = house.start();
    for height in FIRST..FIRST + 10 {
        house.tried(height).await;
        house.grow(true);
    }
    let included = || house.state(FIRST) == Some(BlockState::Included);
    house.until("the end of the first block", included).await;
    running.stop().await;
    let state = house.node.state.lock();
    let heights: Vec<_> = state.sent.iter().map(|b| b.header.height).collect();
    let won = house.db.recent_blocks(MINER, 20).unwrap();
    let mut records: Vec<_> = won.iter().map(|r| r.height).collect();
    records.reverse();
    assert_eq!(heights, records, "what is won is sent, once");
    assert!(heights.len() >= 8, "with all of the power: {heights:?}");
    for block in &state.sent {
        let header = &block.header;
        let there = &state.chain[&header.height];
        assert_eq!(there.cids.0, [block.cid()]);
        assert_eq!(header.parents, state.chain[&(header.height - 1)].cids.0);
        assert_eq!(header.block_sig, Some(signature(&header.signing_bytes())));
    }
    let first = won.last().unwrap();
    assert!(first.block.is_none(), "a final record is small");
    assert_eq!(first.by, "this");
    let times = first.times;
    assert!(times.base <= times.elected && times.proven <= times.made);
    assert!(times.read.is_some() && times.sent.is_some());
}

/// A stop before and after everything that the node or the prover does, and so between any two
/// writes, as a restart finds it.
#[tokio::test]
async fn a_stop_anywhere_makes_no_second_block_of_an_epoch() {
    let mut ends = BTreeSet::new();
    let mut stopped = 0;
    for call in 0..40 {
        for side in [Side::Before, Side::After] {
            let house = House::new().await;
            house.node.stop_at(call, side);
            let running = house.start();
            let hangs = tokio::select! {
                () = house.node.stopped.notified() => true,
                () = house.tried(FIRST) => false,
            };
            running.kill().await;
            house.node.goes_on();
            stopped += usize::from(hangs);
            // the same epoch again, then the chain goes on
            let running = house.start();
            house.tried(FIRST).await;
            let waits = || {
                let state = house.state(FIRST);
                !state.is_none_or(|s| matches!(s, BlockState::Signing | BlockState::Signed))
            };
            house.until("a word on the block", waits).await;
            for height in FIRST + 1..FIRST + 8 {
                house.grow(true);
                house.tried(height).await;
            }
            let is_final = || house.state(FIRST).is_some_and(BlockState::is_final);
            house.until("the end of the block", is_final).await;
            running.stop().await;

            let state = house.node.state.lock();
            for (what, blocks) in [("signed", &state.signed), ("sent", &state.sent)] {
                for height in FIRST..FIRST + 8 {
                    let of_epoch = blocks.iter().filter(|b| b.header.height == height);
                    let names: BTreeSet<_> = of_epoch.map(|b| b.cid()).collect();
                    assert!(
                        names.len() <= 1,
                        "stopped {side:?} call {call}: {what} at {height}: {names:?}"
                    );
                }
            }
            let record = house.record(FIRST).unwrap();
            ends.insert((record.state, record.lost.map(|lost| lost.to_string())));
            if !hangs {
                assert_eq!(record.state, BlockState::Included);
                let expected = [
                    (BlockState::Included, None),
                    (BlockState::Lost, Some("Stopped".to_owned())),
                ];
                assert_eq!(ends, BTreeSet::from(expected), "what stops lead to");
                assert!(stopped > 15, "only {stopped} stops were tried");
                return;
            }
        }
    }
    panic!("a round has no end");
}

#[tokio::test]
async fn what_is_lost_says_where_the_time_went() {
    let cases = [
        ("read", Lost::SlowRead),
        ("prove", Lost::SlowProof),
        ("select", Lost::NodeLate),
        ("create", Lost::NodeLate),
    ];
    for (silent, lost) in cases {
        let house = House::new().await;
        house.node.state.lock().silent = vec![silent];
        let running = house.start();
        house.node.stopped.notified().await;
        house.grow(true);
        house.tried(FIRST).await;
        let record = house.record(FIRST).unwrap();
        assert_eq!(
            (record.state, record.lost),
            (BlockState::Lost, Some(lost)),
            "{silent}"
        );
        running.stop().await;
    }
    // before the election nobody knows whether there was something to lose
    let house = House::new().await;
    house.node.state.lock().silent = vec!["base"];
    let running = house.start();
    house.node.stopped.notified().await;
    house.grow(true);
    house.tried(FIRST).await;
    assert_eq!(house.db.rounds(MINER).unwrap().late, 1);
    assert!(house.record(FIRST).is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_is_named() {
    let house = House::new().await;
    house.node.state.lock().unread = true;
    let running = house.start();
    // it is tried again, so what came of it is known
    let again = || house.node.state.lock().reads > 1;
    house.until("another try", again).await;
    house.grow(true);
    house.tried(FIRST).await;
    let record = house.record(FIRST).unwrap();
    assert_eq!(record.lost, Some(Lost::SlowRead));
    assert_eq!(record.error.as_deref(), Some("sector 7: the disk says no"));
    running.stop().await;
}

#[tokio::test]
async fn a_block_that_the_node_refuses_and_one_that_the_chain_leaves_out_are_told() {
    let house = House::new().await;
    house.node.state.lock().refuse = Some("block's miner is ineligible to mine");
    let running = house.start();
    // it may only not be up to date: it is asked as long as there is time
    let again = || house.node.state.lock().refusals > 1;
    house.until("another try to send it", again).await;
    assert_eq!(house.state(FIRST), Some(BlockState::Signed));
    house.grow(false);
    house.tried(FIRST).await;
    let record = house.record(FIRST).unwrap();
    assert_eq!(record.state, BlockState::Refused);
    assert_eq!(
        record.error.as_deref(),
        Some("block's miner is ineligible to mine")
    );
    house.node.state.lock().refuse = None;
    house.tried(FIRST + 1).await;
    // its own block of the parents' epoch is not among the parents
    let record = house.record(FIRST + 1).unwrap();
    assert_eq!(
        (record.state, record.lost),
        (BlockState::Lost, Some(Lost::Fault))
    );
    for _ in 0..8 {
        let height = house.grow(false);
        house.tried(height + 1).await;
    }
    let orphaned = || house.state(FIRST + 2) == Some(BlockState::Orphaned);
    house.until("the loss of a block", orphaned).await;
    running.stop().await;
}

#[tokio::test]
async fn rounds_that_are_not_won_are_counted_only() {
    let house = House::new().await;
    house.node.state.lock().not_eligible = true;
    let running = house.start();
    house.tried(FIRST).await;
    {
        let mut state = house.node.state.lock();
        (state.not_eligible, state.power) = (false, 0);
    }
    house.grow(true);
    house.tried(FIRST + 1).await;
    running.stop().await;
    let view = blocks(&house.db, MINER, 9).await.unwrap();
    assert_eq!((view.tried, view.not_eligible, view.not_won), (2, 1, 1));
    assert_eq!((view.since, view.last), (FIRST, FIRST + 1));
    assert!(view.blocks.is_empty());
    // a start over tries them no more
    let running = house.start();
    house.grow(true);
    house.tried(FIRST + 2).await;
    running.stop().await;
    assert_eq!(house.db.rounds(MINER).unwrap().tried, 3);
}

#[tokio::test]
async fn a_block_that_the_node_leaves_unsigned_is_signed_with_the_workers_key() {
    let house = House::new().await;
    house.node.state.lock().leaves_unsigned = true;
    let running = house.start();
    house.tried(FIRST).await;
    running.stop().await;
    let sent = house.node.state.lock().sent.clone();
    let header = &sent[0].header;
    assert_eq!(header.block_sig, Some(signature(&header.signing_bytes())));
}

#[tokio::test]
async fn parents_that_come_in_while_it_is_proven_are_built_upon() {
    let house = House::new().await;
    house.node.state.lock().silent = vec!["prove"];
    let running = house.start();
    house.node.stopped.notified().await;
    let before = house.record(FIRST).unwrap().parents;
    let mut other = house.node.state.lock().chain[&(FIRST - 1)].blocks[0].clone();
    other.fork_signaling = 1;
    // the manager need not have heard of it
    let now = house.node.grow(FIRST - 1, &[other]).cids;
    house.node.state.lock().silent.clear();
    house.tried(FIRST).await;
    running.stop().await;
    assert_ne!(now, before);
    let record = house.record(FIRST).unwrap();
    assert_eq!((record.parents, record.base), (now.clone(), FIRST - 1));
    assert_eq!(house.node.state.lock().sent[0].header.parents, now.0);
}

/// As when a manager has lost its role and does not know it yet.
#[tokio::test]
async fn two_makers_of_one_miner_make_one_block_of_an_epoch() {
    let house = House::new().await;
    let both = [house.start(), house.start()];
    for height in FIRST..FIRST + 6 {
        house.tried(height).await;
        house.grow(true);
    }
    house.tried(FIRST + 6).await;
    for running in both {
        running.stop().await;
    }
    let state = house.node.state.lock();
    for height in FIRST..FIRST + 7 {
        let signed = state.signed.iter().filter(|b| b.header.height == height);
        let names: BTreeSet<_> = signed.map(|b| b.cid()).collect();
        assert!(names.len() <= 1, "{height}: {names:?}");
    }
    assert!(state.signed.len() >= 4, "{} blocks", state.signed.len());
}
