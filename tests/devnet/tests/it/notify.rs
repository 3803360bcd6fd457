//! `ChainNotify` over a real WebSocket, in go-jsonrpc's frames.

use std::time::Duration;

use crate::support::Net;
use damocles_daemon::net;
use damocles_devnet::rpc;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, value: Value) {
        let text = value.to_string();
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next text; anything else that a test can wait for comes within a minute.
    async fn next(&mut self) -> Value {
        let wait = async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap()
    }

    /// Whether the server ends the connection.
    async fn ends(&mut self) -> bool {
        let wait = async {
            loop {
                match self.0.next().await {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return true,
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap_or(false)
    }
}

async fn serve(net: &Net) -> (String, CancellationToken) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let (listener, address) = net::bind(listen).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(rpc::serve(listener, net.node.clone(), stop.clone()));
    (format!("ws://{address}/rpc/v1"), stop)
}

fn change(frame: &Value, channel: &Value) -> (String, i64) {
    assert_eq!(frame["method"], "xrpc.ch.val", "{frame}");
    assert_eq!(frame["params"][0], *channel);
    let changes = frame["params"][1].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{frame}");
    let kind = changes[0]["Type"].as_str().unwrap().to_owned();
    (kind, changes[0]["Val"]["Height"].as_i64().unwrap())
}

#[tokio::test]
async fn subscribers_get_the_head_then_every_change_until_they_cancel() {
    let net = Net::new(0);
    net.mine(3).await;
    let (url, _stop) = serve(&net).await;
    let mut client = Client(connect_async(&url).await.unwrap().0);

    client
        .send(json!({"jsonrpc": "2.0", "id": 9, "method": "Filecoin.ChainNotify", "params": []}))
        .await;
    let reply = client.next().await;
    assert_eq!(reply["id"], 9);
    let channel = reply["result"].clone();
    assert!(channel.is_u64(), "{reply}");
    assert_eq!(
        change(&client.next().await, &channel),
        ("current".into(), 3)
    );
    for height in 4..7 {
        net.mine(1).await;
        let expected = ("apply".into(), height);
        assert_eq!(change(&client.next().await, &channel), expected);
    }

    // The same connection serves calls meanwhile.
    client
        .send(json!({"jsonrpc": "2.0", "id": "h", "method": "Filecoin.ChainHead", "params": []}))
        .await;
    let head = client.next().await;
    assert_eq!(
        (&head["id"], &head["result"]["Height"]),
        (&json!("h"), &json!(6))
    );

    client
        .send(json!({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [9]}))
        .await;
    let close = client.next().await;
    assert_eq!(close["method"], "xrpc.ch.close", "{close}");
    assert_eq!(close["params"], json!([channel]));
    // A second channel has another number.
    client
        .send(json!({"jsonrpc": "2.0", "id": 10, "method": "Filecoin.ChainNotify", "params": []}))
        .await;
    let second = client.next().await["result"].clone();
    assert_ne!(second, channel);
    assert_eq!(change(&client.next().await, &second).0, "current");
}

#[tokio::test]
async fn a_waiting_call_can_be_cancelled_and_bad_text_ends_nothing() {
    let net = Net::new(0);
    let (url, _stop) = serve(&net).await;
    let mut client = Client(connect_async(&url).await.unwrap().0);
    client
        .send(json!({"jsonrpc": "2.0", "id": 1, "method": "Filecoin.StateGetBeaconEntry", "params": [1000]}))
        .await;
    client.0.send(Message::Text("{".into())).await.unwrap();
    assert_eq!(client.next().await["error"]["code"], -32700);
    client
        .send(json!({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [1]}))
        .await;
    let reply = client.next().await;
    assert_eq!(reply["id"], 1);
    assert_eq!(reply["error"]["message"], "context canceled");
}

#[tokio::test]
async fn a_token_counts_for_the_connection_and_a_bad_one_is_refused() {
    let net = Net::new(0);
    let (url, stop) = serve(&net).await;
    let token = net.token(damocles_node::method::Permission::Write);
    let mut client = Client(
        connect_async(format!("{url}?token={token}"))
            .await
            .unwrap()
            .0,
    );
    client
        .send(json!({"jsonrpc": "2.0", "id": 1, "method": "Filecoin.WalletList", "params": []}))
        .await;
    assert!(client.next().await["result"].is_array());
    client
        .send(json!({"jsonrpc": "2.0", "id": 2, "method": "Devnet.Mine", "params": [1]}))
        .await;
    let refusal = client.next().await;
    let text = refusal["error"]["message"].as_str().unwrap();
    assert_eq!(text, "missing permission to invoke 'Mine' (need 'admin')");
    assert!(
        connect_async(format!("{url}?token=nonsense"))
            .await
            .is_err()
    );

    stop.cancel();
    assert!(client.ends().await, "a stopped server says good-bye");
}

#[tokio::test]
async fn a_lost_branch_is_told_as_reverts_newest_first_and_then_what_is_applied() {
    let net = Net::new(0);
    net.mine(4).await;
    let (url, _stop) = serve(&net).await;
    let mut client = Client(connect_async(&url).await.unwrap().0);
    client
        .send(json!({"jsonrpc": "2.0", "id": 1, "method": "Filecoin.ChainNotify", "params": []}))
        .await;
    let channel = client.next().await["result"].clone();
    assert_eq!(
        change(&client.next().await, &channel),
        ("current".into(), 4)
    );
    let old = net.call("Filecoin.ChainHead", json!([])).await["Cids"].take();
    net.call("Devnet.Reorg", json!([2, false, 3])).await;
    let mut told = Vec::new();
    while told.len() < 5 {
        let frame = client.next().await;
        for step in frame["params"][1].as_array().unwrap() {
            let kind = step["Type"].as_str().unwrap().to_owned();
            told.push((kind, step["Val"]["Height"].as_i64().unwrap()));
            if told.len() == 1 {
                assert_eq!(step["Val"]["Cids"], old);
            }
        }
    }
    let expected = [
        ("revert", 4),
        ("revert", 3),
        ("apply", 3),
        ("apply", 4),
        ("apply", 5),
    ];
    assert_eq!(
        told,
        expected.map(|(kind, height)| (kind.to_owned(), height))
    );
}
