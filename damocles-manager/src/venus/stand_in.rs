//! A service of Venus over HTTP, as tests write it: what it answers to each method, and what it was
//! called with.

use crate::policy::NodeEndpoint;
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};
use tokio::net::TcpListener;

/// One call as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) params: Value,
    pub(crate) namespace: Option<String>,
    pub(crate) authorization: Option<String>,
}

/// The service; it ends with the test.
#[derive(Clone, Default)]
pub(crate) struct StandIn {
    answers: Arc<Mutex<HashMap<String, Result<Value, String>>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What is answered in place of everything.
    status: Arc<Mutex<Option<StatusCode>>>,
}

impl StandIn {
    /// Serves at `path`; the endpoint, as a config with a WebSocket address and a token has it.
    pub(crate) async fn serve(&self, path: &'static str) -> NodeEndpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}{path}", listener.local_addr().unwrap());
        let this = self.clone();
        let reply = move |headers: HeaderMap, Json(call): Json<Value>| {
            std::future::ready(this.reply(&headers, &call))
        };
        let router = Router::new().route(path, post(reply));
        tokio::spawn(async move { axum::serve(listener, router).await });
        NodeEndpoint {
            url,
            token: Some("a.b.c".into()),
        }
    }

    fn reply(&self, headers: &HeaderMap, call: &Value) -> (StatusCode, Json<Value>) {
        let header = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
        let method = call["method"].as_str().unwrap().to_owned();
        self.calls.lock().push(Call {
            method: method.clone(),
            params: call["params"].clone(),
            namespace: header("X-VENUS-API-NAMESPACE"),
            authorization: header("Authorization"),
        });
        if let Some(status) = *self.status.lock() {
            return (status, Json(Value::Null));
        }
        let body = match self.answers.lock().get(&method) {
            Some(Ok(result)) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Some(Err(message)) => {
                json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": 1, "message": message}})
            }
            None => {
                let message = format!("method '{method}' not found");
                json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": message}})
            }
        };
        (StatusCode::OK, Json(body))
    }

    pub(crate) fn answers(&self, method: &str, with: Value) {
        self.answers.lock().insert(method.to_owned(), Ok(with));
    }

    pub(crate) fn refuses(&self, method: &str, with: &str) {
        let with = Err(with.to_owned());
        self.answers.lock().insert(method.to_owned(), with);
    }

    /// From now on it answers nothing but that status.
    pub(crate) fn breaks(&self, status: StatusCode) {
        *self.status.lock() = Some(status);
    }

    /// What it was called with since it was asked last.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }
}
