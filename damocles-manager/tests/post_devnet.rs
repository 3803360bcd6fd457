//! The poster on a real network in this process: presealed sectors are kept proven over two
//! proving periods, with real proofs made by a child process, through a restart of the poster
//! in the middle. Blocks are made when the test says so; nothing is timed.
//!
//! Needs the 2KiB WindowPoSt parameters in the parameter cache (`make test` sees to that).

use damocles_devnet::{cli::Genesis, rpc::Node, start};
use damocles_manager::{
    chain::{Chain, Head, NodeChain},
    db::{Db, posts::PostRecord},
    messages::Engine,
    policy::{
        AggregatePolicy, BatchPolicy, FeePolicy, MinerPolicy, NodeEndpoint, PostPolicy,
        ProvingPolicy, SectorPolicy, SendPolicy, StorePolicy,
    },
    post::{self, Parts, PoolProver, Prover},
    roles::{Role, Roles},
    served::Served,
    storage::{Replica, Stores},
};
use damocles_node::{DeadlineInfo, TipSetKey};
use damocles_processor::{Pool, Processors, RawProcessors, Stage, StartOptions, parent::Phase};
use damocles_types::{ActorId, Epoch, SectorNumber, SectorSize};
use fvm_shared::{
    address::{Address, Network, set_current_network},
    econ::TokenAmount,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

const MINER: ActorId = 1000;
const SECTORS: u64 = 2;
const DEADLINES: u64 = 4;
const WINDOW: Epoch = 10;
/// The last epochs of a window, in which the proof must be on its way.
const LATE: Epoch = 3;
/// No step of the test takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

fn policy() -> MinerPolicy {
    let fee = FeePolicy::default();
    let send = SendPolicy {
        senders: vec![],
        send_fund: true,
        fee: fee.clone(),
        batch: BatchPolicy {
            threshold: 1,
            max_wait: Duration::ZERO,
            check_interval: Duration::from_secs(60),
            max_base_fee: TokenAmount::default(),
            slack: Duration::from_secs(3 * 3600),
            aggregate: AggregatePolicy::never(),
            fee: fee.clone(),
        },
    };
    MinerPolicy {
        actor: MINER,
        sector: SectorPolicy {
            enabled: false,
            enable_deals: false,
            min_number: 0,
            max_number: None,
            lifetime_days: 0,
            use_synthetic: false,
            sealing_epochs: 0,
            require_activation_success: false,
            require_notification_success: false,
        },
        pre: send.clone(),
        prove: send,
        confidence: 2,
        post: PostPolicy {
            enabled: true,
            senders: vec![],
            // of which the miner's debts are paid, too
            fee: FeePolicy {
                max_fee: TokenAmount::from_whole(5),
                ..fee
            },
            confidence: 2,
            submit_confidence: None,
            challenge_confidence: None,
            max_partitions_per_message: 0,
            strict_check: true,
            max_recovered_sectors: 0,
            max_partitions_per_recovery: 0,
        },
        makes_blocks: false,
    }
}

struct House {
    _dir: TempDir,
    node: Arc<Node>,
    chain: Arc<dyn Chain>,
    head: watch::Sender<Option<Head>>,
    db: Db,
    stores: Stores,
    prover: Arc<dyn Prover>,
    stop_node: CancellationToken,
}

impl House {
    async fn new() -> Self {
        Self::proven_by(pool(&Processors::default())).await
    }

    async fn proven_by(pool: Pool) -> Self {
        set_current_network(Network::Testnet);
        let dir = tempfile::tempdir().unwrap();
        let genesis = Genesis {
            sector_size: SectorSize::KiB2,
            preseal: SECTORS,
            miners: 1,
            seed: Some([7; 32]),
            policy: None,
            proving_period_deadlines: Some(DEADLINES),
            challenge_window: Some(WINDOW),
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
            prover: Arc::new(PoolProver::new(pool.clone(), move || Ok(pool.clone()))),
            db,
            node: net.node,
            stop_node,
            _dir: dir,
        }
    }

    /// Starts poster and message engine, as a start of the manager does.
    fn start(&self) -> Services {
        let head = self.head.subscribe();
        let engine = Engine::new(self.db.clone(), self.chain.clone(), head.clone());
        let parts = Parts {
            db: self.db.clone(),
            chain: self.chain.clone(),
            head,
            messages: engine.clone(),
            stores: self.stores.clone(),
            prover: self.prover.clone(),
            proving: ProvingPolicy::default(),
            by: "this".into(),
        };
        let stop = CancellationToken::new();
        let mut set = JoinSet::new();
        set.spawn(engine.run(stop.clone()));
        let roles = Roles::new(self.db.clone(), "this", Role::ALL);
        set.spawn(post::run(
            parts,
            Served::new(vec![policy()]),
            roles,
            stop.clone(),
        ));
        Services { stop, set }
    }

    /// One more block.
    async fn mine(&self) -> Epoch {
        let network = self.node.network.clone();
        let mine = move || network.mine(1).map(|_| ());
        tokio::task::spawn_blocking(mine).await.unwrap().unwrap();
        let tip = self.chain.head().await.unwrap();
        let height = tip.height;
        self.head.send_replace(Some(Head {
            height,
            key: tip.cids,
            timestamp: 0,
        }));
        height
    }

    async fn deadline(&self) -> DeadlineInfo {
        let head = TipSetKey::HEAD;
        let di = self.chain.miner_proving_deadline(MINER, &head).await;
        di.unwrap()
    }

    /// Partitions of a deadline that must be proven, with their sectors.
    async fn due(&self, deadline: u64) -> BTreeMap<u64, BTreeSet<SectorNumber>> {
        let head = TipSetKey::HEAD;
        let partitions = self.chain.miner_partitions(MINER, deadline, &head).await;
        let live = (0..).zip(partitions.unwrap());
        live.map(|(i, p)| (i, p.live_sectors.iter().collect::<BTreeSet<_>>()))
            .filter(|(_, sectors)| !sectors.is_empty())
            .collect()
    }

    /// Waits until the proof of the window that opened at `open` has left for the node.
    async fn on_its_way(&self, open: Epoch) {
        let left = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let posts = post::window_posts(&self.db, MINER, 8).await.unwrap();
                let mine = posts.iter().filter(|p| p.open == open);
                let sent = |p: &&damocles_api::post::WindowPostRecord| p.message.is_some();
                if posts.iter().any(|p| p.open == open) && mine.clone().all(|p| sent(&p)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, left).await.is_err() {
            let posts = post::window_posts(&self.db, MINER, 8).await.unwrap();
            panic!("the proof of the window at {open} was not sent: {posts:#?}");
        }
    }
}

/// A sector whose sealed file the test damages.
const DAMAGED: SectorNumber = 0;

impl House {
    /// Sectors that are faulty; of them those that are not declared recovered.
    async fn faulty(&self) -> (BTreeSet<SectorNumber>, BTreeSet<SectorNumber>) {
        let (mut faulty, mut open) = (BTreeSet::new(), BTreeSet::new());
        let head = TipSetKey::HEAD;
        for deadline in 0..DEADLINES {
            let all = self.chain.miner_partitions(MINER, deadline, &head);
            for partition in all.await.unwrap() {
                faulty.extend(partition.faulty_sectors.iter());
                open.extend((&partition.faulty_sectors - &partition.recovering_sectors).iter());
            }
        }
        (faulty, open)
    }

    /// One more block, and all that the poster has to do at it: blocks are slower than that.
    async fn go_on(&self) -> Epoch {
        let height = self.mine().await;
        let di = self.deadline().await;
        let due = (di.open..di.close).contains(&height) && !self.due(di.index).await.is_empty();
        until_async("what is to be done for the windows", async || {
            let posts = self.db.recent_posts(MINER, 8).unwrap();
            let planned = posts.iter().any(|p| p.key.open == di.open);
            (planned || !due) && posts.iter().all(|p| self.is_done(p, height))
        })
        .await;
        let head = TipSetKey::HEAD;
        let place = self.chain.sector_partition(MINER, DAMAGED, &head).await;
        let period = di.wpost_proving_period;
        let mut open = di.period_start + place.unwrap().deadline as Epoch * WINDOW;
        while open - di.fault_declaration_cutoff <= height {
            open += period;
        }
        let (_, faulty) = self.faulty().await;
        let cutoff = open - di.fault_declaration_cutoff;
        if (cutoff - WINDOW..cutoff).contains(&height) && faulty.contains(&DAMAGED) {
            until_async("a declaration, or a word on why not", async || {
                let Some(record) = self.db.recovery(MINER, open).unwrap() else {
                    return false;
                };
                let pushed = record.declared.iter().all(|d| {
                    let message = self.db.message(d.message).unwrap().unwrap();
                    message.cid.is_some()
                });
                let rests = record.retry_at.is_some_and(|at| at > height);
                rests || !record.declared.is_empty() && pushed
            })
            .await;
        }
        height
    }
}

impl House {
    /// Whether nothing is left to be done for a WindowPoSt at that head.
    fn is_done(&self, post: &PostRecord, height: Epoch) -> bool {
        let sent = || {
            let message = self.db.message(post.message?).unwrap()?;
            message.cid
        };
        post.state.is_final()
            || post.retry_at.is_some_and(|at| at > height)
            || match post.state.to_string().as_str() {
                "Waiting" => height <= post.challenge,
                "Proved" => height < post.key.open,
                "Submitted" => sent().is_some(),
                _ => false,
            }
    }
}

async fn until_async(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let found = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if look().await {
                return;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("{what} did not come about"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_sector_alone_becomes_faulty_and_recovers_after_its_repair() {
    let house = House::new().await;
    let services = house.start();
    let store = house._dir.path().join("presealed");
    let sealed = damocles_devnet::preseal::sealed_file(&store, MINER, DAMAGED);
    let whole = std::fs::read(&sealed).unwrap();
    std::fs::write(&sealed, &whole[..1000]).unwrap();
    let period = WINDOW * DEADLINES as Epoch;
    let first = house.chain.head().await.unwrap().height;
    while house.faulty().await.0.is_empty() {
        assert!(
            house.go_on().await < first + 2 * period,
            "it never became faulty"
        );
    }
    assert_eq!(house.faulty().await.0, BTreeSet::from([DAMAGED]));
    // a whole period in which nobody repairs it: it is looked at, and nothing is declared
    let faulty_at = house.chain.head().await.unwrap().height;
    while house.go_on().await < faulty_at + period - WINDOW {}
    let looked = house.db.recoveries(MINER, 0).unwrap();
    let [record] = &looked[..] else {
        panic!("{looked:?}")
    };
    assert!(record.declared.is_empty(), "{record:?}");
    assert!(record.faulty[0].1.contains("1000"), "{record:?}");

    std::fs::write(&sealed, &whole).unwrap();
    let repaired = house.chain.head().await.unwrap().height;
    while !house.faulty().await.0.is_empty() {
        let height = house.go_on().await;
        let tried = house.db.recoveries(MINER, 0).unwrap();
        assert!(
            height < repaired + 3 * period,
            "it never recovered: {tried:?}"
        );
    }
    let declared = house.db.recoveries(MINER, 0).unwrap();
    let declared: Vec<_> = declared.iter().flat_map(|r| &r.declared).collect();
    assert_eq!(declared.len(), 1, "{declared:?}");
    let posts = house.node.network.accepted_posts(&Address::new_id(MINER));
    let proven = posts.iter().filter(|p| p.epoch > repaired);
    assert!(proven.flat_map(|p| &p.sectors).any(|n| *n == DAMAGED));
    services.end().await;
    house.stop_node.cancel();
}

struct Services {
    stop: CancellationToken,
    set: JoinSet<anyhow::Result<()>>,
}

impl Services {
    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.set.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

async fn presealed(db: &Db, repo: &Path) -> Stores {
    let store = StorePolicy {
        name: "presealed".into(),
        path: repo.join("presealed"),
        strict: true,
        read_only: true,
        weight: 0,
        allow_miners: vec![],
        deny_miners: vec![],
        meta: None,
    };
    let stores = Stores::new(db.clone(), vec![store]).unwrap();
    let found = stores.attach("presealed", Replica::Normal).await.unwrap();
    assert_eq!(found.added.len() as u64, SECTORS, "{found:?}");
    stores
}

const MANAGER: &str = env!("CARGO_BIN_EXE_damocles-manager");

/// The manager's own executable as the prover, as in production, unless configured otherwise.
fn pool(processors: &Processors) -> Pool {
    let options = StartOptions::of(MANAGER);
    Pool::start(
        &[Stage::WindowPost, Stage::ReadSectors],
        processors,
        &options,
    )
    .unwrap()
}

/// A prover that never answers its first task, and writes its pid into `hung`. Started again
/// it is the real one.
fn prover_that_hangs_once(hung: &Path) -> Processors {
    let script = format!(
        "test -e {hung} && exec {MANAGER} processor window_post\n\
         echo window_post processor ready; read task; echo $$ > {hung}.new; mv {hung}.new {hung}; exec sleep 600",
        hung = hung.display()
    );
    let config = serde_json::json!({"window_post": [
        {"bin": "/bin/sh", "args": ["-c", script], "stable_wait": "60s"},
    ]});
    let raw: RawProcessors = serde_json::from_value(config).unwrap();
    raw.check().unwrap()
}

/// Looks until there is something.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("{what} did not come about"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prover_that_hangs_is_killed_at_the_close_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let hung = dir.path().join("hung");
    let pool = pool(&prover_that_hangs_once(&hung));
    let house = House::proven_by(pool.clone()).await;
    let services = house.start();
    // Until something is due: its prover hangs.
    let close = loop {
        let height = house.mine().await;
        let di = house.deadline().await;
        if di.open <= height && !house.due(di.index).await.is_empty() {
            break di.close;
        }
    };
    let pid = until("a task in the prover's hands", || {
        let text = std::fs::read_to_string(&hung).ok()?;
        text.trim().parse::<u32>().ok()
    })
    .await;
    let process = Path::new("/proc").join(pid.to_string());
    assert!(process.exists());
    while house.mine().await < close {}
    until("the prover's end", || (!process.exists()).then_some(())).await;
    let miner = Address::new_id(MINER);
    assert!(house.node.network.accepted_posts(&miner).is_empty());

    // another one is ready for what is due next
    let up = || match &pool.view()[0].children[0].phase {
        Phase::Up { pid: new } if *new != pid => Some(()),
        _ => None,
    };
    until("a prover in its place", up).await;
    let posts = post::window_posts(&house.db, MINER, 8).await.unwrap();
    let [post] = &posts[..] else {
        panic!("{posts:?}")
    };
    assert_eq!((post.close, post.state.as_str()), (close, "Expired"));
    services.end().await;
    house.stop_node.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn presealed_sectors_stay_proven_over_two_periods_and_a_restart() {
    let house = House::new().await;
    let mut services = Some(house.start());
    // Opening epochs of windows that had to be proven, with what was due in them.
    let mut windows: BTreeMap<Epoch, (u64, BTreeMap<u64, BTreeSet<SectorNumber>>)> =
        BTreeMap::new();
    let mut restarted = false;
    let first = house.chain.head().await.unwrap().height;
    let period = WINDOW * DEADLINES as Epoch;
    let end = first + 2 * period + 2 * WINDOW;
    loop {
        let height = house.go_on().await;
        let di = house.deadline().await;
        let in_window = di.open <= height && height < di.close;
        let due = house.due(di.index).await;
        if in_window && !due.is_empty() {
            windows.insert(di.open, (di.index, due));
            if height == di.close - LATE {
                house.on_its_way(di.open).await;
                if !restarted && let Some(running) = services.take() {
                    // the message is in the pool and in no block
                    running.end().await;
                    services = Some(house.start());
                    restarted = true;
                }
            }
        }
        if height >= end {
            break;
        }
    }
    assert!(restarted);
    let head = house.chain.head().await.unwrap().height;
    windows.retain(|open, _| open + WINDOW <= head);
    for deadline in 0..DEADLINES {
        let due = !house.due(deadline).await.is_empty();
        let openings = windows.values().filter(|(d, _)| *d == deadline).count();
        assert!(!due || openings >= 2, "two periods: {windows:?}");
    }
    let sectors = windows.values().flat_map(|(_, due)| due.values().flatten());
    assert_eq!(sectors.collect::<BTreeSet<_>>().len() as u64, SECTORS);

    let posts = house.node.network.accepted_posts(&Address::new_id(MINER));
    for (open, (deadline, due)) in &windows {
        for (partition, sectors) in due {
            let covering: Vec<_> = posts
                .iter()
                .filter(|p| (p.deadline, p.partition) == (*deadline, *partition))
                .filter(|p| (*open..open + WINDOW).contains(&p.epoch))
                .collect();
            assert_eq!(covering.len(), 1, "window {open}: {posts:?}");
            let proven: BTreeSet<_> = covering[0].sectors.iter().copied().collect();
            assert_eq!(&proven, sectors, "window {open}");
        }
    }
    for deadline in 0..DEADLINES {
        let partitions = house
            .chain
            .miner_partitions(MINER, deadline, &TipSetKey::HEAD)
            .await
            .unwrap();
        assert!(partitions.iter().all(|p| p.faulty_sectors.is_empty()));
    }
    let sent: BTreeSet<_> = posts.iter().map(|p| p.message).collect();
    let shown = post::window_posts(&house.db, MINER, 100).await.unwrap();
    for record in shown.iter().filter(|r| windows.contains_key(&r.open)) {
        assert!(
            ["Submitted", "Landed"].contains(&record.state.as_str()),
            "{record:?}"
        );
        assert!(record.skipped.is_empty(), "{record:?}");
        let cid = record.message.unwrap().cid;
        assert!(sent.contains(&cid), "{record:?}");
    }
    assert!(shown.iter().any(|r| r.state == "Landed"), "{shown:?}");
    if let Some(running) = services {
        running.end().await;
    }
    house.stop_node.cancel();
}
