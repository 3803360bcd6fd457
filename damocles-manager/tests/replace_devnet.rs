//! The base fee rises above what messages offer, on a network whose pool and blocks take messages by
//! the rules: whoever signs, what is urgent is made dearer under its nonce and lands once, and what
//! is noted as its cost is what its sender lacks, to the attoFIL.

mod sending;
mod signing;

use damocles_flow::message::MessageState;
use damocles_manager::{
    chain::{Chain, NodeChain},
    db::Db,
    messages::Intent,
    model::{MessageId, MessageKind},
    policy::FeePolicy,
    wallet::Keys,
};
use damocles_node::TipSetKey;
use fvm_shared::{
    address::{Address, Network, set_current_network},
    econ::TokenAmount,
};
use sending::{MINER, adapter, mine, network, payment, reached};
use signing::{move_keys, start};

async fn balance(chain: &NodeChain, of: Address) -> TokenAmount {
    chain.actor(of, &TipSetKey::HEAD).await.unwrap().balance
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spike_of_the_base_fee_is_outpaid_or_waited_out_whoever_signs() {
    set_current_network(Network::Testnet);
    for own_keys in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let net = network(dir.path()).await;
        let (addresses, keys) = if own_keys {
            move_keys(&net.node, dir.path())
        } else {
            (net.node.wallet.lock().list(), Keys::default())
        };
        let from = addresses[0];
        let chain = adapter(&net);
        let db = Db::in_memory();
        let runs = start(&db, &chain, &keys).await;
        let fee = |most: i64| FeePolicy {
            max_fee: TokenAmount::from_whole(most),
            ..FeePolicy::default()
        };
        let urgent = Intent {
            kind: MessageKind::WindowPost,
            fee: fee(1),
            ..payment(from)
        };
        let patient = Intent {
            fee: fee(1),
            ..payment(from)
        };
        let (first, second) = (MessageId::new(), MessageId::new());
        runs.engine.want(first, urgent).await.unwrap();
        reached(&db, first, |m| m.state == MessageState::Pushed).await;
        runs.engine.want(second, patient).await.unwrap();
        reached(&db, second, |m| m.state == MessageState::Pushed).await;
        let before = balance(&chain, from).await;

        let spike = TokenAmount::from_nano(60);
        net.node.network.set_base_fee(Some(spike.clone())).unwrap();
        let mut epochs = 0;
        let landed = loop {
            mine(&net).await;
            runs.look(&chain).await;
            epochs += 1;
            // whatever the engine does at this head is done before the next one
            let seen = chain.head().await.unwrap().height;
            reached(&db, first, |m| {
                m.state == MessageState::Landed || m.sent_at.is_some_and(|at| at <= seen)
            })
            .await;
            let record = db.message(first).unwrap().unwrap();
            if record.state == MessageState::Landed {
                break record;
            }
            assert!(epochs < 500, "{record:#?}");
        };
        assert_eq!(landed.lost.len(), 1, "one dearer attempt was enough");
        let gas = landed.gas.clone().unwrap();
        assert!(gas.fee_cap > spike && &gas.fee_cap * gas.limit <= TokenAmount::from_whole(1));
        let other = db.message(second).unwrap().unwrap();
        assert_eq!(
            other.state,
            MessageState::Pushed,
            "it waits for a lower fee"
        );
        let paid = landed.paid.clone().unwrap();
        let sent = TokenAmount::from_whole(1);
        assert_eq!(
            before - balance(&chain, from).await,
            sent.clone() + &paid.fee
        );

        // it is over: the other one goes on as it was
        let before = balance(&chain, from).await;
        net.node
            .network
            .set_base_fee(Some(TokenAmount::from_atto(100)))
            .unwrap();
        let other = loop {
            mine(&net).await;
            runs.look(&chain).await;
            let record = db.message(second).unwrap().unwrap();
            if record.state == MessageState::Landed {
                break record;
            }
            epochs += 1;
            assert!(epochs < 1000, "{record:#?}");
        };
        assert_eq!(other.lost, []);
        let cost = other.paid.unwrap().fee;
        assert_eq!(before - balance(&chain, from).await, sent + &cost);
        let spent = |kind| db.spent(paid.day, MINER, kind).unwrap();
        assert_eq!(spent(MessageKind::WindowPost), paid.fee);
        assert_eq!(spent(MessageKind::PreCommit), cost);
        let actor = chain.actor(from, &TipSetKey::HEAD).await.unwrap();
        assert_eq!(actor.nonce, 2, "two messages, two nonces");
        runs.die().await;
    }
}
