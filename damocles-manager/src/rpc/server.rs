//! One listener: JSON-RPC at `/rpc/v0` over HTTP POST and WebSocket, monitoring beside it.

use super::{
    caller::{self, Called},
    gate::{ApiMetrics, Gate},
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use damocles_api::{MANAGER_RPC_PATH, code::NOT_PERMITTED};
use damocles_daemon::{
    auth::{Denied, Guard},
    http,
    metrics::{self, Metrics, Readiness},
};
use jsonrpsee::{
    Methods,
    core::middleware::RpcServiceBuilder,
    server::{BatchRequestConfig, PingConfig, Server, ServerConfig, stop_channel},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Largest request; a submitted proof is a few KiB, an imported sector some hundred.
const MAX_REQUEST: u32 = 32 << 20;
/// Largest answer; a listing of a hundred thousand sectors fits.
const MAX_RESPONSE: u32 = 512 << 20;
/// WebSocket sessions; their calls have the gate's limit. (Other calls have the server's.)
const MAX_CONNECTIONS: u32 = 4096;

/// What the server serves.
#[derive(Clone, Debug)]
pub struct Serve {
    pub methods: Methods,
    pub guard: Guard,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// Serves until `stop` is cancelled; then takes no new calls and lets running ones end.
pub async fn run(
    listener: TcpListener,
    serve: Serve,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (stop_handle, server_handle) = stop_channel();
    let api_metrics = ApiMetrics::register(&serve.metrics);
    let gate = RpcServiceBuilder::new()
        .layer_fn(move |inner| Gate {
            inner,
            metrics: api_metrics.clone(),
        })
        .layer_fn(Called);
    let config = ServerConfig::builder()
        .max_request_body_size(MAX_REQUEST)
        .max_response_body_size(MAX_RESPONSE)
        .max_connections(MAX_CONNECTIONS)
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .enable_ws_ping(PingConfig::new())
        .build();
    let builder = Server::builder()
        .set_config(config)
        .set_rpc_middleware(gate)
        .to_service_builder();
    let Serve {
        methods,
        guard,
        metrics,
        readiness,
    } = serve;
    let rpc = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request| {
        let allowed = guard.permissions(peer.ip(), request.headers());
        let service = builder.clone().build(methods.clone(), stop_handle.clone());
        async move {
            match allowed {
                Ok(permissions) => {
                    request.extensions_mut().insert(permissions);
                    caller::note(&mut request);
                    answer(service, request).await
                }
                Err(denied) => turn_away(peer, &denied),
            }
        }
    };
    let router = Router::new()
        .route(MANAGER_RPC_PATH, any(rpc))
        .merge(metrics::router(metrics, readiness));
    let sessions = async {
        stop.cancelled().await;
        // ends WebSocket sessions after their running calls; HTTP ones end by themselves
        let _ = server_handle.stop();
    };
    tokio::join!(http::serve(listener, router, stop.clone()), sessions);
    Ok(())
}

async fn answer<S, B>(mut service: S, request: Request) -> Response
where
    S: Service<Request, Response = axum::http::Response<B>>,
    S::Error: std::fmt::Display,
    B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    match service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::warn!(%error, "a call could not be answered");
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
    }
}

/// The answer to a caller that may not call. Its body is JSON-RPC's: upstream's workers look at
/// that alone, and would else report that they cannot read the answer.
fn turn_away(peer: SocketAddr, denied: &Denied) -> Response {
    tracing::warn!(%peer, reason = %denied, "caller turned away");
    let message = format!(
        "{denied}; make one on the manager's host with `damocles-manager util auth create-token --perm write`, or name this host in its [Common.Auth] AllowAnonymous"
    );
    let body = serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {"code": NOT_PERMITTED, "message": message},
    });
    (
        [(header::WWW_AUTHENTICATE, "Bearer")],
        (StatusCode::UNAUTHORIZED, axum::Json(body)),
    )
        .into_response()
}
