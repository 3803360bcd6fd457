//! The engine with the manager's own keys on a network that verifies signatures: keys of both
//! kinds, which the node does not have, send messages that land; the engine dies where it has
//! signed and not sent, and where it has sent and does not know it.

use damocles_devnet::{cli::Genesis, start};
use damocles_flow::message::MessageState;
use damocles_manager::{
    chain::{Chain, Head, NodeChain},
    db::{Db, record::MessageRecord},
    messages::{Engine, Intent},
    model::{MessageId, MessageKind},
    policy::{FeePolicy, NodeEndpoint, WalletPolicy},
    wallet::{Effort, FILE, Key, Keys, Wallet},
};
use damocles_node::TipSetKey;
use damocles_types::SectorSize;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{
    METHOD_SEND,
    address::{Address, Network, set_current_network},
    crypto::signature::SignatureType,
    econ::TokenAmount,
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

const MINER: u64 = 1000;
/// No step of the tests takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes every key from the node's wallet into a key store in `home`.
fn move_keys(node: &damocles_devnet::rpc::Node, home: &Path) -> (Vec<Address>, Keys) {
    let mut wallet = node.wallet.lock();
    let mut ours = Wallet::default();
    let addresses = wallet.list();
    for address in &addresses {
        let info = wallet.export(address).unwrap();
        let text = hex::encode(serde_json::to_vec(&info).unwrap());
        let key = Key::from_lotus(&text).unwrap();
        assert_eq!(ours.add(key, None, 0).unwrap(), *address);
        wallet.delete(address).unwrap();
    }
    let quick = Effort {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    fs::write(home.join("password"), "open").unwrap();
    ours.create(&home.join(FILE), b"open", quick).unwrap();
    let policy = WalletPolicy {
        password_file: Some(home.join("password")),
        ..WalletPolicy::default()
    };
    (addresses, Keys::load(&policy, home))
}

fn payment(from: Address) -> Intent {
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
    }
}

/// An engine, as long as it lives.
struct Runs {
    services: JoinSet<anyhow::Result<()>>,
    head: watch::Sender<Option<Head>>,
    engine: Engine,
}

impl Runs {
    async fn start(db: &Db, chain: &Arc<NodeChain>, keys: &Keys) -> Self {
        let (head, heads) = watch::channel(None);
        let engine = Engine::new(db.clone(), chain.clone(), heads).with_keys(keys.clone());
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

    async fn look(&self, chain: &NodeChain) {
        let tip = chain.head().await.unwrap();
        self.head.send_replace(Some(Head {
            height: tip.height,
            key: tip.cids,
            timestamp: 0,
        }));
        self.engine.wake();
    }

    /// All at once, wherever it is.
    async fn die(mut self) {
        self.services.shutdown().await;
    }
}

async fn reached(db: &Db, id: MessageId, is: impl Fn(&MessageRecord) -> bool) -> MessageRecord {
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

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_both_kinds_send_through_deaths_without_the_nodes_wallet() {
    set_current_network(Network::Testnet);
    let dir = tempfile::tempdir().unwrap();
    let genesis = Genesis {
        sector_size: SectorSize::KiB2,
        preseal: 0,
        seed: Some([5; 32]),
        policy: None,
        proving_period_deadlines: None,
        challenge_window: None,
    };
    let repo = dir.path().join("devnet");
    fs::create_dir(&repo).unwrap();
    let net = start::local(&repo, genesis, CancellationToken::new()).await;
    let net = net.unwrap();
    let (addresses, keys) = move_keys(&net.node, dir.path());
    assert!(net.node.wallet.lock().list().is_empty());
    let endpoint = NodeEndpoint {
        url: net.url(),
        token: Some(net.token.clone()),
    };
    let chain = Arc::new(NodeChain::new(&[endpoint]).unwrap());
    let db = Db::in_memory();
    let mine = async || {
        let network = net.node.network.clone();
        let mine = move || network.mine(1).map(|_| ());
        tokio::task::spawn_blocking(mine).await.unwrap().unwrap();
    };

    let mut kinds = Vec::new();
    for from in addresses {
        // it dies when it has signed, then when the node has the message and it does not know it
        fail::cfg("messages::signed", "return").unwrap();
        let runs = Runs::start(&db, &chain, &keys).await;
        let id = MessageId::new();
        runs.engine.want(id, payment(from)).await.unwrap();
        let signed = reached(&db, id, |m| m.signed.is_some()).await;
        assert_eq!(
            (signed.state, signed.nonce),
            (MessageState::Wanted, Some(0))
        );
        assert!(net.node.network.pending().is_empty());
        runs.die().await;
        fail::cfg("messages::signed", "off").unwrap();
        fail::cfg("messages::pushed", "return").unwrap();
        let runs = Runs::start(&db, &chain, &keys).await;
        let pooled = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            while net.node.network.pending().is_empty() {
                look.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, pooled).await.unwrap();
        runs.die().await;
        fail::cfg("messages::pushed", "off").unwrap();

        let runs = Runs::start(&db, &chain, &keys).await;
        let pushed = reached(&db, id, |m| m.state == MessageState::Pushed).await;
        assert_eq!((pushed.cid, &pushed.signed), (signed.cid, &signed.signed));
        kinds.push(pushed.signed.unwrap().signature.sig_type);
        for _ in 0..4 {
            mine().await;
            runs.look(&chain).await;
        }
        let landed = reached(&db, id, |m| m.state == MessageState::Landed).await;
        assert_eq!((landed.exit_code, landed.cid), (Some(0), signed.cid));
        let actor = chain.actor(from, &TipSetKey::HEAD).await.unwrap();
        assert_eq!(actor.nonce, 1, "one message, one nonce");
        runs.die().await;
    }
    assert!(kinds.contains(&SignatureType::BLS) && kinds.contains(&SignatureType::Secp256k1));
}
