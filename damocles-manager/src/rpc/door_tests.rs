//! The door towards callers who may not come in, who ask too much, or who do not listen.

use super::{METHODS, Serve, pieces::in_one_store, scene::rooms, server::routes};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request},
    http::{StatusCode, header},
    response::Response,
};
use damocles_daemon::{
    auth::{Guard, Permission, Secret},
    http,
    metrics::Readiness,
    tls::Tls,
};
use futures::{SinkExt, StreamExt};
use jsonrpsee::server::ServerHandle;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

const FAR: &str = "8.8.8.8";
const HERE: &str = "127.0.0.1";

/// The real routes, asked from an address.
struct Door {
    routes: Router,
    secret: Secret,
    stop: CancellationToken,
    _handle: ServerHandle,
    _disk: TempDir,
}

async fn door(open_network: Option<&str>) -> Door {
    let (rooms, metrics, disk, _chain) = rooms().await;
    let secret = Secret::new(&[1; 32]);
    let open = open_network.map(|net| net.parse().unwrap());
    let serve = Serve {
        pieces: in_one_store(rooms.db.clone(), disk.path()),
        methods: rooms.methods().unwrap().into(),
        guard: Guard::new(secret.clone(), open.into_iter().collect()),
        tls: Tls::default(),
        audit: None,
        metrics,
        readiness: Readiness::waiting("the node"),
    };
    let stop = CancellationToken::new();
    let (routes, handle) = routes(serve, stop.clone());
    Door {
        routes,
        secret,
        stop,
        _handle: handle,
        _disk: disk,
    }
}

impl Door {
    async fn post(&self, peer: &str, token: Option<&str>, body: String) -> (StatusCode, Value) {
        let mut request = Request::post("/rpc/v0")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, body.len());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request.body(Body::from(body)).unwrap();
        let peer: IpAddr = peer.parse().unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(peer, 1)));
        let response = self.routes.clone().call(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Of the piece stores.
    async fn piece(&self, peer: &str, token: Option<&str>, request: Request<Body>) -> Response {
        let mut request = request;
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let peer: IpAddr = peer.parse().unwrap();
        let peer = ConnectInfo(SocketAddr::new(peer, 1));
        request.extensions_mut().insert(peer);
        self.routes.clone().call(request).await.unwrap()
    }

    /// Over a real socket.
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(
            listener,
            self.routes.clone(),
            self.stop.clone(),
        ));
        address
    }
}

fn call(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// A call of the method with as many nulls as it takes.
fn any(name: &str, params: usize) -> Value {
    call(name, json!(vec![Value::Null; params]))
}

#[tokio::test]
async fn no_method_answers_a_caller_from_another_host_without_a_token() {
    let it = door(None).await;
    let foreign = Secret::new(&[2; 32]).token(Permission::Admin).unwrap();
    for method in METHODS {
        let one = any(method.name, method.params);
        for token in [None, Some("a.b.c"), Some(foreign.as_str())] {
            for body in [one.to_string(), json!([one]).to_string()] {
                let (status, _) = it.post(FAR, token, body).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{}", method.name);
            }
        }
    }
}

#[tokio::test]
async fn every_method_asks_for_its_permission() {
    let it = door(Some("8.8.8.0/24")).await;
    for method in METHODS {
        let body = any(method.name, method.params).to_string();
        for top in [Permission::Read, Permission::Write, Permission::Admin] {
            let token = it.secret.token(top).unwrap();
            let (_, answer) = it.post(FAR, Some(&token), body.clone()).await;
            let refused = answer["error"]["code"] == 11403;
            assert_eq!(
                refused,
                (method.permission as u8) > (top as u8),
                "{top} {answer}"
            );
        }
        // an open network may do what workers do
        let (_, answer) = it.post(FAR, None, body.clone()).await;
        let refused = answer["error"]["code"] == 11403;
        assert_eq!(refused, method.permission == Permission::Admin, "{answer}");
        let (_, answer) = it.post(HERE, None, body).await;
        assert_ne!(answer["error"]["code"], 11403, "{answer}");
    }
}

#[tokio::test]
async fn a_request_has_an_end_and_a_notification_no_answer() {
    let it = door(None).await;
    let version = call("Venus.Version", json!([]));
    let padded = |n| format!("{version}{}", " ".repeat(n));
    assert_eq!(it.post(HERE, None, padded(1 << 19)).await.0, StatusCode::OK);
    let (status, _) = it.post(HERE, None, padded(1 << 20)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (_, refused) = it
        .post(
            HERE,
            None,
            call("Venus.Version", json!(vec![0; 100_000])).to_string(),
        )
        .await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let quiet = json!({"jsonrpc": "2.0", "method": "Venus.Version", "params": []});
    let (status, nothing) = it.post(HERE, None, quiet.to_string()).await;
    assert_eq!((status, nothing), (StatusCode::OK, Value::Null));
}

type Session = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn session(address: SocketAddr) -> Session {
    let url = format!("ws://{address}/rpc/v0");
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

fn version(id: usize) -> tokio_tungstenite::tungstenite::Message {
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "Venus.Version", "params": []});
    tokio_tungstenite::tungstenite::Message::text(call.to_string())
}

#[tokio::test]
async fn a_session_answers_more_calls_than_it_takes_at_a_time() {
    let it = door(None).await;
    let (mut send, mut receive) = session(it.listen().await).await.split();
    const CALLS: usize = 200;
    let asking = tokio::spawn(async move {
        for id in 0..CALLS {
            send.send(version(id)).await.unwrap();
        }
        send
    });
    let mut missing: std::collections::BTreeSet<usize> = (0..CALLS).collect();
    while !missing.is_empty() {
        let message = receive.next().await.unwrap().unwrap();
        let Ok(text) = message.to_text() else {
            continue;
        };
        if text.is_empty() {
            continue; // a ping
        }
        let answer: Value = serde_json::from_str(text).unwrap();
        assert!(answer["result"].is_string(), "{answer}");
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        assert!(missing.remove(&id), "{id} was answered twice");
    }
    drop(asking.await.unwrap());
}

/// What one host could do to everybody, in full size. It needs some ten thousand descriptors
/// and a minute: `cargo test -p damocles-manager --lib -- --ignored crowd`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens some ten thousand sockets"]
async fn a_crowd_of_the_silent_and_the_deaf_leaves_the_others_served() {
    damocles_daemon::runtime::raise_descriptors();
    let it = door(None).await;
    let address = it.listen().await;
    let served = || async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let body = call("Venus.Version", json!([])).to_string();
        let head = format!(
            "POST /rpc/v0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    served().await;
    let mut silent = Vec::new();
    for _ in 0..5000 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    served().await;
    let mut sessions = Vec::new();
    let url = format!("ws://{address}/rpc/v0");
    while let Ok((session, _)) = tokio_tungstenite::connect_async(&url).await {
        sessions.push(session);
    }
    assert!(sessions.len() < 4096, "{}", sessions.len());
    served().await;
    // questions whose answers nobody reads: the asking stops, not the manager
    let mut deaf = sessions.pop().unwrap();
    let large = json!({"jsonrpc": "2.0", "id": "x".repeat(500 << 10), "method": "Venus.Version", "params": []});
    let large = tokio_tungstenite::tungstenite::Message::text(large.to_string());
    let mut asked = 0;
    while asked < 2000 && deaf.send(large.clone()).await.is_ok() {
        asked += 1;
    }
    assert!(asked < 200, "{asked} questions of half a MiB were taken");
    served().await;
}

/// A piece comes in two parts and goes out in ranges, and only to who may.
#[tokio::test]
async fn pieces_are_for_those_who_may_read_and_come_from_those_who_may_write() {
    let it = door(None).await;
    let token = |permission| it.secret.token(permission).unwrap();
    let (read, write) = (token(Permission::Read), token(Permission::Write));
    let bytes = vec![9u8; 1000];
    let root = damocles_processor::verify::piece_commitment(&mut &bytes[..], 1000, 1024);
    let cid = root.unwrap().unsealed_cid();
    let uri = format!("/piecestore/{cid}");
    let put = |from: usize, to: usize| {
        Request::put(&uri)
            .header(
                header::CONTENT_RANGE,
                format!("bytes {from}-{}/1000", to - 1),
            )
            .body(Body::from(bytes[from..to].to_vec()))
            .unwrap()
    };
    let get = |name: &str, range: &str| {
        let mut request = Request::get(format!("/piecestore/{name}"));
        if !range.is_empty() {
            request = request.header(header::RANGE, range);
        }
        request.body(Body::empty()).unwrap()
    };
    let cid = cid.to_string();
    for (token, request, want) in [
        (None, get(&cid, ""), StatusCode::UNAUTHORIZED),
        (None, put(0, 1000), StatusCode::UNAUTHORIZED),
        (Some(&read), put(0, 1000), StatusCode::FORBIDDEN),
        (Some(&read), get("x", ""), StatusCode::BAD_REQUEST),
        (Some(&read), get(&cid, ""), StatusCode::NOT_FOUND),
        (Some(&write), put(0, 700), StatusCode::ACCEPTED),
        (Some(&write), put(600, 1000), StatusCode::CONFLICT),
    ] {
        let answer = it.piece(FAR, token.map(String::as_str), request).await;
        assert_eq!(answer.status(), want);
    }
    let begun = it.piece(FAR, Some(&read), get(&cid, "")).await;
    assert_eq!(begun.headers()["upload-offset"], "700");
    let done = it.piece(FAR, Some(&write), put(700, 1000)).await;
    assert_eq!(done.status(), StatusCode::CREATED);

    let head = Request::head(&uri).body(Body::empty()).unwrap();
    let head = it.piece(FAR, Some(&read), head).await;
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "1000");
    let part = it
        .piece(FAR, Some(&read), get(&format!("{cid}.car"), "bytes=990-"))
        .await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    let part = to_bytes(part.into_body(), usize::MAX).await.unwrap();
    assert_eq!(part.len(), 10);
    let whole = it.piece(HERE, None, get(&cid, "")).await;
    assert_eq!(
        to_bytes(whole.into_body(), usize::MAX).await.unwrap(),
        bytes
    );
    let delete = Request::delete(&uri).body(Body::empty()).unwrap();
    let delete = it.piece(FAR, Some(&write), delete).await;
    assert_eq!(delete.status(), StatusCode::METHOD_NOT_ALLOWED);
}
