//! Sealing, commitments and message engine on a real network in this process: how tests start them,
//! let them look, and let them die.

use damocles_devnet::{cli::Genesis, rpc::Node, start};
use damocles_flow::message::MessageState;
use damocles_kv::OpenError;
use damocles_manager::{
    chain::{Chain, Facts, Head, NodeChain},
    commit::{Aggregator, Commit, Verifier},
    db::{Db, record::MessageRecord},
    messages::Engine,
    policy::{
        AggregatePolicy, BatchPolicy, FeePolicy, MinerPolicy, NodeEndpoint, PostPolicy,
        SectorPolicy, SendPolicy,
    },
    sealing::Sealing,
    served::Served,
};
use damocles_types::{Epoch, SectorId, SectorSize};
use fvm_shared::{
    address::{Network, set_current_network},
    econ::TokenAmount,
};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) const MINER: u64 = 1000;
pub(crate) const CONFIDENCE: Epoch = 3;
/// No step of the tests takes so long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Batches of two.
pub(crate) fn policy() -> MinerPolicy {
    let fee = FeePolicy::default();
    let send = SendPolicy {
        senders: vec![],
        send_fund: true,
        fee: fee.clone(),
        batch: BatchPolicy {
            threshold: 2,
            max_wait: Duration::from_secs(3600),
            check_interval: Duration::from_millis(200),
            max_base_fee: TokenAmount::default(),
            slack: Duration::from_secs(3 * 3600),
            aggregate: AggregatePolicy::never(),
            fee: fee.clone(),
        },
    };
    MinerPolicy {
        actor: MINER,
        sector: SectorPolicy {
            enabled: true,
            enable_deals: false,
            min_number: 0,
            max_number: None,
            lifetime_days: 540,
            use_synthetic: false,
            sealing_epochs: 0,
            require_activation_success: false,
            require_notification_success: false,
        },
        pre: send.clone(),
        prove: send,
        confidence: CONFIDENCE,
        post: PostPolicy {
            enabled: false,
            senders: vec![],
            fee,
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

/// The network.
pub(crate) struct Net {
    pub(crate) dir: TempDir,
    pub(crate) node: Arc<Node>,
    url: String,
    pub(crate) token: String,
}

impl Net {
    pub(crate) async fn new() -> Self {
        set_current_network(Network::Testnet);
        let dir = tempfile::tempdir().unwrap();
        let genesis = Genesis {
            sector_size: SectorSize::KiB2,
            preseal: 0,
            miners: 1,
            seed: Some([3; 32]),
            policy: None,
            proving_period_deadlines: None,
            challenge_window: None,
        };
        let repo = dir.path().join("devnet");
        std::fs::create_dir(&repo).unwrap();
        let net = start::local(&repo, genesis, CancellationToken::new()).await;
        let net = net.unwrap();
        Self {
            dir,
            url: net.url(),
            node: net.node,
            token: net.token,
        }
    }

    pub(crate) fn endpoint(&self, token: Option<&str>) -> NodeEndpoint {
        NodeEndpoint {
            url: self.url.clone(),
            token: token.map(str::to_owned),
        }
    }

    /// Waits until so many messages are in the node's pool.
    pub(crate) async fn pooled(&self, count: usize) {
        let reached = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            while self.node.network.pending().len() != count {
                look.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    pub(crate) fn chain(&self) -> Arc<NodeChain> {
        let endpoint = self.endpoint(Some(&self.token));
        Arc::new(NodeChain::new(&[endpoint]).unwrap())
    }
}

/// What differs between managers.
pub(crate) struct Parts {
    pub(crate) policy: MinerPolicy,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) aggregator: Option<Arc<dyn Aggregator>>,
}

/// The parts of a manager, as long as it lives.
pub(crate) struct Manager {
    pub(crate) db: Db,
    pub(crate) chain: Arc<NodeChain>,
    pub(crate) sealing: Sealing,
    pub(crate) commit: Commit,
    head: watch::Sender<Option<Head>>,
    services: JoinSet<anyhow::Result<()>>,
}

impl Manager {
    pub(crate) async fn start(net: &Net, home: &Path, parts: Parts) -> Self {
        let chain = net.chain();
        let db = reopen(home).await;
        let (head, heads) = watch::channel(None);
        let facts = Facts::new(chain.clone());
        let engine = Engine::new(db.clone(), chain.clone(), heads);
        let served = Served::new(vec![parts.policy]);
        let sealing = Sealing::new(db.clone(), chain.clone(), facts.clone(), served.clone());
        let commit = Commit::new(
            db.clone(),
            chain.clone(),
            facts,
            engine.clone(),
            parts.verifier,
            served,
        );
        let commit = match parts.aggregator {
            Some(aggregator) => commit.with_aggregator(aggregator),
            None => commit,
        };
        let stop = CancellationToken::new();
        let mut services = JoinSet::new();
        services.spawn(engine.run(stop.clone()));
        services.spawn(commit.clone().run(stop));
        let this = Self {
            db,
            chain,
            sealing,
            commit,
            head,
            services,
        };
        this.look().await;
        this
    }

    /// Tells the engine what the head is.
    pub(crate) async fn look(&self) -> Epoch {
        let tip = self.chain.head().await.unwrap();
        let height = tip.height;
        self.head.send_replace(Some(Head {
            height,
            key: tip.cids,
            timestamp: 0,
        }));
        height
    }

    pub(crate) async fn mine(&self, net: &Net, blocks: u64) -> Epoch {
        for _ in 0..blocks {
            let network = net.node.network.clone();
            let mine = move || network.mine(1).map(|_| ());
            tokio::task::spawn_blocking(mine).await.unwrap().unwrap();
            self.look().await;
        }
        self.look().await
    }

    /// All at once, wherever it is.
    pub(crate) async fn die(mut self) {
        self.services.shutdown().await;
    }

    /// The only message of the sector, when it is so far.
    pub(crate) async fn message(&self, id: SectorId, state: MessageState) -> MessageRecord {
        let reached = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let all = self.db.messages_of(id).unwrap();
                assert!(all.len() <= 1, "{all:#?}");
                if let Some(message) = all.into_iter().find(|m| m.state == state) {
                    return message;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(message) => message,
            Err(_) => panic!("never {state}: {:#?}", self.db.messages_of(id).unwrap()),
        }
    }
}

/// A verb that was under way on a blocking thread when its daemon died holds the database to
/// its end.
async fn reopen(home: &Path) -> Db {
    let open = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            look.tick().await;
            match Db::open(home) {
                Err(OpenError::Busy { .. }) => {}
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, open).await.unwrap()
}
