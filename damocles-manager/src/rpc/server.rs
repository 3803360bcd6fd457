//! One listener: JSON-RPC at `/rpc/v0` over HTTP POST and WebSocket, monitoring beside it.

use super::{
    caller::{self, Called},
    gate::{ApiMetrics, Gate, Large},
    noted::Call,
    pieces,
    session::{self, Answer, Sessions, Still},
};
use crate::pieces::Pieces;
use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::{ConnectInfo, Request},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use damocles_api::{MANAGER_RPC_PATH, code::NOT_PERMITTED};
use damocles_daemon::{
    audit::Audit,
    auth::{Denied, Guard, Permission, Permissions},
    http::{self, Caller},
    metrics::{self, Metrics, Readiness},
    seldom::Seldom,
    tls::Tls,
};
use jsonrpsee::{
    Methods,
    core::middleware::RpcServiceBuilder,
    server::{BatchRequestConfig, Server, ServerConfig, ServerHandle, stop_channel},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Largest request. A submitted proof is a few KiB; the largest real one is a report of some
/// hundred attempts with what they failed of.
const MAX_REQUEST: u32 = 1 << 20;
/// Largest answer; a listing of a hundred thousand sectors fits.
const MAX_RESPONSE: u32 = 512 << 20;

/// What the server serves.
#[derive(Clone, Debug)]
pub struct Serve {
    pub methods: Methods,
    pub pieces: Pieces,
    pub guard: Guard,
    /// What is shown to those who speak TLS.
    pub tls: Tls,
    /// Where it is noted who changed what; None: nowhere.
    pub audit: Option<Audit>,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// Serves until `stop` is cancelled; then takes no new calls and lets running ones end.
pub async fn run(
    listener: TcpListener,
    serve: Serve,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let tls = serve.tls.clone();
    let (routes, _handle) = routes(serve, stop.clone());
    http::serve_with(tls, listener, routes, stop).await;
    Ok(())
}

/// The routes, to be served with peer addresses; they answer for as long as the handle is kept.
pub(super) fn routes(serve: Serve, stop: CancellationToken) -> (Router, ServerHandle) {
    let (stop_handle, server_handle) = stop_channel();
    let api_metrics = ApiMetrics::register(&serve.metrics);
    let large = Large::default();
    let (audit, of_calls) = (serve.audit.clone(), serve.audit.clone());
    let gate = RpcServiceBuilder::new()
        .layer_fn(move |inner| Gate {
            inner,
            metrics: api_metrics.clone(),
            large: large.clone(),
            audit: of_calls.clone(),
        })
        .layer_fn(Called);
    let config = ServerConfig::builder()
        .max_request_body_size(MAX_REQUEST)
        .max_response_body_size(MAX_RESPONSE)
        // connections and sessions are counted elsewhere
        .max_connections(u32::MAX)
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .http_only()
        .build();
    let builder = Server::builder()
        .set_config(config)
        .set_rpc_middleware(gate)
        .to_service_builder();
    let Serve {
        methods,
        pieces,
        guard,
        metrics,
        readiness,
        audit: _,
        tls: _,
    } = serve;
    let sessions = Sessions::new(MAX_REQUEST as usize, stop);
    let at_pieces = guard.clone();
    let admit =
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next| {
            let allowed = at_pieces.admit(peer.ip(), request.headers());
            let audit = audit.clone();
            async move {
                let allowed = allowed.map(|admitted| {
                    if let Some(bearer) = admitted.bearer {
                        request.extensions_mut().insert(bearer);
                    }
                    admitted.permissions
                });
                let changes = allowed.is_ok() && wants(&request) == Permission::Write;
                let call = audit
                    .filter(|_| changes)
                    .map(|log| (Call::of_piece(&request), log));
                let response = admitted(peer, allowed, request, next).await;
                if let Some((call, log)) = call {
                    log.note(call.ended(response.status()));
                }
                response
            }
        };
    let pieces = Router::new()
        .route(pieces::PATH, any(pieces::answer))
        .with_state(pieces)
        .layer(middleware::from_fn(admit));
    let rpc = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request| {
        let allowed = guard.admit(peer.ip(), request.headers());
        let guard = guard.clone();
        let service = builder.clone().build(methods.clone(), stop_handle.clone());
        let sessions = sessions.clone();
        async move {
            let admitted = match allowed {
                Ok(admitted) => admitted,
                Err(denied) => return turn_away(peer, &denied),
            };
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.trust();
            }
            request.extensions_mut().insert(admitted.permissions);
            if let Some(bearer) = admitted.bearer {
                request.extensions_mut().insert(bearer);
            }
            caller::note(&mut request);
            if session::is_wanted(&request) {
                let service = service.clone();
                let each: Answer = Arc::new(move |call| Box::pin(answer(service.clone(), call)));
                let headers = request.headers().clone();
                let still: Still = Arc::new(move || guard.admit(peer.ip(), &headers).map(drop));
                return sessions.open(peer.ip(), request, each, still).await;
            }
            match whole(request).await {
                Ok(request) => answer(service, request).await,
                Err(refused) => refused,
            }
        }
    };
    let router = Router::new()
        .route(MANAGER_RPC_PATH, any(rpc))
        .merge(pieces)
        .merge(metrics::router(metrics, readiness));
    (router, server_handle)
}

/// What a request at the piece stores needs.
fn wants(request: &Request) -> Permission {
    match *request.method() {
        Method::GET | Method::HEAD => Permission::Read,
        _ => Permission::Write,
    }
}

/// Lets those at the piece stores who may read there or, with a `PUT`, write.
async fn admitted(
    peer: SocketAddr,
    allowed: Result<Permissions, Denied>,
    request: Request,
    next: Next,
) -> Response {
    let permissions = match allowed {
        Ok(permissions) => permissions,
        Err(denied) => return turn_away(peer, &denied),
    };
    let wanted = wants(&request);
    if !permissions.allows(wanted) {
        let why = format!("this needs the permission {wanted}\n");
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    if let Some(caller) = request.extensions().get::<Caller>() {
        caller.trust();
    }
    next.run(request).await
}

/// The request with all of its body in memory, where it has one. What is too large is refused
/// by its announced length, or as soon as it has come to more, and by the same answer.
async fn whole(request: Request) -> Result<Request, Response> {
    let too_large = || {
        let text =
            format!("the request did not arrive whole, or has more than {MAX_REQUEST} bytes\n");
        (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
    };
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > u64::from(MAX_REQUEST) {
        return Err(too_large());
    }
    match to_bytes(body, MAX_REQUEST as usize).await {
        Ok(bytes) => Ok(Request::from_parts(head, Body::from(bytes))),
        Err(_) => Err(too_large()),
    }
}

/// Length of a JSON null.
const NULL: u64 = 4;

async fn answer<S, B>(mut service: S, request: Request) -> Response
where
    S: Service<Request, Response = axum::http::Response<B>>,
    S::Error: std::fmt::Display,
    B: HttpBody<Data = axum::body::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    match service.call(request).await {
        // no answer of a call is that short: it is the `null` that a notification leaves
        Ok(response) if response.body().size_hint().exact() == Some(NULL) => {
            response.map(|_| Body::empty())
        }
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
    static TURNED_AWAY: Seldom = Seldom::new(Duration::from_secs(10));
    if let Some(more) = TURNED_AWAY.now() {
        tracing::warn!(%peer, more, reason = %denied, "caller turned away");
    }
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
