//! Trouble of one endpoint on request: outages, stalled and refused calls, lost answers, pushes
//! that are not atomic, a node that is behind, a gateway.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::{Net, transfer};
use damocles_devnet::rpc::Kind;
use damocles_node::{Message, wire::parse_address};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;
use serde_json::{Value, json};
use uuid::Uuid;

fn push(from: &str, to: &str, id: Uuid) -> Value {
    let spec = json!({"MaxFee": "0", "MsgUuid": id, "MaximizeFeeCap": false});
    json!([transfer(from, to, "7"), spec])
}

async fn pending(net: &Net) -> usize {
    let all = net.call("Filecoin.MpoolPending", json!([[]])).await;
    all.as_array().unwrap().len()
}

#[tokio::test]
async fn an_outage_answers_nobody_while_the_chain_goes_on() {
    let net = Net::new(0);
    let other = net.beside(Kind::Full, "second");
    net.call("Devnet.Outage", json!([null])).await;
    assert!(!net.answers("Filecoin.ChainHead", json!([])).await);
    assert!(!net.answers("Filecoin.NoSuchMethod", json!([])).await);
    net.mine(2).await;
    assert_eq!(
        other.call("Filecoin.ChainHead", json!([])).await["Height"],
        2,
        "only one node is out"
    );
    net.call("Devnet.Outage", json!([0])).await;
    assert_eq!(net.call("Filecoin.ChainHead", json!([])).await["Height"], 2);
}

#[tokio::test]
async fn a_stalled_method_waits_and_holds_up_no_other() {
    let net = Arc::new(Net::new(0));
    let hour = Duration::from_secs(3600).as_millis() as u64;
    net.call("Devnet.Stall", json!(["Filecoin.ChainHead", hour]))
        .await;
    let asking = Arc::clone(&net);
    let waits = tokio::spawn(async move { asking.call("Filecoin.ChainHead", json!([])).await });
    net.call("Filecoin.StateNetworkName", json!([])).await;
    assert!(!waits.is_finished());
    net.call("Devnet.Stall", json!(["Filecoin.ChainHead", 0]))
        .await;
    assert_eq!(waits.await.unwrap()["Height"], 0);
    net.fails("Devnet.Stall", json!(["*", hour + 1])).await;
}

#[tokio::test]
async fn refusals_are_ordered_and_counted() {
    let net = Net::new(0);
    let order = json!(["Filecoin.ChainHead", 1, "the node is closing", 2]);
    net.call("Devnet.Fail", order).await;
    for _ in 0..2 {
        let error = net.fails("Filecoin.ChainHead", json!([])).await;
        assert_eq!(error, "the node is closing");
    }
    net.call("Filecoin.ChainHead", json!([])).await;
    net.call("Devnet.Fail", json!(["*", -32601, "gone", null]))
        .await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"Filecoin.Version","params":[]}"#;
    assert_eq!(net.post(None, body).await.status.as_u16(), 500);
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_is_the_same_message_under_its_id() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    let params = push(&worker, &faucet, Uuid::new_v4());
    let method = "Filecoin.MpoolPushMessage";
    net.call("Devnet.LoseAnswers", json!([method, 1])).await;
    assert!(!net.answers(method, params.clone()).await);
    assert_eq!(pending(&net).await, 1, "it was taken");
    net.call(method, params).await;
    assert_eq!(pending(&net).await, 1);
}

#[tokio::test]
async fn two_pushes_of_one_id_at_the_same_time_are_two_messages_as_on_lotus() {
    let net = Arc::new(Net::new(0));
    let (worker, faucet) = net.keys().await;
    let params = push(&worker, &faucet, Uuid::new_v4());
    net.call("Devnet.HoldPushes", json!([true])).await;
    let pushes: Vec<_> = (0..2)
        .map(|_| {
            let (net, params) = (Arc::clone(&net), params.clone());
            tokio::spawn(async move { net.call("Filecoin.MpoolPushMessage", params).await })
        })
        .collect();
    while net.call("Devnet.HoldPushes", json!([true])).await != 2 {
        tokio::task::yield_now().await;
    }
    net.call("Devnet.HoldPushes", json!([false])).await;
    let mut nonces = Vec::new();
    for push in pushes {
        nonces.push(push.await.unwrap()["Message"]["Nonce"].as_u64().unwrap());
    }
    nonces.sort_unstable();
    assert_eq!(nonces, [0, 1]);
    // from now on the id is known
    net.call("Filecoin.MpoolPushMessage", params).await;
    assert_eq!(pending(&net).await, 2);
}

#[tokio::test]
async fn a_push_whose_id_was_not_stored_becomes_a_second_message() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    let params = push(&worker, &faucet, Uuid::new_v4());
    net.call("Devnet.LoseIds", json!([1])).await;
    net.fails("Filecoin.MpoolPushMessage", params.clone()).await;
    assert_eq!(pending(&net).await, 1);
    net.call("Filecoin.MpoolPushMessage", params).await;
    assert_eq!(pending(&net).await, 2);
}

#[tokio::test]
async fn a_node_that_is_behind_answers_from_its_old_head() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    let behind = net.beside(Kind::Full, "second");
    net.mine(3).await;
    let sent = json!([transfer(&worker, &faucet, "7"), null]);
    let cid = net.call("Filecoin.MpoolPushMessage", sent).await["CID"].take();
    net.mine(7).await;
    behind.call("Devnet.SetBehind", json!([8])).await;
    let head = behind.call("Filecoin.ChainHead", json!([])).await;
    assert_eq!(head["Height"], 2);
    let sync = behind.call("Filecoin.SyncState", json!([])).await;
    let sync = &sync["ActiveSyncs"][0];
    assert_eq!(
        (&sync["Base"]["Height"], &sync["Target"]["Height"]),
        (&json!(2), &json!(10))
    );
    let search = json!([[], cid, -1, true]);
    assert!(
        behind
            .call("Filecoin.StateSearchMsg", search.clone())
            .await
            .is_null()
    );
    assert_eq!(
        behind
            .call("Filecoin.StateNetworkVersion", json!([[]]))
            .await,
        28
    );
    let nonce = behind
        .call("Filecoin.StateGetActor", json!([worker, []]))
        .await;
    assert_eq!(nonce["Nonce"], 0);
    let newest = net.call("Filecoin.ChainHead", json!([])).await["Cids"].take();
    let error = behind
        .fails("Filecoin.StateMinerInfo", json!(["t01000", newest]))
        .await;
    assert!(error.contains("could not find"), "{error}");
    // it follows at its distance, and may stand at genesis
    net.mine(1).await;
    assert_eq!(
        behind.call("Filecoin.ChainHead", json!([])).await["Height"],
        3
    );
    behind.call("Devnet.SetBehind", json!([1_000_000])).await;
    assert_eq!(
        behind.call("Filecoin.ChainHead", json!([])).await["Height"],
        0
    );
    behind.call("Devnet.SetBehind", json!([0])).await;
    assert!(
        !behind
            .call("Filecoin.StateSearchMsg", search)
            .await
            .is_null()
    );
}

#[tokio::test]
async fn a_gateway_does_not_know_half_of_the_methods_and_says_so_with_http_500() {
    let net = Net::new(0);
    let gateway = net.beside(Kind::Gateway, "gateway");
    net.mine(2).await;
    assert_eq!(
        gateway.call("Filecoin.ChainHead", json!([])).await["Height"],
        2
    );
    let body = json!({"id": 1, "method": "Filecoin.StateMinerAllocated", "params": ["t01000", []]});
    let answer = gateway.post(None, &body.to_string()).await;
    assert_eq!(answer.status.as_u16(), 500);
    assert_eq!(
        answer.json()["error"],
        json!({"code": -32601, "message": "method 'Filecoin.StateMinerAllocated' not found"})
    );
    gateway.call("Devnet.Mine", json!([1])).await;
}

#[tokio::test]
async fn a_second_node_has_none_of_the_firsts_keys() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    let second = net.beside(Kind::Full, "second");
    assert_eq!(
        second.call("Filecoin.WalletList", json!([])).await,
        json!([])
    );
    let params = push(&worker, &faucet, Uuid::new_v4());
    let error = second.fails("Filecoin.MpoolPushMessage", params).await;
    assert!(error.contains("key not found"), "{error}");
    assert_eq!(pending(&net).await, 0);
}

/// A block waits to be added while a message is tried; the refusal must not wait behind it.
#[tokio::test]
async fn refused_estimates_and_new_blocks_hold_up_nobody() {
    let net = Net::new(0);
    let key = net.call("Filecoin.WalletDefaultAddress", json!([])).await;
    let key = parse_address(key.as_str().unwrap()).unwrap();
    let nothing = (TokenAmount::default(), RawBytes::default());
    let refused = Message::new(key, key, nothing.0, 99, nothing.1).into();
    let (done, both) = mpsc::channel();
    let (node, told) = (Arc::clone(&net.node), done.clone());
    thread::spawn(move || {
        node.network.mine(300).unwrap();
        told.send(()).unwrap();
    });
    let node = Arc::clone(&net.node);
    thread::spawn(move || {
        for _ in 0..3000 {
            node.network.estimate_gas_limit(&refused).unwrap_err();
        }
        done.send(()).unwrap();
    });
    for _ in 0..2 {
        both.recv_timeout(Duration::from_secs(120))
            .expect("nobody waits for ever");
    }
}
