//! An engine on a network that verifies what it is sent: how tests start it, let it look, and let
//! it die.
#![allow(dead_code, reason = "every test program uses a part of it")]

use damocles_devnet::{
    cli::Genesis,
    start::{self, Local},
};
use damocles_manager::{
    chain::{Chain, Head, NodeChain},
    db::{Db, record::MessageRecord},
    messages::{Engine, Intent},
    model::{MessageId, MessageKind},
    policy::{FeePolicy, NodeEndpoint},
};
use damocles_types::SectorSize;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{METHOD_SEND, address::Address, econ::TokenAmount};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) const MINER: u64 = 1000;
/// No step of the tests takes so long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn payment(from: Address) -> Intent {
    Intent {
        kind: MessageKind::PreCommit,
        miner: MINER,
        from,
        value: TokenAmount::from_whole(1),
        method: METHOD_SEND,
        params: RawBytes::default(),
        fee: FeePolicy::default(),
        confidence: 1,
        sectors: vec![],
        deadline: None,
        note: None,
    }
}

/// An engine, as long as it lives.
pub(crate) struct Runs {
    services: JoinSet<anyhow::Result<()>>,
    head: watch::Sender<Option<Head>>,
    pub(crate) engine: Engine,
}

impl Runs {
    /// `with`: what the engine is to have.
    pub(crate) async fn start_as(
        db: &Db,
        chain: &Arc<NodeChain>,
        with: impl FnOnce(Engine) -> Engine,
    ) -> Self {
        let (head, heads) = watch::channel(None);
        let engine = with(Engine::new(db.clone(), chain.clone(), heads));
        let mut services = JoinSet::new();
        services.spawn(engine.clone().run(CancellationToken::new()));
        let this = Self {
            services,
            head,
            engine,
        };
        this.look(chain).await;
        this
    }

    pub(crate) async fn look(&self, chain: &NodeChain) {
        let tip = chain.head().await.unwrap();
        self.head.send_replace(Some(Head {
            height: tip.height,
            key: tip.cids,
            timestamp: 0,
        }));
        self.engine.wake();
    }

    /// All at once, wherever it is.
    pub(crate) async fn die(mut self) {
        self.services.shutdown().await;
    }
}

pub(crate) async fn reached(
    db: &Db,
    id: MessageId,
    is: impl Fn(&MessageRecord) -> bool,
) -> MessageRecord {
    let reached = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            look.tick().await;
            let record = db.message(id).unwrap().unwrap();
            if is(&record) {
                return record;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(record) => record,
        Err(_) => panic!("never: {:#?}", db.message(id).unwrap()),
    }
}

/// Waits until it is so.
pub(crate) async fn comes(is: impl Fn() -> bool) {
    let come = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !is() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, come).await.unwrap();
}

/// A network of its own in `dir`, whose blocks are made when told.
pub(crate) async fn network(dir: &Path) -> Local {
    let genesis = Genesis {
        sector_size: SectorSize::KiB2,
        preseal: 0,
        miners: 1,
        seed: Some([5; 32]),
        policy: None,
        proving_period_deadlines: None,
        challenge_window: None,
    };
    let repo = dir.join("devnet");
    fs::create_dir(&repo).unwrap();
    let net = start::local(&repo, genesis, CancellationToken::new()).await;
    net.unwrap()
}

/// The adapter to it.
pub(crate) fn adapter(net: &Local) -> Arc<NodeChain> {
    let endpoint = NodeEndpoint {
        url: net.url(),
        token: Some(net.token.clone()),
    };
    Arc::new(NodeChain::new(&[endpoint]).unwrap())
}

/// One block.
pub(crate) async fn mine(net: &Local) {
    let network = net.node.network.clone();
    let mine = move || network.mine(1).map(|_| ());
    tokio::task::spawn_blocking(mine).await.unwrap().unwrap();
}
