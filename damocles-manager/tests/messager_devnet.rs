//! The engine with a messager over HTTP on a network that verifies what it is sent: the engine dies
//! where the id is stored and nothing was given away, and where the messager has the message and the
//! engine does not know it; the messager is away when the message lands. Keys of both kinds, for a
//! messager names a message as the chain does: by its signed form, or not.

mod sending;

use axum::{Json, Router, http::StatusCode, routing::post};
use damocles_flow::message::MessageState;
use damocles_manager::{
    chain::{Chain, NodeChain},
    db::Db,
    model::MessageId,
    policy::NodeEndpoint,
    venus::VenusMessager,
};
use damocles_node::{Message, SendSpec, TipSetKey};
use fvm_shared::{
    address::{Network, set_current_network},
    crypto::signature::SignatureType,
};
use sending::{Runs, adapter, comes, mine, network, payment, reached};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// A stand-in of venus-messager: what it is given is signed by the node's wallet when somebody asks
/// what became of it.
#[derive(Clone)]
struct StandIn {
    chain: Arc<NodeChain>,
    /// As they are told, by their ids.
    messages: Arc<Mutex<BTreeMap<String, Value>>>,
    away: Arc<Mutex<bool>>,
}

impl StandIn {
    async fn serve(chain: Arc<NodeChain>) -> (Self, NodeEndpoint) {
        let this = Self {
            chain,
            messages: Arc::default(),
            away: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rpc/v0", listener.local_addr().unwrap());
        let stand_in = this.clone();
        let reply = move |Json(call): Json<Value>| {
            let stand_in = stand_in.clone();
            async move { stand_in.reply(call).await }
        };
        let router = Router::new().route("/rpc/v0", post(reply));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (this, NodeEndpoint { url, token: None })
    }

    async fn reply(&self, call: Value) -> (StatusCode, Json<Value>) {
        if *self.away.lock().unwrap() {
            return (StatusCode::BAD_GATEWAY, Json(Value::Null));
        }
        let params = &call["params"];
        let id = params[0].as_str().unwrap_or_default().to_owned();
        let answer = match call["method"].as_str().unwrap() {
            "Message.HasMessageByUid" => Ok(json!(self.has(&id))),
            "Message.PushMessageWithId" if self.has(&id) => {
                Err("UNIQUE constraint failed: messages.id")
            }
            "Message.PushMessageWithId" => {
                let mut told = params[1].clone();
                told.as_object_mut().unwrap().remove("CID");
                self.put(&id, told, 1);
                Ok(json!(id))
            }
            "Message.GetMessageByUid" if self.has(&id) => Ok(self.told(&id).await),
            "Message.GetMessageByUid" => Err("record not found"),
            _ => Err("method not found"),
        };
        let (key, value) = match answer {
            Ok(result) => ("result", result),
            Err(message) => ("error", json!({"code": 1, "message": message})),
        };
        let body = json!({"jsonrpc": "2.0", "id": call["id"], key: value});
        (StatusCode::OK, Json(body))
    }

    fn has(&self, id: &str) -> bool {
        self.messages.lock().unwrap().contains_key(id)
    }

    /// With the fields that a messager tells beside those of the message.
    fn put(&self, id: &str, mut told: Value, state: u8) {
        told["ID"] = json!(id);
        told["State"] = json!(state);
        told["ErrorMsg"] = json!("");
        self.messages.lock().unwrap().insert(id.to_owned(), told);
    }

    async fn told(&self, id: &str) -> Value {
        let told = self.messages.lock().unwrap()[id].clone();
        if told["State"] != 1 {
            return told;
        }
        let message: Message = serde_json::from_value(told).unwrap();
        let spec = SendSpec {
            msg_uuid: id.parse().unwrap(),
            ..SendSpec::default()
        };
        let signed = self.chain.push_message(&message, &spec).await.unwrap();
        let (cid, signed) = (signed.cid(), serde_json::to_value(&signed).unwrap());
        let mut told = signed["Message"].clone();
        told["SignedCid"] = json!({"/": cid.to_string()});
        told["Signature"] = signed["Signature"].clone();
        self.put(id, told.clone(), 2);
        self.messages.lock().unwrap()[id].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messager_gets_one_message_through_deaths_and_the_chain_says_how_it_ended() {
    set_current_network(Network::Testnet);
    let dir = tempfile::tempdir().unwrap();
    let net = network(dir.path()).await;
    let addresses = net.node.wallet.lock().list();
    let chain = adapter(&net);
    let (stand_in, endpoint) = StandIn::serve(chain.clone()).await;
    let messager = Arc::new(VenusMessager::new(&endpoint).unwrap());
    let db = Db::in_memory();
    let start = async || {
        let with = messager.clone();
        Runs::start_as(&db, &chain, |engine| engine.with_messager(with)).await
    };

    let mut kinds = Vec::new();
    for (from, before) in addresses.into_iter().zip(0..) {
        fail::cfg("messages::entrusted", "return").unwrap();
        let runs = start().await;
        let id = MessageId::new();
        runs.engine.want(id, payment(from)).await.unwrap();
        reached(&db, id, |m| m.entrusted.is_some()).await;
        runs.die().await;
        assert_eq!(stand_in.messages.lock().unwrap().len(), before);
        fail::cfg("messages::entrusted", "off").unwrap();

        fail::cfg("messages::pushed", "return").unwrap();
        let runs = start().await;
        comes(|| stand_in.has(&id.to_string())).await;
        runs.die().await;
        assert_eq!(db.message(id).unwrap().unwrap().state, MessageState::Wanted);
        fail::cfg("messages::pushed", "off").unwrap();

        let runs = start().await;
        let signed = reached(&db, id, |m| m.signed.is_some()).await;
        assert_eq!(
            (signed.state, signed.nonce),
            (MessageState::Pushed, Some(0))
        );
        kinds.push(signed.signed.unwrap().signature.sig_type);
        *stand_in.away.lock().unwrap() = true;
        for _ in 0..4 {
            mine(&net).await;
            runs.look(&chain).await;
        }
        let landed = reached(&db, id, |m| m.state == MessageState::Landed).await;
        assert_eq!((landed.exit_code, landed.cid), (Some(0), signed.cid));
        let actor = chain.actor(from, &TipSetKey::HEAD).await.unwrap();
        assert_eq!(actor.nonce, 1, "one message, one nonce");
        runs.die().await;
        *stand_in.away.lock().unwrap() = false;
        assert_eq!(stand_in.messages.lock().unwrap().len(), before + 1);
    }
    assert!(kinds.contains(&SignatureType::BLS) && kinds.contains(&SignatureType::Secp256k1));
}
