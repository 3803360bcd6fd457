//! Several nodes, each a small HTTP server that says one thing.

use super::*;
use axum::{Json, Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
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
    let cid = damocles_types::Commitment([network; 32]).sealed_cid();
    let genesis = json!({"Cids": [{"/": cid.to_string()}], "Blocks": [], "Height": 0});
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
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap();
    drop(held);
    let first = format!("http://{address}/rpc/v1");
    let chain = chain(&[&first, &denies]);
    let e = version(&chain).await.unwrap_err();
    assert!(e.is_unreachable(), "the first is waited for: {e}");
    let back = TcpListener::bind(address).await.unwrap();
    serve(back, StatusCode::OK, json!(27));
    assert_eq!(version(&chain).await.unwrap(), 27);
}

#[tokio::test]
async fn a_node_whose_chain_stands_still_can_be_left() {
    let still = node(StatusCode::OK, json!(26)).await;
    let moves = node(StatusCode::OK, json!(27)).await;
    let both = chain(&[&still, &moves]);
    assert_eq!(version(&both).await.unwrap(), 26);
    assert!(both.turn());
    assert_eq!(version(&both).await.unwrap(), 27);
    assert!(!chain(&[&still]).turn(), "there is no other");
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

    // the first one answers, stands still, and is left: not for the foreign one
    serve(first, StatusCode::OK, json!(26));
    let two = chain(&[&url(address), &foreign_url]);
    assert_eq!(version(&two).await.unwrap(), 26);
    assert!(two.turn());
    assert_eq!(version(&two).await.unwrap(), 26);
    let three = chain(&[&url(address), &foreign_url, &friend]);
    assert_eq!(version(&three).await.unwrap(), 26);
    assert!(three.turn());
    assert_eq!(version(&three).await.unwrap(), 27);

    // a first one that comes late decides, too
    let held = listen().await;
    let late = held.local_addr().unwrap();
    drop(held);
    let chain = chain(&[&url(late), &foreign_url]);
    assert_eq!(version(&chain).await.unwrap(), 99, "nobody knows better");
    let back = TcpListener::bind(late).await.unwrap();
    serve(back, StatusCode::OK, json!(25));
    assert!(chain.turn());
    assert_eq!(version(&chain).await.unwrap(), 25);
    assert!(chain.turn());
    assert_eq!(version(&chain).await.unwrap(), 25);
}
