//! Golden wire tests: raw JSON as upstream's worker and CLI send it, over real sockets,
//! compared with the whole answer.

use super::{Rooms, Serve, pieces::in_one_store, run, scene::rooms};
use crate::chain::script::ScriptChain;
use axum::http::{HeaderMap, HeaderValue, header::HeaderName};
use damocles_daemon::{
    auth::{Guard, Permission, Secret},
    metrics::Readiness,
    tls::Tls,
};
use jsonrpsee::{core::client::ClientT, rpc_params, ws_client::WsClientBuilder};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A server on a free port.
pub(super) struct Served {
    pub(super) rooms: Rooms,
    pub(super) chain: Arc<ScriptChain>,
    address: SocketAddr,
    secret: Secret,
    readiness: Readiness,
    stop: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
    pub(super) disk: TempDir,
}

pub(super) async fn serve() -> Served {
    let (rooms, metrics, disk, chain) = rooms().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let secret = Secret::new(&[1; 32]);
    let readiness = Readiness::waiting("the node");
    let stop = CancellationToken::new();
    let serve = Serve {
        methods: rooms.clone().methods().unwrap().into(),
        pieces: in_one_store(rooms.db.clone(), disk.path()),
        guard: Guard::new(secret.clone(), vec![]),
        tls: Tls::default(),
        audit: None,
        metrics,
        readiness: readiness.clone(),
    };
    Served {
        rooms,
        chain,
        address,
        secret,
        readiness,
        server: tokio::spawn(run(listener, serve, stop.clone())),
        stop,
        disk,
    }
}

impl Served {
    /// Sends bytes as they are; status and body of the answer.
    async fn raw(&self, head: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{head}\r\nHost: manager\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            let lines: Vec<&str> = body.split("\r\n").collect();
            lines.chunks(2).filter_map(|c| c.get(1)).copied().collect()
        } else {
            body.to_owned()
        };
        (status, body)
    }

    pub(super) async fn post_with(&self, headers: &str, body: &str) -> (u16, String) {
        self.raw(
            &format!("POST /rpc/v0 HTTP/1.1\r\nContent-Type: application/json{headers}"),
            body,
        )
        .await
    }

    /// Posts a body; the whole answer.
    async fn post(&self, body: &str) -> Value {
        let (status, answer) = self.post_with("", body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Calls a method with raw parameters; the answer, of which id and version are checked.
    pub(super) async fn call(&self, method: &str, params: &str) -> Value {
        let body =
            format!(r#"{{"jsonrpc":"2.0","method":"Venus.{method}","params":{params},"id":7}}"#);
        let mut answer = self.post(&body).await;
        let object = answer.as_object_mut().unwrap();
        assert_eq!(object.remove("jsonrpc"), Some(json!("2.0")));
        assert_eq!(object.remove("id"), Some(json!(7)));
        assert_eq!(object.len(), 1, "only result or error besides: {object:?}");
        answer
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.server.await.unwrap().unwrap();
    }
}

pub(super) const SECTOR: &str = r#"{"Miner":1000,"Number":1}"#;
pub(super) const UNKNOWN: &str = r#"{"Miner":1000,"Number":99}"#;

#[tokio::test]
async fn a_sector_begins_as_upstreams_worker_asks() {
    let it = serve().await;
    let answer = it
        .call(
            "AllocateSector",
            r#"[{"AllowedMiners":null,"AllowedProofTypes":[5]}]"#,
        )
        .await;
    assert_eq!(
        answer,
        json!({"result": {"ID": {"Miner": 1000, "Number": 1}, "ProofType": 5}})
    );
    let nothing = it
        .call(
            "AllocateSector",
            r#"[{"AllowedMiners":[7],"AllowedProofTypes":null}]"#,
        )
        .await;
    assert_eq!(nothing, json!({"result": null}));
    let deals = it
        .call(
            "AcquireDeals",
            &format!(r#"[{SECTOR},{{"MaxDeals":null,"MinUsedSpace":null}}]"#),
        )
        .await;
    assert_eq!(deals, json!({"result": null}));
    let ticket = it.call("AssignTicket", &format!("[{SECTOR}]")).await;
    assert_eq!(ticket["result"]["Epoch"], 100);
    assert_eq!(ticket["result"]["Ticket"].as_str().map(str::len), Some(44));
    assert_eq!(ticket["result"].as_object().unwrap().len(), 2);
    let report = r#"{"Worker":{"Instance":"w","Location":"/store"},"StateChange":{"Prev":"Empty","Next":"Allocated","Event":"Allocate(ID)"},"Failure":null}"#;
    let standing = it
        .call("ReportState", &format!("[{SECTOR},{report}]"))
        .await;
    assert_eq!(
        standing,
        json!({"result": {"Id": {"Miner": 1000, "Number": 1}, "Finalized": false, "AbortReason": ""}})
    );
    let poll = it.call("PollPreCommitState", &format!("[{SECTOR}]")).await;
    assert!(
        poll["error"]["message"].is_string() || poll["result"]["State"].is_u64(),
        "{poll}"
    );
    it.stop().await;
}

#[tokio::test]
async fn stores_and_the_end_of_a_sector() {
    let it = serve().await;
    it.call(
        "AllocateSector",
        r#"[{"AllowedMiners":[],"AllowedProofTypes":[]}]"#,
    )
    .await;
    let path = it.disk.path().to_str().unwrap().to_owned();
    let store = json!({"Name": "persist", "Path": path, "Strict": false, "ReadOnly": false, "Weight": 0, "Meta": null});
    let mut room = it
        .call(
            "StoreReserveSpace",
            &format!(r#"[{SECTOR},2048,["persist"]]"#),
        )
        .await;
    let mut info = it.call("StoreBasicInfo", r#"["persist"]"#).await;
    // a weight of 0 counts as 1 and may be told as either
    for answer in [&mut room, &mut info] {
        answer["result"]["Weight"] = json!(0);
        assert_eq!(*answer, json!({"result": store}));
    }
    assert_eq!(
        it.call("StoreBasicInfo", r#"["nowhere"]"#).await,
        json!({"result": null})
    );
    assert_eq!(
        it.call(
            "SubmitPersistedEx",
            &format!(r#"[{SECTOR},"persist",false]"#)
        )
        .await,
        json!({"result": false})
    );
    let list = it.call("StoreList", "[]").await;
    assert_eq!(list["result"][0]["ReservedBy"][0]["By"], "s-t01000-1");
    assert_eq!(list["result"][0]["ReservedBy"][0]["Size"], 2048);

    // not before it is proven and stored
    let early = it.call("ReportFinalized", &format!("[{SECTOR}]")).await;
    assert_eq!(early["error"]["code"], 11503, "{early}");
    let id = damocles_types::SectorId::new(1000, 1);
    it.chain.prove(id, None);
    let lost = it.call("ReportFinalized", &format!("[{SECTOR}]")).await;
    assert_eq!(lost["error"]["code"], 1, "{lost}");
    crate::storage::tests::put_sector(it.disk.path(), id);
    let persisted = format!(r#"[{SECTOR},"persist",false]"#);
    assert_eq!(
        it.call("SubmitPersistedEx", &persisted).await,
        json!({"result": true})
    );
    assert_eq!(
        it.call("ReportFinalized", &format!("[{SECTOR}]")).await,
        json!({"result": null})
    );
    let list = it.call("StoreList", "[]").await;
    assert_eq!(list["result"][0]["ReservedBy"], json!([]));
    let offline = it.call("ListSectors", r#"["offline",0]"#).await;
    let sector = &offline["result"][0];
    assert_eq!(
        (&sector["ID"]["Number"], &sector["Finalized"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        sector["MessageInfo"],
        json!({"PreCommitCid": null, "CommitCid": null, "NeedSend": false})
    );
    assert_eq!(
        it.call("FindSector", &format!(r#"["offline",{SECTOR}]"#))
            .await["result"],
        *sector
    );
    it.stop().await;
}

#[tokio::test]
async fn a_worker_is_heard() {
    let it = serve().await;
    let summary = r#"{"Threads":2,"Empty":1,"Paused":0,"Running":1,"Waiting":0,"Errors":0}"#;
    let ping = format!(
        r#"[{{"Name":"w1","Dest":"10.0.0.9:17890","Version":"v0.13.1","Summary":{summary}}}]"#
    );
    assert_eq!(it.call("WorkerPing", &ping).await, json!({"result": null}));
    let list = it.call("WorkerPingInfoList", "[]").await;
    assert_eq!(
        list["result"][0]["Info"]["Summary"],
        serde_json::from_str::<Value>(summary).unwrap()
    );
    assert!(list["result"][0]["LastPing"].as_i64().unwrap() > 1_600_000_000);
    assert_eq!(
        it.call("WorkerGetPingInfo", r#"["w2"]"#).await,
        json!({"result": null})
    );
    let nameless = it
        .call("WorkerPing", r#"[{"Name":"","Dest":"","Summary":{}}]"#)
        .await;
    assert_eq!(nameless["error"]["code"], 1);
    it.stop().await;
}

#[tokio::test]
async fn an_unknown_sector_is_no_reason_to_drop_anything_and_one_that_is_over_is_11001() {
    let it = serve().await;
    it.call("AllocateSector", "[{}]").await;
    let given_up = format!(r#"[{SECTOR},"no disk"]"#);
    it.call("ReportAborted", &given_up).await;
    let ticket = r#"{"Ticket":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Epoch":100}"#;
    let comm = format!("{:?}", [0_u8; 32]);
    let pre = format!(
        r#"[{{"ID":{UNKNOWN},"ProofType":5}},{{"CommR":{comm},"CommD":{comm},"Ticket":{ticket}}},false]"#
    );
    let report = format!(
        r#"[{UNKNOWN},{{"Worker":{{"Instance":"w","Location":"/"}},"StateChange":{{"Prev":"","Next":"","Event":""}},"Failure":null}}]"#
    );
    for (method, params) in [
        ("AcquireDeals", format!("[{UNKNOWN},{{}}]")),
        ("AssignTicket", format!("[{UNKNOWN}]")),
        ("SubmitPreCommit", pre),
        ("PollPreCommitState", format!("[{UNKNOWN}]")),
        (
            "SubmitPersistedEx",
            format!(r#"[{UNKNOWN},"persist",false]"#),
        ),
        ("WaitSeed", format!("[{UNKNOWN},5]")),
        (
            "SubmitProof",
            format!(r#"[{UNKNOWN},{{"Proof":"AQE="}},false]"#),
        ),
        ("PollProofState", format!("[{UNKNOWN}]")),
        ("ReportState", report),
        ("ReportFinalized", format!("[{UNKNOWN}]")),
        ("StoreReserveSpace", format!("[{UNKNOWN},1,[]]")),
    ] {
        let answer = it.call(method, &params).await;
        assert_eq!(answer["error"]["code"], 11404, "{method} {answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(
            said.contains("s-t01000-99") && said.contains("keep"),
            "{said}"
        );
        // the same of a sector whose record says that it is over
        let over = it.call(method, &params.replace(UNKNOWN, SECTOR)).await;
        if method != "ReportState" {
            let message = "error code 11001: sector state not found: s-t01000-1";
            assert_eq!(
                over,
                json!({"error": {"code": 11001, "message": message}}),
                "{method}"
            );
        } else {
            assert_eq!(over["result"]["Finalized"], true, "{over}");
            assert_eq!(over["result"]["AbortReason"], "no disk");
        }
    }
    for (method, params) in [
        ("FindSector", format!(r#"["online",{UNKNOWN}]"#)),
        ("FindSectorInAllStates", format!("[{UNKNOWN}]")),
    ] {
        let answer = it.call(method, &params).await;
        assert_eq!(answer["error"]["code"], 1, "{method}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("key not found"),
            "{answer}"
        );
    }
    // its worker may give it up by itself, and its number is not handed out
    let given_up = format!(r#"[{UNKNOWN},"why"]"#);
    assert_eq!(
        it.call("ReportAborted", &given_up).await,
        json!({"result": null})
    );
    let next = it.call("AllocateSector", "[{}]").await;
    assert_eq!(next["result"]["ID"]["Number"], 100);
    it.stop().await;
}

#[tokio::test]
async fn the_envelope_is_upstreams() {
    let it = serve().await;
    // string ids and unknown members of the envelope pass
    let answer = it.post(r#"{"jsonrpc":"2.0","id":"a-1","method":"Venus.Version","params":[],"meta":{"SpanContext":"x"}}"#).await;
    assert_eq!(answer["id"], "a-1");
    assert!(answer["result"].as_str().unwrap().starts_with('v'));
    for (method, params, code) in [
        ("AssignTicket", "[]", -32602),
        ("AssignTicket", &format!("[{SECTOR},1]")[..], -32602),
        ("Version", "[1]", -32602),
        ("AssignTicket", SECTOR, -32602),
        ("AssignTicket", r#"["s-t01000-1"]"#, -32602),
        ("AllocateSectorsBatch", "[{},1]", -32601),
    ] {
        assert_eq!(
            it.call(method, params).await["error"]["code"],
            code,
            "{method} {params}"
        );
    }
    let answer = it.post("{nonsense").await;
    assert_eq!(
        (&answer["error"]["code"], &answer["id"]),
        (&json!(-32700), &json!(null))
    );
    let batch = it
        .post(r#"[{"jsonrpc":"2.0","id":1,"method":"Venus.Version","params":[]}]"#)
        .await;
    assert!(batch["error"]["code"].is_i64(), "{batch}");
    let (status, _) = it.raw("GET /rpc/v0 HTTP/1.1", "").await;
    assert_eq!(status, 405);
    it.stop().await;
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_it_is_read() {
    let it = serve().await;
    let mut socket = TcpStream::connect(it.address).await.unwrap();
    let head = "POST /rpc/v0 HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(socket);

    // one that does not say how long it is
    let mut socket = TcpStream::connect(it.address).await.unwrap();
    let head = "POST /rpc/v0 HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = (1 << 20) + 1;
    let chunk = format!("{head}{length:x}\r\n{}\r\n", " ".repeat(length));
    socket.write_all(chunk.as_bytes()).await.unwrap();
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(socket);
    it.stop().await;
}

#[tokio::test]
async fn permissions_hold_per_method() {
    let it = serve().await;
    let version = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.Version","params":[]}"#;
    let allocate = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.AllocateSector","params":[{}]}"#;
    let remove = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.WorkerPingInfoRemove","params":["w"]}"#;
    let bearer = |top| {
        format!(
            "\r\nAuthorization: Bearer {}",
            it.secret.token(top).unwrap()
        )
    };
    for (top, body, allowed) in [
        (Permission::Read, version, true),
        (Permission::Read, allocate, false),
        (Permission::Write, allocate, true),
        (Permission::Write, remove, false),
        (Permission::Admin, remove, true),
    ] {
        let (status, answer) = it.post_with(&bearer(top), body).await;
        assert_eq!(status, 200);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let code = if allowed { json!(null) } else { json!(11403) };
        assert_eq!(answer["error"]["code"], code, "{top} {body} {answer}");
    }
    for headers in [
        "\r\nAuthorization: Bearer a.b.c",
        "\r\nOrigin: http://evil.example",
        "\r\nX-Forwarded-For: 1.2.3.4",
    ] {
        let (status, text) = it.post_with(headers, version).await;
        assert_eq!(status, 401, "{headers}");
        // upstream's workers read the body, whatever the status
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["error"]["code"], 11403, "{text}");
        assert!(
            text.contains("create-token") && text.contains("AllowAnonymous"),
            "{text}"
        );
    }
    it.stop().await;
}

#[tokio::test]
async fn websocket_serves_the_same_and_ends_with_the_daemon() {
    let it = serve().await;
    let url = format!("ws://{}/rpc/v0", it.address);
    let client = WsClientBuilder::default().build(&url).await.unwrap();
    let answer: Value = client
        .request("Venus.AllocateSector", rpc_params![json!({})])
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({"ID": {"Miner": 1000, "Number": 1}, "ProofType": 5})
    );
    let refused = client
        .request::<Value, _>("Venus.AssignTicket", rpc_params![])
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("takes 1 parameters")
    );

    // What a caller may do is settled when the connection is opened, and holds for its calls.
    let with = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        WsClientBuilder::default().set_headers(headers).build(&url)
    };
    let read = it.secret.token(Permission::Read).unwrap();
    let reader = with("authorization", &format!("Bearer {read}"))
        .await
        .unwrap();
    let version: String = reader
        .request("Venus.Version", rpc_params![])
        .await
        .unwrap();
    assert!(!version.is_empty());
    let refused = reader
        .request::<Value, _>("Venus.AllocateSector", rpc_params![json!({})])
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("needs permission"),
        "{refused}"
    );
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4"),
        ("authorization", "Bearer a.b.c"),
    ] {
        let turned_away = with(name, value).await.unwrap_err();
        assert!(turned_away.to_string().contains("401"), "{turned_away}");
    }
    it.stop().await;
    client.on_disconnect().await;
    assert!(!client.is_connected());
}

#[tokio::test]
async fn monitoring_stands_beside() {
    let it = serve().await;
    let (status, body) = it.raw("GET /healthcheck HTTP/1.1", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"OK"}"#));
    let (status, body) = it.raw("GET /readiness HTTP/1.1", "").await;
    assert_eq!(status, 503);
    assert!(body.contains("the node"), "{body}");
    it.readiness.ready();
    assert_eq!(it.raw("GET /readiness HTTP/1.1", "").await.0, 200);
    it.call("AllocateSector", "[{}]").await;
    let (_, body) = it.raw("GET /metrics HTTP/1.1", "").await;
    for line in [
        "damocles_manager_new_sector_total{miner=\"1000\"} 1",
        "damocles_manager_api_request_duration_ms_count{endpoint=\"Venus.AllocateSector\"} 1",
        "damocles_manager_info 1",
    ] {
        assert!(body.contains(line), "{line} is not in\n{body}");
    }
    it.stop().await;
}
