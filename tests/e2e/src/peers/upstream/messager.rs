//! A stand-in for the message service that upstream's manager sends through: what is pushed is
//! signed and sent by the node's wallet and followed there. Enough of `Message.*` for one sender
//! on a chain without branches.

use crate::node::Node;
use anyhow::{Context, Result};
use damocles_node::{MsgLookup, method};
use damocles_types::Epoch;
use jsonrpsee::{
    RpcModule,
    server::{Server, ServerHandle},
    types::{ErrorObjectOwned, Params},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// States of a message, as the service numbers them.
const IN_POOL: u8 = 2;
const ON_CHAIN: u8 = 3;

/// A message under the id that its sender gave it.
#[derive(Clone, Debug)]
struct Sent {
    id: String,
    /// As the node signed it.
    message: Map<String, Value>,
    cid: Value,
}

/// The running service; dropped, it ends.
#[derive(Debug)]
pub(super) struct Messager {
    /// `host:port`
    pub(super) address: String,
    sent: Arc<Shared>,
    _server: ServerHandle,
}

#[derive(Debug)]
struct Shared {
    node: Node,
    sent: Mutex<BTreeMap<String, Sent>>,
}

impl Messager {
    /// Serves at a free port of this host, and sends through `node`.
    pub(super) async fn start(node: Node) -> Result<Self> {
        let shared = Arc::new(Shared {
            node,
            sent: Mutex::default(),
        });
        let server = Server::builder().build("127.0.0.1:0").await;
        let server = server.context("the message service cannot listen")?;
        let address = server.local_addr()?.to_string();
        Ok(Self {
            address,
            _server: server.start(methods(shared.clone())?),
            sent: shared,
        })
    }

    /// How many messages were sent.
    pub(super) fn count(&self) -> usize {
        self.sent.all().len()
    }
}

/// The methods by name; parameters are those of the service, by position.
fn methods(shared: Arc<Shared>) -> Result<RpcModule<Arc<Shared>>> {
    let mut module = RpcModule::new(shared);
    module.register_async_method("Message.HasMessageByUid", |params, shared, _| async move {
        let (id,): (String,) = params.parse()?;
        Ok::<_, ErrorObjectOwned>(shared.all().contains_key(&id))
    })?;
    module.register_async_method(
        "Message.PushMessageWithId",
        |params, shared, _| async move {
            let (id, message): (String, Map<String, Value>) = first_two(&params)?;
            shared.push(id, message).await.map_err(failed)
        },
    )?;
    module.register_async_method("Message.GetMessageByUid", |params, shared, _| async move {
        let (id,): (String,) = params.parse()?;
        shared.look_up(&id).await.map_err(failed)
    })?;
    module.register_async_method("Message.WaitMessage", |params, shared, _| async move {
        let (id, confidence): (String, Epoch) = params.parse()?;
        shared.wait(&id, confidence).await.map_err(failed)
    })?;
    Ok(module)
}

/// The others are wishes about fees, which the node's own estimate stands for.
fn first_two<A, B>(params: &Params<'_>) -> Result<(A, B), ErrorObjectOwned>
where
    A: for<'a> Deserialize<'a>,
    B: for<'a> Deserialize<'a>,
{
    let mut params = params.sequence();
    Ok((params.next()?, params.next()?))
}

fn failed(error: anyhow::Error) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(1, format!("{error:#}"), None::<()>)
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Sent> {
        let sent = self.all().get(id).cloned();
        sent.with_context(|| format!("message {id} not found"))
    }

    /// The id, again, as the service answers. An id that is known sends nothing.
    async fn push(&self, id: String, mut message: Map<String, Value>) -> Result<String> {
        if self.all().contains_key(&id) {
            return Ok(id);
        }
        // the wallet knows keys, and the caller has the actor's number
        let from = message.get("From").cloned().context("a message has From")?;
        let key = [from, Value::Null];
        let key: Value = self.node.rpc.call(method::STATE_ACCOUNT_KEY, key).await?;
        message.insert("From".to_owned(), key);
        message.remove("CID");
        let push = [Value::Object(message), Value::Null];
        let signed: Value = self.node.rpc.call(method::MPOOL_PUSH_MESSAGE, push).await?;
        let message = signed["Message"].as_object().cloned();
        let sent = Sent {
            id: id.clone(),
            message: message.context("a signed message holds the message")?,
            cid: signed["CID"].clone(),
        };
        self.all().insert(id.clone(), sent);
        Ok(id)
    }

    async fn look_up(&self, id: &str) -> Result<Value> {
        let sent = self.find(id)?;
        let search = [Value::Null, sent.cid.clone(), json!(-1), json!(true)];
        let found: Option<MsgLookup> = self.node.rpc.call(method::STATE_SEARCH_MSG, search).await?;
        let head = self.node.epoch().await?;
        describe(&sent, found.as_ref(), head)
    }

    /// The node waits; where that takes longer than a call to it may, the caller hears an error.
    async fn wait(&self, id: &str, confidence: Epoch) -> Result<Value> {
        let sent = self.find(id)?;
        let wait = [sent.cid.clone(), json!(confidence), json!(-1), json!(true)];
        let found: MsgLookup = self.node.rpc.call(method::STATE_WAIT_MSG, wait).await?;
        let head = self.node.epoch().await?;
        describe(&sent, Some(&found), head)
    }
}

/// A message as the service tells of it: its own fields beside those of the message.
fn describe(sent: &Sent, found: Option<&MsgLookup>, head: Epoch) -> Result<Value> {
    let mut told = sent.message.clone();
    told.remove("CID");
    let height = found.map_or(0, |found| found.height);
    let tipset = found.map(|found| serde_json::to_value(&found.tip_set));
    let receipt = found.map(|found| serde_json::to_value(&found.receipt));
    let long_ago = "0001-01-01T00:00:00Z";
    let fields = json!({
        "ID": sent.id,
        "UnsignedCid": null,
        "SignedCid": sent.cid,
        "Signature": null,
        "Height": height,
        "Confidence": found.map_or(0, |_| head - height),
        "Receipt": receipt.transpose()?,
        "TipSetKey": tipset.transpose()?.unwrap_or_else(|| json!([])),
        "Meta": null,
        "WalletName": "",
        "State": if found.is_some() { ON_CHAIN } else { IN_POOL },
        "ErrorMsg": "",
        "CreatedAt": long_ago,
        "UpdatedAt": long_ago,
    });
    if let Value::Object(fields) = fields {
        told.extend(fields);
    }
    Ok(Value::Object(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        let message = json!({"From": "t0100", "Nonce": 4, "CID": {"/": "x"}});
        Sent {
            id: "one".to_owned(),
            message: message.as_object().unwrap().clone(),
            cid: json!({"/": "bafy2bzaceb2ca5dv47npgrjww4aga4fvlvgykf34b7aq4ti5gfs2qqj2eif4w"}),
        }
    }

    #[test]
    fn a_message_is_in_the_pool_until_the_chain_has_it() {
        let told = describe(&sent(), None, 70).unwrap();
        assert_eq!(told["State"], IN_POOL);
        assert_eq!(told["Receipt"], Value::Null);
        assert_eq!(told["Nonce"], 4);
        let found: MsgLookup = serde_json::from_value(json!({
            "Message": sent().cid,
            "Receipt": {"ExitCode": 0, "Return": null, "GasUsed": 5, "EventsRoot": null},
            "TipSet": [sent().cid],
            "Height": 60,
        }))
        .unwrap();
        let told = describe(&sent(), Some(&found), 70).unwrap();
        assert_eq!(told["State"], ON_CHAIN);
        assert_eq!(told["Confidence"], 10);
        assert_eq!(told["Receipt"]["GasUsed"], 5);
        assert_eq!(told["TipSetKey"][0], sent().cid);
    }
}
