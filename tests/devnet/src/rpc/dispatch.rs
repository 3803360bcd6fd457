//! JSON-RPC 2.0 as go-jsonrpc speaks it: from the text of a request to the text of a reply.

use std::sync::Arc;

use damocles_node::method::Permission;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::{Answer, Params, RpcError};
use super::door::{Door, Pass};
use super::node::Node;
use super::table::{self, Handler};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    allow: Vec<String>,
}

impl Caller {
    /// Nobody in particular: may read (Lotus' default permission).
    pub(super) fn anonymous() -> Self {
        Caller {
            allow: vec![Permission::Read.name().to_owned()],
        }
    }

    pub(super) fn with(allow: Vec<String>) -> Self {
        Caller { allow }
    }

    fn may(&self, permission: Permission) -> bool {
        self.allow.iter().any(|word| word == permission.name())
    }
}

/// One request; its id is a string, a number, or absent in a notification.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    pub(super) method: String,
    #[serde(default)]
    pub(super) params: Option<Box<RawValue>>,
}

impl Request {
    /// The id to answer to; none for a notification.
    pub(super) fn id(&self) -> Result<Option<Id>, RpcError> {
        match &self.id {
            Value::Null => Ok(None),
            Value::String(_) | Value::Number(_) => Ok(Some(Id(self.id.clone()))),
            other => Err(RpcError::new(
                RpcError::PARSE,
                format!("failed to parse ID: {other} is neither a string nor a number"),
            )),
        }
    }
}

/// The id of a request: a string or a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub(super) struct Id(pub(super) Value);

#[derive(Serialize)]
struct Reply<'a> {
    jsonrpc: &'static str,
    id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

/// The text of a reply.
pub(super) fn reply(id: Option<&Id>, answer: &Answer) -> String {
    let reply = Reply {
        jsonrpc: "2.0",
        id,
        result: answer.as_ref().ok().map(|r| &**r),
        error: answer.as_ref().err(),
    };
    // Strings, numbers and ready JSON: this cannot fail.
    serde_json::to_string(&reply).unwrap_or_default()
}

/// Finds the method and checks permission and number of parameters.
pub(super) fn resolve(
    door: &Door,
    caller: &Caller,
    request: &Request,
) -> Result<(Handler, Params), RpcError> {
    let known = table::find(&request.method).filter(|(method, _)| door.serves(method.name));
    let Some((method, handler)) = known else {
        return Err(RpcError::new(
            RpcError::NO_METHOD,
            format!("method '{}' not found", request.method),
        ));
    };
    let params = Params::read(method.name, method.params.len(), request.params.as_deref())?;
    if !caller.may(method.permission) {
        let name = method.name.split_once('.').map_or(method.name, |(_, n)| n);
        return Err(RpcError::failed(format!(
            "missing permission to invoke '{name}' (need '{}')",
            method.permission.name()
        )));
    }
    Ok((handler, params))
}

/// Runs a method; channels are refused here. None: the caller hears nothing.
pub(super) async fn run(
    node: Arc<Node>,
    name: &str,
    handler: Handler,
    params: Params,
) -> Option<Answer> {
    match node.door.before(name).await {
        Pass::Go => {}
        Pass::Refuse(error) => return Some(Err(error)),
        Pass::Silence => return None,
    }
    let answer = carry_out(Arc::clone(&node), name, handler, params).await;
    (!node.door.swallows(name)).then_some(answer)
}

async fn carry_out(node: Arc<Node>, name: &str, handler: Handler, params: Params) -> Answer {
    match handler {
        Handler::Now(method) => tokio::task::spawn_blocking(move || method(&node, params))
            .await
            .unwrap_or_else(|e| {
                Err(RpcError::new(
                    0,
                    format!("fatal error calling '{name}': panic in rpc method '{name}': {e}"),
                ))
            }),
        Handler::Wait(method) => method(node, params).await,
        Handler::Notify => Err(RpcError::new(
            RpcError::NO_METHOD,
            format!("method '{name}' not supported in this mode (no out channel support)"),
        )),
    }
}

/// The caller hears nothing: its connection ends.
#[derive(Debug)]
pub(super) struct Silence;

/// One request of a body: its reply, or none for a notification that went well. The flag
/// says whether the request itself was at fault, which go-jsonrpc tells by HTTP status 500.
async fn single(
    node: &Arc<Node>,
    caller: &Caller,
    request: &Request,
) -> Result<(Option<String>, bool), Silence> {
    let id = match request.id() {
        Ok(id) => id,
        Err(error) => return Ok((Some(reply(None, &Err(error))), true)),
    };
    if node.door.is_out() && !request.method.starts_with("Devnet.") {
        return Err(Silence);
    }
    let answer = match resolve(&node.door, caller, request) {
        Ok((handler, params)) => run(Arc::clone(node), &request.method, handler, params)
            .await
            .ok_or(Silence)?,
        Err(error) => Err(error),
    };
    let faulty = answer.as_ref().is_err_and(|e| e.code <= 0);
    if id.is_none() && !faulty {
        return Ok((None, false));
    }
    Ok((Some(reply(id.as_ref(), &answer)), faulty))
}

/// The reply to a whole HTTP body, and the HTTP status that go-jsonrpc gives it.
pub(super) async fn body(
    node: &Arc<Node>,
    caller: &Caller,
    body: &[u8],
) -> Result<(u16, String), Silence> {
    let refuse = |status, code, message: &str| {
        let error = Err(RpcError::new(code, message));
        Ok((status, reply(None, &error)))
    };
    let body = body.trim_ascii();
    if body.is_empty() {
        return refuse(400, RpcError::INVALID_REQUEST, "Invalid request");
    }
    if body.starts_with(b"[") && body.ends_with(b"]") {
        let Ok(requests) = serde_json::from_slice::<Vec<Request>>(body) else {
            return refuse(500, RpcError::PARSE, "Parse error");
        };
        if requests.is_empty() {
            return refuse(400, RpcError::INVALID_REQUEST, "Invalid request");
        }
        let mut replies = Vec::new();
        for request in &requests {
            replies.extend(single(node, caller, request).await?.0);
        }
        return Ok((200, format!("[{}]", replies.join(","))));
    }
    let Ok(request) = serde_json::from_slice::<Request>(body) else {
        return refuse(500, RpcError::PARSE, "Parse error");
    };
    let (reply, faulty) = single(node, caller, &request).await?;
    let status = if faulty { 500 } else { 200 };
    Ok((status, reply.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Door {
        Door::new(crate::rpc::Kind::Full)
    }

    fn request(text: &str) -> Request {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn permissions_are_exact_words() {
        let push = request(r#"{"id":1,"method":"Filecoin.MpoolPush","params":[null]}"#);
        let refusal = resolve(&full(), &Caller::anonymous(), &push).err().unwrap();
        assert_eq!(
            refusal,
            RpcError::new(1, "missing permission to invoke 'MpoolPush' (need 'write')")
        );
        // A token that says only "admin" does not carry "write": Lotus compares words.
        let admin = Caller::with(vec!["admin".into()]);
        assert!(resolve(&full(), &admin, &push).is_err());
        let writer = Caller::with(vec!["read".into(), "write".into()]);
        assert!(resolve(&full(), &writer, &push).is_ok());
    }

    #[test]
    fn unknown_methods_and_wrong_counts() {
        let code = |text| {
            resolve(&full(), &Caller::anonymous(), &request(text))
                .err()
                .unwrap()
        };
        let unknown = code(r#"{"id":1,"method":"Filecoin.Nope"}"#);
        assert_eq!(unknown.code, -32601);
        assert_eq!(unknown.message, "method 'Filecoin.Nope' not found");
        let count = code(r#"{"id":1,"method":"Filecoin.ChainHead","params":[1]}"#);
        assert_eq!(count.code, -32602);
    }

    #[test]
    fn ids_are_echoed_and_checked() {
        for (text, id) in [
            (r#"{"id":"a"}"#, Some(Value::from("a"))),
            (r#"{"id":7}"#, Some(Value::from(7))),
            (r#"{"id":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(request(text).id().unwrap().map(|i| i.0), id, "{text}");
        }
        assert!(request(r#"{"id":{}}"#).id().is_err());
        let ok: Answer = Ok(RawValue::from_string("null".into()).unwrap());
        assert_eq!(
            reply(Some(&Id(Value::from("a"))), &ok),
            r#"{"jsonrpc":"2.0","id":"a","result":null}"#
        );
    }
}
