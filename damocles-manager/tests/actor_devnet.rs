//! What a person orders of a miner's actor, on a network whose miners are the actors' own code: money
//! comes out, control addresses are set, a worker is named and may not be confirmed before its time.

mod sending;
mod signing;

use damocles_api::actor::ActorOrder;
use damocles_flow::message::MessageState;
use damocles_manager::{
    actor::Actors,
    chain::{Chain, NodeChain},
    config,
    db::{Db, record::MessageRecord},
    model::MessageId,
    served::Served,
};
use damocles_node::TipSetKey;
use fvm_shared::{
    address::{Address, Network, Protocol, set_current_network},
    econ::TokenAmount,
};
use sending::{MINER, Runs, adapter, mine, network, payment, reached};
use signing::{move_keys, start};
use std::{path::Path, sync::Arc};

const CONFIG: &str = "
[Common.API]
Chain = \"http://127.0.0.1:9\"
[[Miners]]
Actor = 1000
[Miners.Commitment]
Confidence = 1
";

struct House {
    net: damocles_devnet::start::Local,
    chain: Arc<NodeChain>,
    db: Db,
    runs: Runs,
    actors: Actors,
    keys: Vec<Address>,
    _dir: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        set_current_network(Network::Testnet);
        let dir = tempfile::tempdir().unwrap();
        let net = network(dir.path()).await;
        let (keys, signing) = move_keys(&net.node, dir.path());
        let (chain, db) = (adapter(&net), Db::in_memory());
        let runs = start(&db, &chain, &signing).await;
        let config = config::check_text(Path::new("sector-manager.cfg"), CONFIG).unwrap();
        let served = Served::new(config.miners);
        let actors = Actors::new(db.clone(), chain.clone(), served, runs.engine.clone());
        Self {
            net,
            chain,
            db,
            runs,
            actors,
            keys,
            _dir: dir,
        }
    }

    /// Gives the order and sees its message land.
    async fn order(&self, order: ActorOrder) -> MessageRecord {
        let told = self.actors.order(MINER, order, true, None).await.unwrap();
        let id = told.message.unwrap().parse().unwrap();
        reached(&self.db, id, |m| m.state == MessageState::Pushed).await;
        for _ in 0..4 {
            mine(&self.net).await;
            self.runs.look(&self.chain).await;
        }
        let landed = reached(&self.db, id, |m| m.state == MessageState::Landed).await;
        assert_eq!(landed.exit_code, Some(0), "{landed:?}");
        landed
    }

    async fn refused(&self, order: ActorOrder) -> String {
        let refused = self.actors.order(MINER, order, true, None).await;
        refused.unwrap_err().to_string()
    }

    async fn available(&self) -> TokenAmount {
        let key = TipSetKey::HEAD;
        let available = self.chain.miner_available_balance(MINER, &key);
        available.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_land_and_change_what_they_say() {
    let house = House::new().await;
    let info = house.chain.miner_info(MINER, &TipSetKey::HEAD).await;
    let info = info.unwrap();
    let keys = house.keys.clone();

    // money goes in beside what the engine sends anyway, and comes out again
    let before = house.available().await;
    let other = MessageId::new();
    let engine = &house.runs.engine;
    engine.want(other, payment(keys[0])).await.unwrap();
    let four = TokenAmount::from_whole(4);
    let amount = four.atto().to_string();
    let add = ActorOrder::AddBalance {
        from: keys[0].to_string(),
        amount: amount.clone(),
    };
    house.order(add).await;
    reached(&house.db, other, |m| m.state == MessageState::Landed).await;
    let before = before + TokenAmount::from_whole(1);
    assert_eq!(house.available().await, &before + &four);
    let too_much = ActorOrder::Withdraw {
        amount: Some((&before + TokenAmount::from_whole(5)).atto().to_string()),
        by_beneficiary: false,
    };
    assert!(house.refused(too_much).await.contains("may spend"));
    let withdraw = ActorOrder::Withdraw {
        amount: Some(amount),
        by_beneficiary: false,
    };
    let landed = house.order(withdraw).await;
    assert_eq!(house.available().await, before);
    assert!(landed.note.unwrap().contains("withdraw 4.0 FIL"));

    // another control address
    let other = Address::new_id(info.owner.id().unwrap());
    let set = ActorOrder::SetControl {
        addresses: vec![other.to_string()],
    };
    house.order(set).await;
    let view = house.actors.addresses(MINER).await.unwrap();
    let control = view.addresses.iter().find(|a| a.role == "control-0");
    assert_eq!(control.unwrap().address, other.to_string());

    // a worker has a BLS key, and takes over when its time has come
    for key in keys {
        let id = house.chain.lookup_id(key, &TipSetKey::HEAD).await.unwrap();
        let propose = ActorOrder::ProposeWorker {
            worker: key.to_string(),
        };
        if id == info.worker {
            assert!(house.refused(propose).await.contains("worker already"));
        } else if key.protocol() == Protocol::BLS {
            house.order(propose).await;
            let view = house.actors.addresses(MINER).await.unwrap();
            assert_eq!(view.pending.len(), 1, "{:?}", view.pending);
            let confirm = ActorOrder::ConfirmWorker {
                worker: key.to_string(),
            };
            assert!(house.refused(confirm).await.contains("may be confirmed"));
            break;
        } else {
            let why = house.refused(propose).await;
            assert!(why.contains("must have BLS"), "{why}");
        }
    }
    house.runs.die().await;
}
