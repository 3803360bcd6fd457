//! `VenusWorker.*` over HTTP POST on any path, and `/metrics`, `/healthcheck`, `/readiness`
//! beside it. Everybody may look; commands from other hosts need a token (law 12).
//!
//! Upstream's `WorkerSetEnv` and `WorkerRemoveEnv` are not offered: they would let a caller
//! change the environment of every later child.

use crate::{
    control::{Command, Control, Refused},
    view::Board,
};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use damocles_api::{
    code::{NOT_PERMITTED, error},
    timeline::TimelineEntry,
    worker::{ThreadInfo, WorkerServer},
};
use damocles_daemon::{
    auth::{Denied, Guard, Permission, Permissions},
    build,
};
use damocles_flow::State as SectorState;
use jsonrpsee::{
    Methods,
    core::{RpcResult, async_trait},
    types::{
        ErrorObjectOwned,
        error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{net::SocketAddr, sync::Arc};

/// Methods that change something.
const COMMANDS: [&str; 2] = ["VenusWorker.WorkerPause", "VenusWorker.WorkerResume"];
/// Upstream's bound.
const LARGEST_BODY: usize = 5 << 20;

/// A sealing thread as operators reach it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub control: Arc<Control>,
    pub board: Arc<Board>,
}

/// The methods.
#[derive(Clone, Debug)]
pub struct WorkerRpc {
    pub seats: Arc<Vec<Seat>>,
}

impl WorkerRpc {
    /// By the index that the list shows: the position in the config file.
    fn seat(&self, index: u64) -> Result<&Seat, ErrorObjectOwned> {
        let found = self.seats.iter().find(|s| s.board.index() as u64 == index);
        found.ok_or_else(|| {
            let last = self.seats.last().map_or(0, |s| s.board.index());
            error(
                INVALID_PARAMS_CODE,
                format!("worker #{index} not found; there are #0 to #{last}"),
            )
        })
    }
}

#[async_trait]
impl WorkerServer for WorkerRpc {
    async fn worker_list(&self) -> RpcResult<Vec<ThreadInfo>> {
        Ok(self.seats.iter().map(|s| s.board.info()).collect())
    }

    async fn worker_pause(&self, index: u64) -> RpcResult<bool> {
        let asked = self.seat(index)?.control.command(Command::Pause);
        tracing::info!(index, "asked to pause: {}", told(&asked));
        Ok(asked.is_ok())
    }

    async fn worker_resume(&self, index: u64, state: Option<String>) -> RpcResult<bool> {
        let seat = self.seat(index)?;
        let command = match state.as_deref().filter(|s| !s.is_empty()) {
            None => Command::Resume,
            Some(name) => Command::ResumeAt(name.parse::<SectorState>().map_err(|_| {
                error(
                    INVALID_PARAMS_CODE,
                    format!("{name:?} is not a state; write for example PC1Done or Aborted"),
                )
            })?),
        };
        let asked = seat.control.command(command);
        tracing::info!(index, state, "asked to resume: {}", told(&asked));
        match asked {
            Ok(_) => Ok(true),
            // what upstream says with a bare false
            Err(Refused::NotPaused | Refused::Stopping) => Ok(false),
            Err(refused) => Err(error(INVALID_PARAMS_CODE, refused)),
        }
    }

    async fn worker_version(&self) -> RpcResult<String> {
        Ok(build::version())
    }

    async fn worker_timeline(&self, index: u64) -> RpcResult<Vec<TimelineEntry>> {
        let Some(meta) = self.seat(index)?.board.database() else {
            return Ok(Vec::new());
        };
        meta.timeline().map_err(|e| error(INTERNAL_ERROR_CODE, e))
    }
}

fn told<T>(asked: &Result<T, Refused>) -> String {
    match asked {
        Ok(_) => "done".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

#[derive(Clone)]
struct Door {
    methods: Methods,
    guard: Guard,
}

/// The routes. To be served with peer addresses, as `damocles_daemon::http` does.
pub fn router(rpc: WorkerRpc, guard: Guard, monitoring: Router) -> Router {
    let door = Door {
        methods: rpc.into_rpc().into(),
        guard,
    };
    monitoring.merge(
        Router::new()
            .fallback(call)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(door),
    )
}

async fn call(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if method != Method::POST {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            "JSON-RPC is spoken by POST\n",
        )
            .into_response();
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let json = kind.is_some_and(|k| k.split(';').next().map(str::trim) == Some("application/json"));
    if !json {
        // a web page cannot send this type without asking first, so it cannot command us
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/json\n",
        )
            .into_response();
    }
    let allowed = match door.guard.permissions(peer.ip(), &headers) {
        Ok(allowed) => allowed,
        Err(Denied::NoToken) => Permissions::up_to(Permission::Read),
        Err(denied @ Denied::BadToken) => {
            return (StatusCode::UNAUTHORIZED, format!("{denied}\n")).into_response();
        }
    };
    let answer = answer(&door.methods, allowed, &body).await;
    ([(CONTENT_TYPE, "application/json")], answer).into_response()
}

/// One request or a list of them.
async fn answer(methods: &Methods, allowed: Permissions, body: &[u8]) -> String {
    if body.trim_ascii_start().starts_with(b"[") {
        let Ok(list) = serde_json::from_slice::<Vec<Box<RawValue>>>(body) else {
            return parse_error();
        };
        let mut answers = Vec::new();
        for request in list {
            answers.push(answer_one(methods, allowed, request.get()).await);
        }
        return format!("[{}]", answers.join(","));
    }
    match std::str::from_utf8(body) {
        Ok(text) => answer_one(methods, allowed, text).await,
        Err(_) => parse_error(),
    }
}

fn parse_error() -> String {
    r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#.to_owned()
}

async fn answer_one(methods: &Methods, allowed: Permissions, text: &str) -> String {
    #[derive(Deserialize)]
    struct Head {
        method: String,
        #[serde(default)]
        id: serde_json::Value,
    }
    let Ok(head) = serde_json::from_str::<Head>(text) else {
        return parse_error();
    };
    if COMMANDS.contains(&head.method.as_str()) && !allowed.allows(Permission::Write) {
        let why = serde_json::json!({
            "jsonrpc": "2.0",
            "error": {
                "code": NOT_PERMITTED,
                "message": format!("{} from another host needs a token that allows write", head.method),
            },
            "id": head.id,
        });
        return why.to_string();
    }
    match methods.raw_json_request(text, 1).await {
        Ok((response, _)) => response.get().to_owned(),
        Err(_) => parse_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_daemon::auth::Secret;
    use damocles_flow::PlanName;
    use serde_json::{Value, json};

    fn methods() -> (Methods, Arc<Vec<Seat>>) {
        let seats = Arc::new(vec![Seat {
            control: Arc::default(),
            board: Arc::new(Board::new(0, "/t0".into(), PlanName::Sealer)),
        }]);
        let rpc = WorkerRpc {
            seats: Arc::clone(&seats),
        };
        (rpc.into_rpc().into(), seats)
    }

    async fn ask(methods: &Methods, allowed: Permissions, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": format!("VenusWorker.{method}"), "params": params});
        serde_json::from_str(&answer(methods, allowed, body.to_string().as_bytes()).await).unwrap()
    }

    #[tokio::test]
    async fn upstreams_shapes() {
        let (methods, _) = methods();
        let all = Permissions::all();
        let list = ask(&methods, all, "WorkerList", json!([])).await;
        assert_eq!(list["result"][0]["thread_state"], json!({"state": "Idle"}));
        assert_eq!(list["result"][0]["job_state"], "");
        assert_eq!(
            ask(&methods, all, "WorkerResume", json!([0])).await["result"],
            false
        );
        assert_eq!(
            ask(&methods, all, "WorkerPause", json!([0])).await["result"],
            true
        );
        assert_eq!(
            ask(&methods, all, "WorkerPause", json!([0])).await["result"],
            false
        );
        let unknown = ask(&methods, all, "WorkerPause", json!([7])).await;
        assert_eq!(unknown["error"]["code"], -32602);
        assert!(
            unknown["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("worker #7 not found")
        );
        let wrong = ask(&methods, all, "WorkerResume", json!([0, "PC9"])).await;
        assert!(
            wrong["error"]["message"]
                .as_str()
                .unwrap()
                .contains("is not a state")
        );
        assert_eq!(answer(&methods, all, b"nonsense").await, parse_error());
        let batch = answer(
            &methods,
            all,
            br#"[{"jsonrpc":"2.0","id":1,"method":"VenusWorker.WorkerVersion","params":[]}]"#,
        )
        .await;
        assert!(serde_json::from_str::<Value>(&batch).unwrap()[0]["result"].is_string());
    }

    #[tokio::test]
    async fn strangers_may_look_but_not_command() {
        let (methods, seats) = methods();
        let guard = Guard::new(Secret::new(&[1; 32]), Vec::new());
        let far = guard.permissions("8.8.8.8".parse().unwrap(), &HeaderMap::new());
        assert_eq!(far, Err(Denied::NoToken));
        let read = Permissions::up_to(Permission::Read);
        assert!(ask(&methods, read, "WorkerList", json!([])).await["result"].is_array());
        let refused = ask(&methods, read, "WorkerPause", json!([0])).await;
        assert_eq!(refused["error"]["code"], NOT_PERMITTED);
        assert_eq!(seats[0].control.interrupt(), None);
    }
}
