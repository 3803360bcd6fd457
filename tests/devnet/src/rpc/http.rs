//! HTTP and the way to WebSocket: `/rpc/v1` and `/rpc/v0` (the same methods), tokens from
//! `Authorization: Bearer` or, as in Lotus, the query parameter `token`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::call::RpcError;
use super::dispatch::{self, Caller};
use super::node::Node;
use super::ws;

/// Bytes of one request (go-jsonrpc `DEFAULT_MAX_REQUEST_SIZE`).
pub(super) const MAX_REQUEST: usize = 100 << 20;

#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    stop: CancellationToken,
}

/// The routes; WebSocket sessions end when `stop` is cancelled.
pub fn router(node: Arc<Node>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/rpc/v0", any(rpc))
        .route("/rpc/v1", any(rpc))
        .with_state(Shared { node, stop })
}

/// Serves until `stop` is cancelled; running requests are cut off then.
pub async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = router(node, stop.clone());
    // Waiting calls (StateWaitMsg) may take for ever, so a graceful end has a limit.
    let graceful = axum::serve(listener, app)
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    let limit = async {
        stop.cancelled().await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    tokio::select! {
        ended = graceful => ended?,
        () = limit => {}
    }
    Ok(())
}

/// Who asks; 401 when a token was given that is not ours.
fn caller(
    node: &Node,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
) -> Result<Caller, StatusCode> {
    let token = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let text = value.to_str().map_err(|_| StatusCode::UNAUTHORIZED)?;
            let token = text.strip_prefix("Bearer ");
            Some(token.ok_or(StatusCode::UNAUTHORIZED)?)
        }
        None => query.get("token").map(String::as_str),
    };
    match token.filter(|t| !t.is_empty()) {
        None => Ok(Caller::anonymous()),
        Some(token) => match node.auth.verify(token) {
            Ok(allow) => Ok(Caller::with(allow)),
            Err(reason) => {
                tracing::warn!(reason, "a token was refused");
                Err(StatusCode::UNAUTHORIZED)
            }
        },
    }
}

async fn rpc(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    body: Body,
) -> Response {
    let caller = match caller(&shared.node, &headers, &query) {
        Ok(caller) => caller,
        Err(status) => return status.into_response(),
    };
    if let Ok(upgrade) = upgrade {
        if shared.node.door.is_out() {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        return upgrade
            .max_message_size(MAX_REQUEST)
            .on_upgrade(move |socket| ws::session(socket, shared.node, caller, shared.stop));
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    let Ok(bytes) = to_bytes(body, MAX_REQUEST).await else {
        let error = RpcError::new(
            RpcError::PARSE,
            format!("request bigger than maximum {MAX_REQUEST} allowed"),
        );
        let text = dispatch::reply(None, &Err(error));
        return (StatusCode::INTERNAL_SERVER_ERROR, json, text).into_response();
    };
    let Ok((status, text)) = dispatch::body(&shared.node, &caller, &bytes).await else {
        // The body breaks off before its first byte, and the connection with it.
        let broken = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other(
            "the connection is closed on request",
        ))]);
        return Body::from_stream(broken).into_response();
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, json, text).into_response()
}
