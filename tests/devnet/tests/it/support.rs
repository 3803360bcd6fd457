//! A node in a temporary directory, and calls to its RPC without a socket.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use damocles_devnet::cli::Genesis;
use damocles_devnet::network::BlockTime;
use damocles_devnet::rpc::{self, Kind, Node};
use damocles_devnet::start;
use damocles_node::method::Permission;
use damocles_types::SectorSize;
use fvm_shared::address::{Network, set_current_network};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A running node; blocks only on demand.
pub(crate) struct Net {
    pub(crate) repo: Arc<tempfile::TempDir>,
    pub(crate) node: Arc<Node>,
    router: Router,
}

/// One answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

fn open(repo: &Path, preseal: u64) -> Arc<Node> {
    set_current_network(Network::Testnet);
    let genesis = Genesis {
        sector_size: SectorSize::KiB2,
        preseal,
        miners: 1,
        seed: None,
        policy: None,
        proving_period_deadlines: Some(4),
        challenge_window: Some(10),
    };
    let address = "/ip4/127.0.0.1/tcp/1/http".to_owned();
    Arc::new(start::open(repo, &genesis, BlockTime::Manual, address).unwrap())
}

impl Net {
    pub(crate) fn new(preseal: u64) -> Self {
        let repo = Arc::new(tempfile::tempdir().unwrap());
        let node = open(repo.path(), preseal);
        Self::of(repo, node)
    }

    /// Another node of the same network.
    pub(crate) fn beside(&self, kind: Kind, name: &str) -> Self {
        let node = self.node.beside(kind, name, String::new()).unwrap();
        Self::of(Arc::clone(&self.repo), Arc::new(node))
    }

    fn of(repo: Arc<tempfile::TempDir>, node: Arc<Node>) -> Self {
        let router = rpc::router(Arc::clone(&node), CancellationToken::new());
        Net { repo, node, router }
    }

    /// Saves, forgets everything, and opens the repository again.
    pub(crate) fn restart(self) -> Self {
        self.node.network.save().unwrap();
        let repo = self.repo;
        drop((self.node, self.router));
        let node = open(repo.path(), 0);
        Self::of(repo, node)
    }

    pub(crate) fn token(&self, top: Permission) -> String {
        self.node.auth.token(top).unwrap()
    }

    /// Sends a body as it is.
    pub(crate) async fn post(&self, token: Option<&str>, body: &str) -> Answer {
        self.try_post(token, body).await.unwrap()
    }

    /// The same; None when the connection ends without an answer.
    pub(crate) async fn try_post(&self, token: Option<&str>, body: &str) -> Option<Answer> {
        let mut request = Request::post("/rpc/v1");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.ok()?;
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Some(Answer { status, body })
    }

    /// Calls with an admin token; whether there was an answer at all.
    pub(crate) async fn answers(&self, method: &str, params: Value) -> bool {
        let token = self.token(Permission::Admin);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.try_post(Some(&token), &body.to_string())
            .await
            .is_some()
    }

    /// Calls `method` (with its namespace) with an admin token; the whole reply.
    pub(crate) async fn reply(&self, method: &str, params: Value) -> Value {
        let token = self.token(Permission::Admin);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post(Some(&token), &body.to_string()).await.json()
    }

    /// The result of a call that must succeed.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let mut reply = self.reply(method, params).await;
        assert!(reply.get("error").is_none(), "{method}: {reply}");
        reply["result"].take()
    }

    /// The error text of a call that must fail.
    pub(crate) async fn fails(&self, method: &str, params: Value) -> String {
        let reply = self.reply(method, params).await;
        let text = reply["error"]["message"].as_str();
        text.unwrap_or_else(|| panic!("{method} did not fail: {reply}"))
            .to_owned()
    }

    /// Makes `n` blocks.
    pub(crate) async fn mine(&self, n: u64) -> Value {
        self.call("Devnet.Mine", json!([n])).await
    }

    /// The two genesis keys: the miner's (BLS, default) and the faucet's (secp256k1).
    pub(crate) async fn keys(&self) -> (String, String) {
        let miner = self.call("Filecoin.WalletDefaultAddress", json!([])).await;
        let all = self.call("Filecoin.WalletList", json!([])).await;
        let faucet = all.as_array().unwrap().iter().find(|a| **a != miner);
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        (text(&miner), text(faucet.unwrap()))
    }
}

/// Opens the repository of a node that was not asked to save.
pub(crate) fn reopen(repo: Arc<tempfile::TempDir>) -> Net {
    let node = open(repo.path(), 0);
    Net::of(repo, node)
}

/// A transfer with everything left to the node.
pub(crate) fn transfer(from: &str, to: &str, value: &str) -> Value {
    json!({"From": from, "To": to, "Value": value})
}
