//! Several nodes, each a small HTTP server that says one thing.

use super::*;
use axum::{Json, Router, http::StatusCode, routing::post};
use damocles_test_ports::address as nobody;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::net::TcpListener;

/// A node that answers every call with this; its address.
async fn node(status: StatusCode, answer: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, status, answer);
    format!("http://{address}/rpc/v1")
}

fn serve(listener: TcpListener, status: StatusCode, answer: Value) {
    serve_network(listener, status, answer, 1);
}

/// The same for a node of the network with that number.
fn serve_network(listener: TcpListener, status: StatusCode, answer: Value, network: u8) {
    let genesis = json!({"Cids": [{"/": cid(network)}], "Blocks": [], "Height": 0});
    let reply = move |Json(call): Json<Value>| {
        let result = match call["method"].as_str() {
            Some(method::CHAIN_GET_GENESIS) => &genesis,
            _ => &answer,
        };
        let body = json!({"jsonrpc": "2.0", "id": call["id"], "result": result});
        std::future::ready((status, Json(body)))
    };
    let router = Router::new().route("/rpc/v1", post(reply));
    tokio::spawn(async move { axum::serve(listener, router).await });
}

fn cid(of: u8) -> String {
    damocles_types::Commitment([of; 32])
        .sealed_cid()
        .to_string()
}

/// A node whose head a test can move.
#[derive(Clone)]
struct Moving {
    url: String,
    /// Height and age in seconds. None: it answers with HTTP 502, as a gateway does whose node
    /// is away.
    head: Arc<Mutex<Option<(Epoch, u64)>>>,
    asked: Arc<AtomicUsize>,
}

impl Moving {
    async fn new(version: u32, head: Option<(Epoch, u64)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rpc/v1", listener.local_addr().unwrap());
        let head = Arc::new(Mutex::new(head));
        let asked = Arc::<AtomicUsize>::default();
        let (told, counted) = (head.clone(), asked.clone());
        let reply = move |Json(call): Json<Value>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let Some((height, age)) = *told.lock() else {
                return std::future::ready((StatusCode::BAD_GATEWAY, Json(Value::Null)));
            };
            let result = match call["method"].as_str() {
                Some(method::CHAIN_HEAD) => tipset(height, crate::model::unix_ms() / 1000 - age),
                Some(method::CHAIN_GET_GENESIS) => tipset(0, 0),
                _ => json!(version),
            };
            let body = json!({"jsonrpc": "2.0", "id": call["id"], "result": result});
            std::future::ready((StatusCode::OK, Json(body)))
        };
        let router = Router::new().route("/rpc/v1", post(reply));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, head, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn set(&self, head: Option<(Epoch, u64)>) {
        *self.head.lock() = head;
    }
}

fn tipset(height: Epoch, timestamp: u64) -> Value {
    let one = json!({"/": cid(1)});
    json!({
        "Cids": [one], "Height": height,
        "Blocks": [{
            "Miner": "t01000", "Ticket": null, "ElectionProof": null, "BeaconEntries": [],
            "WinPoStProof": [], "Parents": [], "ParentWeight": "0", "Height": height,
            "ParentStateRoot": one, "ParentMessageReceipts": one, "Messages": one,
            "BLSAggregate": null, "Timestamp": timestamp, "BlockSig": null,
            "ForkSignaling": 0, "ParentBaseFee": "100",
        }],
    })
}

fn believing(nodes: &[&Moving]) -> NodeChain {
    let urls: Vec<&str> = nodes.iter().map(|n| n.url.as_str()).collect();
    chain(&urls).believing(Some(Duration::from_secs(300)))
}

#[tokio::test]
async fn a_node_that_syncs_is_worse_than_none() {
    let (first, second) = (
        Moving::new(1, Some((900, 10))).await,
        Moving::new(2, Some((0, 90_000))).await,
    );
    let both = believing(&[&first, &second]);
    assert_eq!(both.head().await.unwrap().height, 900);
    assert_eq!(version(&both).await.unwrap(), 1);
    first.set(None);
    // neither for the head nor for a question in between
    let why = version(&both).await.unwrap_err();
    assert!(why.is_unreachable(), "{why}");
    let why = both.head().await.unwrap_err().to_string();
    assert!(
        why.contains(&format!("{}: its head, of epoch 0", second.url)),
        "{why}"
    );
    assert!(why.contains("25 hours old"), "{why}");
    assert!(version(&both).await.is_err());
    // it has caught up
    second.set(Some((905, 3)));
    assert_eq!(both.head().await.unwrap().height, 905);
    assert_eq!(version(&both).await.unwrap(), 2);
}

#[tokio::test]
async fn the_first_node_is_taken_back_when_it_has_caught_up() {
    let (first, second) = (
        Moving::new(1, None).await,
        Moving::new(2, Some((905, 3))).await,
    );
    let both = believing(&[&first, &second]);
    assert_eq!(both.head().await.unwrap().height, 905);
    // it is back, and behind the other
    first.set(Some((800, 200)));
    both.nodes.endpoints[0].well();
    assert_eq!(both.head().await.unwrap().height, 905);
    assert_eq!(version(&both).await.unwrap(), 2);
    first.set(Some((904, 30)));
    assert_eq!(both.head().await.unwrap().height, 904);
    assert_eq!(version(&both).await.unwrap(), 1);
    assert_eq!(both.shown(), first.url);
    // its chain stands still
    second.set(Some((915, 3)));
    assert_eq!(both.head().await.unwrap().height, 915);
    assert_eq!(version(&both).await.unwrap(), 2);
}

#[tokio::test]
async fn an_old_head_is_not_believed_unless_the_operator_says_so() {
    let node = Moving::new(1, Some((7, 301))).await;
    let alone = believing(&[&node]);
    let why = alone.head().await.unwrap_err();
    assert!(matches!(&why, ChainError::Behind { .. }), "{why}");
    assert!(why.to_string().contains(&node.url), "{why}");
    node.set(Some((7, 290)));
    assert_eq!(alone.head().await.unwrap().height, 7);
    let any = chain(&[&node.url]);
    node.set(Some((7, 90_000)));
    assert_eq!(any.head().await.unwrap().height, 7);
}

#[tokio::test]
async fn a_node_of_another_network_than_the_databases_is_not_asked_at_all() {
    let node = Moving::new(1, Some((7, 3))).await;
    let ours = chain(&[&node.url]).of_network(Some(cid(1)));
    assert_eq!(ours.head().await.unwrap().height, 7);
    let foreign = chain(&[&node.url]).of_network(Some(cid(2)));
    let errors = [
        foreign.head().await.unwrap_err(),
        version(&foreign).await.unwrap_err(),
        foreign.wallet_has(Address::new_id(1)).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("another network"), "{error}");
    }
    assert_eq!(foreign.first_genesis().await.unwrap(), Some(cid(1)));
}

#[tokio::test]
async fn what_a_node_says_behind_status_500_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc/v1", listener.local_addr().unwrap());
    let reply = |Json(call): Json<Value>| {
        let name = call["method"].as_str().unwrap_or_default();
        let body = json!({"jsonrpc": "2.0", "id": call["id"], "error": {
            "code": -32601, "message": format!("method '{name}' not found"),
        }});
        std::future::ready((StatusCode::INTERNAL_SERVER_ERROR, Json(body)))
    };
    let router = Router::new().route("/rpc/v1", post(reply));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let chain = chain(&[&url]);
    let error = version(&chain).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::Refused { code: -32601, message, .. } if message.contains("StateNetworkVersion")),
        "{error}"
    );
    assert_eq!(chain.finalized().await.unwrap(), None);
}

fn chain(urls: &[&str]) -> NodeChain {
    let endpoint = |url: &&str| NodeEndpoint {
        url: (*url).to_owned(),
        token: None,
    };
    NodeChain::new(&urls.iter().map(endpoint).collect::<Vec<_>>()).unwrap()
}

async fn version(chain: &NodeChain) -> Result<u32, ChainError> {
    chain.network_version(&TipSetKey::HEAD).await
}

#[tokio::test]
async fn a_node_that_refuses_us_or_talks_nonsense_is_passed_over() {
    let denies = node(StatusCode::UNAUTHORIZED, json!(1)).await;
    let nonsense = node(StatusCode::OK, json!("welcome")).await;
    let good = node(StatusCode::OK, json!(27)).await;
    for others in [[&denies, &nonsense], [&nonsense, &denies]] {
        let chain = chain(&[others[0], others[1], &good]);
        assert_eq!(version(&chain).await.unwrap(), 27);
    }
    // the first in the operator's order gives the reason
    let e = version(&chain(&[&denies, &nonsense])).await.unwrap_err();
    assert!(matches!(e, ChainError::Denied { .. }), "{e}");
}

#[tokio::test]
async fn a_second_node_that_refuses_us_does_not_keep_us_from_the_first() {
    let denies = node(StatusCode::FORBIDDEN, json!(1)).await;
    let address = nobody();
    let first = format!("http://{address}/rpc/v1");
    let chain = chain(&[&first, &denies]);
    let e = version(&chain).await.unwrap_err();
    assert!(e.is_unreachable(), "the first is waited for: {e}");
    let back = TcpListener::bind(address).await.unwrap();
    serve(back, StatusCode::OK, json!(27));
    assert_eq!(version(&chain).await.unwrap(), 27);
}

#[tokio::test]
async fn a_node_of_another_network_is_not_asked() {
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (first, foreign) = (listen().await, listen().await);
    let address = first.local_addr().unwrap();
    let url = |address| format!("http://{address}/rpc/v1");
    let foreign_url = url(foreign.local_addr().unwrap());
    serve_network(foreign, StatusCode::OK, json!(99), 2);
    let friend = node(StatusCode::OK, json!(27)).await;

    // the first one answers, then it does not: it is not left for the foreign one
    serve(first, StatusCode::OK, json!(26));
    let dead = url(nobody());
    let both = chain(&[&url(address), &foreign_url]);
    assert_eq!(version(&both).await.unwrap(), 26);
    let three = chain(&[&dead, &url(address), &foreign_url, &friend]);
    assert_eq!(version(&three).await.unwrap(), 26);
    three.nodes.good.store(2, Ordering::Relaxed);
    assert_eq!(version(&three).await.unwrap(), 27, "passed over");

    // a first one that comes late decides, too
    let late = nobody();
    let chain = chain(&[&url(late), &foreign_url]);
    assert_eq!(version(&chain).await.unwrap(), 99, "nobody knows better");
    let back = TcpListener::bind(late).await.unwrap();
    serve(back, StatusCode::OK, json!(25));
    for asked_first in [0, 1] {
        chain.nodes.good.store(asked_first, Ordering::Relaxed);
        assert_eq!(version(&chain).await.unwrap(), 25);
    }
}

#[tokio::test]
async fn only_lists_may_be_large() {
    let large = Value::String("x".repeat(20 << 20));
    let url = node(StatusCode::OK, large).await;
    let chain = chain(&[&url]);
    let why = version(&chain).await.unwrap_err();
    assert!(why.is_unreachable(), "it is not read: {why}");
    let key = TipSetKey::HEAD;
    let why = chain.miner_sectors(1000, None, &key).await.unwrap_err();
    let read = matches!(why, ChainError::Malformed { .. });
    assert!(read, "it is read, and no list: {why}");
}

#[tokio::test]
async fn of_a_tipset_that_is_named_a_node_is_asked_once() {
    let node = Moving::new(1, Some((7, 3))).await;
    let chain = chain(&[&node.url]);
    let head = chain.head().await.unwrap().cids;
    let other: TipSetKey = damocles_types::Commitment([9; 32]).sealed_cid().into();
    let asked = async |key: &TipSetKey, times: usize| {
        let before = node.asked();
        for _ in 0..3 {
            assert_eq!(chain.network_version(key).await.unwrap(), 1);
        }
        assert_eq!(node.asked() - before, times, "{key:?}");
    };
    asked(&head, 1).await;
    asked(&other, 1).await;
    asked(&head, 0).await;
    // the head of now may be another one each time
    asked(&TipSetKey::HEAD, 3).await;
    // and what it has not said is asked for
    node.set(None);
    let key: TipSetKey = damocles_types::Commitment([8; 32]).sealed_cid().into();
    chain.network_version(&key).await.unwrap_err();
    node.set(Some((7, 3)));
    asked(&key, 1).await;
}

/// A node that has some methods only, and says which were asked of it.
async fn gateway(has: &'static [&'static str], answer: Value) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc/v1", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let reply = move |Json(call): Json<Value>| {
        let name = call["method"].as_str().unwrap_or_default().to_owned();
        let known = name == method::CHAIN_GET_GENESIS || has.contains(&name.as_str());
        noted.lock().push(name.clone());
        let body = match known {
            true if name == method::CHAIN_GET_GENESIS => {
                json!({"jsonrpc": "2.0", "id": call["id"], "result": tipset(0, 0)})
            }
            true => json!({"jsonrpc": "2.0", "id": call["id"], "result": answer}),
            false => json!({"jsonrpc": "2.0", "id": call["id"], "error": {
                "code": -32601, "message": format!("method '{name}' not found"),
            }}),
        };
        std::future::ready((StatusCode::OK, Json(body)))
    };
    let router = Router::new().route("/rpc/v1", post(reply));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn a_node_is_judged_by_method_and_is_not_left_for_one_that_it_lacks() {
    let (half, asked) = gateway(&[], json!(0)).await;
    let (whole, _) = gateway(&[method::STATE_NETWORK_VERSION], json!(27)).await;
    let both = chain(&[&half, &whole]);
    for _ in 0..3 {
        assert_eq!(version(&both).await.unwrap(), 27);
    }
    let of = |name: &str| asked.lock().iter().filter(|n| *n == name).count();
    assert_eq!(of(method::STATE_NETWORK_VERSION), 1, "once");
    assert_eq!(
        both.nodes.good.load(Ordering::Relaxed),
        0,
        "others are asked of it first"
    );
    // where nobody has it, that is what is said
    let (other, _) = gateway(&[], json!(0)).await;
    let neither = chain(&[&half, &other]);
    let error = version(&neither).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Refused { code: -32601, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_signed_is_sent_through_another_node_while_the_first_is_away() {
    let nonce = [method::MPOOL_GET_NONCE, method::WALLET_HAS];
    let (second, asked) = gateway(Box::leak(Box::new(nonce)), json!(5)).await;
    let dead = format!("http://{}/rpc/v1", nobody());
    let both = chain(&[&dead, &second]);
    let from = fvm_shared::address::Address::new_id(1);
    assert_eq!(both.next_nonce(from).await.unwrap(), 5);
    assert_eq!(both.nodes.good.load(Ordering::Relaxed), 0);
    // its wallet is another one
    let away = both.wallet_has(from).await.unwrap_err();
    assert!(away.is_unreachable(), "{away}");
    assert!(!asked.lock().iter().any(|name| name == method::WALLET_HAS));
}

/// It answers all the same: with a nonce that is used, and takes messages that nobody hears of.
#[tokio::test]
async fn what_is_signed_is_not_sent_through_a_node_that_is_behind() {
    let (first, second) = (
        Moving::new(1, Some((800, 9000))).await,
        Moving::new(2, Some((905, 3))).await,
    );
    let both = believing(&[&first, &second]);
    assert_eq!(both.head().await.unwrap().height, 905);
    let from = fvm_shared::address::Address::new_id(1);
    assert_eq!(both.next_nonce(from).await.unwrap(), 2);
    // it has caught up
    first.set(Some((904, 5)));
    both.head().await.unwrap();
    assert_eq!(both.next_nonce(from).await.unwrap(), 1);
}
