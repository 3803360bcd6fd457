//! `VenusWorker.*` over HTTP POST on any path, and `/metrics`, `/healthcheck`, `/readiness`
//! beside it. Everybody may look; commands from other hosts need a token (law 12).
//!
//! Upstream's `WorkerSetEnv` and `WorkerRemoveEnv` are not offered: they would let a caller
//! change the environment of every later child.

mod methods;

pub use methods::{Seat, WorkerRpc};

use axum::{
    Router,
    body::to_bytes,
    extract::{ConnectInfo, Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use damocles_api::{code::NOT_PERMITTED, worker::WorkerServer};
use damocles_daemon::{
    auth::{Denied, Guard, Permission, Permissions},
    http::Caller,
};
use damocles_types::shown;
use jsonrpsee::{
    Methods,
    types::error::{
        INVALID_PARAMS_CODE, INVALID_REQUEST_CODE, METHOD_NOT_FOUND_CODE, OVERSIZED_RESPONSE_CODE,
        PARSE_ERROR_CODE,
    },
};
use serde::{
    Deserialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, net::SocketAddr, ops::RangeInclusive, sync::Arc};
use tokio::sync::Semaphore;

/// Every method: how many parameters it takes, and what a caller must be allowed. What is not
/// listed here is not served.
const METHODS: [(&str, RangeInclusive<usize>, Permission); 11] = [
    ("VenusWorker.WorkerList", 0..=0, Permission::Read),
    ("VenusWorker.WorkerPause", 1..=1, Permission::Write),
    ("VenusWorker.WorkerResume", 1..=2, Permission::Write),
    ("VenusWorker.WorkerAbort", 2..=2, Permission::Write),
    ("VenusWorker.WorkerKill", 1..=1, Permission::Write),
    ("VenusWorker.WorkerDrain", 1..=2, Permission::Write),
    ("VenusWorker.WorkerProcessors", 0..=0, Permission::Read),
    ("VenusWorker.WorkerDisks", 0..=0, Permission::Read),
    ("VenusWorker.WorkerDump", 1..=2, Permission::Write),
    ("VenusWorker.WorkerVersion", 0..=0, Permission::Read),
    ("VenusWorker.WorkerTimeline", 1..=1, Permission::Read),
];
/// Bytes of a request; no real one has a hundredth of that.
const LARGEST_BODY: usize = 1 << 20;
/// The same for callers without a token.
const LARGEST_FROM_STRANGERS: usize = 64 << 10;
/// Requests in one list, and bytes of all the answers to it.
const LONGEST_BATCH: usize = 50;
const LARGEST_ANSWER: usize = 8 << 20;
/// Callers without a token who are answered at a time.
const STRANGERS: usize = 8;

#[derive(Clone)]
struct Door {
    methods: Methods,
    guard: Guard,
    strangers: Arc<Semaphore>,
}

/// The routes. To be served with peer addresses, as `damocles_daemon::http` does.
pub fn router(rpc: WorkerRpc, guard: Guard, monitoring: Router) -> Router {
    let door = Door {
        methods: rpc.into_rpc().into(),
        guard,
        strangers: Arc::new(Semaphore::new(STRANGERS)),
    };
    monitoring.merge(Router::new().fallback(call).with_state(door))
}

async fn call(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if request.method() != Method::POST {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            "JSON-RPC is spoken by POST\n",
        )
            .into_response();
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()?.split(';').next());
    if !kind.is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
        // a web page cannot send this type without asking first, so it cannot command us
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/json\n",
        )
            .into_response();
    }
    let allowed = match door.guard.permissions(peer.ip(), request.headers()) {
        Ok(allowed) => {
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.trust();
            }
            Some(allowed)
        }
        Err(Denied::NoToken) => None,
        Err(denied @ (Denied::BadToken | Denied::Revoked | Denied::TooMany)) => {
            return (StatusCode::UNAUTHORIZED, format!("{denied}\n")).into_response();
        }
    };
    // the semaphore is never closed, and the server limits the wait
    let _turn = match allowed {
        Some(_) => None,
        None => door.strangers.acquire().await.ok(),
    };
    let most = match allowed {
        Some(_) => LARGEST_BODY,
        None => LARGEST_FROM_STRANGERS,
    };
    let Ok(body) = to_bytes(request.into_body(), most).await else {
        let text = format!("the request did not arrive whole, or has more than {most} bytes\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    let allowed = allowed.unwrap_or_else(|| Permissions::up_to(Permission::Read));
    let answer = answer(&door.methods, allowed, &body).await;
    ([(CONTENT_TYPE, "application/json")], answer).into_response()
}

/// One request or a list of them. What wants no answer gets none.
async fn answer(methods: &Methods, allowed: Permissions, body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return refusal(&None, PARSE_ERROR_CODE, "Parse error");
    };
    if !text.trim_ascii_start().starts_with('[') {
        return answer_one(methods, allowed, text).await.unwrap_or_default();
    }
    let list = match serde_json::from_str::<Requests<'_>>(text) {
        Ok(Requests(list)) => list,
        Err(e) if e.to_string().starts_with(TOO_MANY) => {
            let why = format!("a list may have {LONGEST_BATCH} requests");
            return refusal(&None, INVALID_REQUEST_CODE, why);
        }
        Err(_) => return refusal(&None, PARSE_ERROR_CODE, "Parse error"),
    };
    let mut answers = String::new();
    for request in list {
        if answers.len() > LARGEST_ANSWER {
            return refusal(
                &None,
                OVERSIZED_RESPONSE_CODE,
                "the answers to this list are too large together; ask for less at once",
            );
        }
        if let Some(answer) = answer_one(methods, allowed, request.get()).await {
            answers.push(if answers.is_empty() { '[' } else { ',' });
            answers.push_str(&answer);
        }
        // others are served in between
        tokio::task::yield_now().await;
    }
    if !answers.is_empty() {
        answers.push(']');
    }
    answers
}

/// A list that is not read further than it may be long.
struct Requests<'a>(Vec<&'a RawValue>);

const TOO_MANY: &str = "too many requests";

impl<'de> Deserialize<'de> for Requests<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of requests")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(request) = seq.next_element()? {
                    if list.len() == LONGEST_BATCH {
                        return Err(serde::de::Error::custom(TOO_MANY));
                    }
                    list.push(request);
                }
                Ok(list)
            }
        }
        from.deserialize_seq(List).map(Requests)
    }
}

fn refusal(id: &Option<Box<RawValue>>, code: i32, message: impl fmt::Display) -> String {
    serde_json::json!({
        "jsonrpc": "2.0",
        "error": { "code": code, "message": message.to_string() },
        "id": id,
    })
    .to_string()
}

/// The answer; None to a notification, which is not carried out.
async fn answer_one(methods: &Methods, allowed: Permissions, text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        method: String,
        #[serde(borrow, default)]
        params: Option<&'a RawValue>,
        #[serde(default, deserialize_with = "present")]
        id: Option<Box<RawValue>>,
    }
    /// A null is an id too.
    fn present<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Box<RawValue>>, D::Error> {
        Box::<RawValue>::deserialize(from).map(Some)
    }
    let Ok(head) = serde_json::from_str::<Head<'_>>(text) else {
        return Some(refusal(&None, PARSE_ERROR_CODE, "Parse error"));
    };
    head.id.as_ref()?;
    let refuse = |code, why: String| Some(refusal(&head.id, code, why));
    let found = METHODS.iter().find(|(name, ..)| *name == head.method);
    let Some((name, takes, needs)) = found else {
        let why = format!("method '{}' not found", shown(&head.method, 100));
        return refuse(METHOD_NOT_FOUND_CODE, why);
    };
    if !allowed.allows(*needs) {
        let why = format!("{name} from another host needs a token that allows {needs}");
        return refuse(NOT_PERMITTED, why);
    }
    let given = match head.params {
        None => Some(0),
        Some(params) => count(params.get()),
    };
    if !given.is_some_and(|given| takes.contains(&given)) {
        let (least, most) = (takes.start(), takes.end());
        let why = format!("{name} takes a list of {least} to {most} parameters");
        return refuse(INVALID_PARAMS_CODE, why);
    }
    match methods.raw_json_request(text, 1).await {
        Ok((response, _)) => Some(response.get().to_owned()),
        Err(_) => refuse(PARSE_ERROR_CODE, "Parse error".to_owned()),
    }
}

/// The length of a list; null is an empty one.
fn count(params: &str) -> Option<usize> {
    let list: Option<Vec<IgnoredAny>> = serde_json::from_str(params).ok()?;
    Some(list.map_or(0, |list| list.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::ThreadPlan, threads::drain::Drain, view::Board};
    use damocles_daemon::auth::Secret;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use tower::Service as _;

    fn methods() -> (Methods, Arc<Vec<Seat>>) {
        let seats = Arc::new(vec![Seat {
            control: Arc::default(),
            board: Arc::new(Board::new(0, "/t0".into(), ThreadPlan::Sealer)),
        }]);
        let rpc = WorkerRpc {
            seats: Arc::clone(&seats),
            drain: Drain::default(),
            pool: None,
            disks: None,
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
        assert_eq!(list["result"][0].get("pause_asked"), None, "as upstream's");
        let list = ask(&methods, all, "WorkerList", json!([])).await;
        assert_eq!(list["result"][0]["pause_asked"], true);
        let unknown = ask(&methods, all, "WorkerPause", json!([7])).await;
        assert_eq!(unknown["error"]["code"], -32602);
        assert!(
            unknown["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("thread #7 not found")
        );
        let wrong = ask(&methods, all, "WorkerResume", json!([0, "PC9"])).await;
        assert!(
            wrong["error"]["message"]
                .as_str()
                .unwrap()
                .contains("is not a state")
        );
        let nonsense = answer(&methods, all, b"nonsense").await;
        let nonsense: Value = serde_json::from_str(&nonsense).unwrap();
        assert_eq!(nonsense["error"]["code"], PARSE_ERROR_CODE);
        assert_eq!(nonsense["id"], json!(null));
        let batch = answer(
            &methods,
            all,
            br#"[{"jsonrpc":"2.0","id":1,"method":"VenusWorker.WorkerVersion","params":[]}]"#,
        )
        .await;
        assert!(serde_json::from_str::<Value>(&batch).unwrap()[0]["result"].is_string());
    }

    /// The real routes, asked from an address.
    struct Far {
        router: Router,
        secret: Secret,
        seats: Arc<Vec<Seat>>,
    }

    fn far() -> Far {
        let (_, seats) = methods();
        let rpc = WorkerRpc {
            seats: Arc::clone(&seats),
            drain: Drain::default(),
            pool: None,
            disks: None,
        };
        let secret = Secret::new(&[1; 32]);
        let guard = Guard::new(secret.clone(), Vec::new());
        Far {
            router: router(rpc, guard, Router::new()),
            secret,
            seats,
        }
    }

    impl Far {
        async fn post(&self, peer: &str, token: Option<&str>, body: String) -> (StatusCode, Value) {
            let mut request = Request::post("/");
            request = request.header(CONTENT_TYPE, "Application/JSON; charset=utf-8");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let mut request: Request = request.body(axum::body::Body::from(body)).unwrap();
            let peer = SocketAddr::new(peer.parse().unwrap(), 1);
            request.extensions_mut().insert(ConnectInfo(peer));
            let response: Response = self.router.clone().call(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap_or_default())
        }
    }

    fn request(method: &str, params: Value) -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "method": format!("VenusWorker.{method}"), "params": params})
    }

    #[tokio::test]
    async fn strangers_may_look_but_not_command() {
        let it = far();
        let token = |top| it.secret.token(top).unwrap();
        let (read, write) = (token(Permission::Read), token(Permission::Write));
        let foreign = Secret::new(&[2; 32]).token(Permission::Admin).unwrap();
        let commands = [
            request("WorkerPause", json!([0])),
            request("WorkerResume", json!([0, "Aborted"])),
            request("WorkerAbort", json!([0, "x"])),
            request("WorkerKill", json!([0])),
            request("WorkerDrain", json!([true])),
            request("WorkerDump", json!(["pc1-0", "/tmp"])),
        ];
        for token in [None, Some(read.as_str())] {
            let (_, list) = it
                .post(
                    "8.8.8.8",
                    token,
                    request("WorkerList", json!([])).to_string(),
                )
                .await;
            assert!(list["result"].is_array(), "{list}");
            for command in &commands {
                let (_, refused) = it.post("8.8.8.8", token, command.to_string()).await;
                assert_eq!(refused["error"]["code"], NOT_PERMITTED, "{refused}");
            }
            let (_, batch) = it.post("8.8.8.8", token, json!(commands).to_string()).await;
            for n in 0..commands.len() {
                assert_eq!(batch[n]["error"]["code"], NOT_PERMITTED, "{batch}");
            }
        }
        for bad in ["a.b.c", &foreign] {
            for peer in ["8.8.8.8", "127.0.0.1"] {
                let (status, _) = it.post(peer, Some(bad), commands[0].to_string()).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{peer}");
            }
        }
        assert_eq!(it.seats[0].control.interrupt(), None, "nothing was done");
        let (_, done) = it
            .post("8.8.8.8", Some(&write), json!([commands[0]]).to_string())
            .await;
        assert_eq!(done[0]["result"], true);
        let again = it.post("127.0.0.1", None, commands[0].to_string()).await.1;
        assert_eq!(again["result"], false, "it is asked already: {again}");
    }

    #[tokio::test]
    async fn what_a_stranger_may_cost_is_bounded() {
        let it = far();
        let version = request("WorkerVersion", json!([]));
        let many = |n| Value::Array(vec![version.clone(); n]).to_string();
        let (_, all) = it.post("8.8.8.8", None, many(LONGEST_BATCH)).await;
        assert_eq!(all.as_array().unwrap().len(), LONGEST_BATCH);
        for list in [
            many(LONGEST_BATCH + 1),
            format!("[{}0]", "0,".repeat(30_000)),
        ] {
            let (_, refused) = it.post("8.8.8.8", None, list).await;
            assert_eq!(refused["error"]["code"], INVALID_REQUEST_CODE, "{refused}");
        }
        let padded = |n| format!("{version}{}", " ".repeat(n));
        for (n, token, fits) in [
            (LARGEST_FROM_STRANGERS, false, false),
            (LARGEST_FROM_STRANGERS, true, true),
            (LARGEST_BODY, true, false),
        ] {
            let read = it.secret.token(Permission::Read).unwrap();
            let token = token.then_some(read.as_str());
            let (status, _) = it.post("8.8.8.8", token, padded(n)).await;
            assert_eq!(status == StatusCode::OK, fits, "{n} {token:?} {status}");
        }
    }

    #[tokio::test]
    async fn parameters_are_as_many_as_the_method_takes_and_notifications_do_nothing() {
        let it = far();
        for (method, params) in [
            ("WorkerVersion", json!(["%s%n%s"])),
            ("WorkerList", json!({})),
            ("WorkerPause", json!([])),
            ("WorkerResume", json!([0, null, 1])),
        ] {
            let body = request(method, params).to_string();
            let (_, refused) = it.post("127.0.0.1", None, body).await;
            assert_eq!(refused["error"]["code"], INVALID_PARAMS_CODE, "{refused}");
        }
        let unknown = request("WorkerSetEnv", json!(["PATH", "/tmp"])).to_string();
        let (_, refused) = it.post("127.0.0.1", None, unknown).await;
        assert_eq!(refused["error"]["code"], METHOD_NOT_FOUND_CODE);
        let why = refused["error"]["message"].as_str().unwrap();
        assert!(why.contains("WorkerSetEnv"), "{why}");
        let mut notification = request("WorkerPause", json!([0]));
        notification.as_object_mut().unwrap().remove("id");
        for body in [notification.clone(), json!([notification])] {
            let (status, nothing) = it.post("127.0.0.1", None, body.to_string()).await;
            assert_eq!((status, nothing), (StatusCode::OK, Value::Null));
        }
        assert_eq!(it.seats[0].control.interrupt(), None);
    }

    #[tokio::test]
    async fn a_drain_goes_somewhere_that_there_is_and_a_dump_into_a_directory() {
        let (methods, _) = methods();
        let all = Permissions::all();
        let error = async |method, params| {
            let answer = ask(&methods, all, method, params).await;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            (answer["error"]["code"].clone(), message.to_owned())
        };
        let (code, why) = error("WorkerDrain", json!([true, "soon"])).await;
        assert_eq!(code, INVALID_PARAMS_CODE);
        assert!(why.contains("precommit"), "{why}");
        assert_eq!(
            ask(&methods, all, "WorkerDrain", json!([true, "ticket"])).await["result"],
            json!([])
        );
        for dir in ["relative", "/no/such/directory"] {
            let (code, why) = error("WorkerDump", json!(["pc1-0", dir])).await;
            assert_eq!(code, INVALID_PARAMS_CODE);
            assert!(why.contains("directory"), "{why}");
        }
        let (_, why) = error("WorkerDump", json!(["pc9-0", null])).await;
        assert!(why.contains("not found"), "{why}");
    }

    #[test]
    fn the_table_lists_what_is_served() {
        let (methods, _) = methods();
        let served: BTreeSet<&str> = methods.method_names().collect();
        let listed: BTreeSet<&str> = METHODS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(served, listed);
    }
}
