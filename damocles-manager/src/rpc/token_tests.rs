//! Tokens over real sockets: one that is a worker's own, one that is revoked while its bearer is
//! there, and what the audit log says of both.

use super::{Serve, run, scene::rooms};
use axum::http::{HeaderMap, HeaderValue, header};
use damocles_api::caller::{CALLER_HEADER, Caller};
use damocles_daemon::{
    audit::{self, Audit},
    auth::{Grant, Guard, LEDGER_FILE, Ledger, Permission, Secret, revoke},
    metrics::Readiness,
    tls::Tls,
};
use futures::{SinkExt, StreamExt};
use jsonrpsee::{
    core::{ClientError, client::ClientT},
    http_client::{HttpClient, HttpClientBuilder},
    rpc_params,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_util::sync::{CancellationToken, DropGuard};

struct It {
    address: SocketAddr,
    secret: Secret,
    audit: Audit,
    home: TempDir,
    db: crate::db::Db,
    _disk: TempDir,
    _stop: DropGuard,
}

async fn serve() -> It {
    let (rooms, metrics, disk, _chain) = rooms().await;
    let home = tempfile::tempdir().unwrap();
    let secret = Secret::new(&[1; 32]);
    let ledger = Ledger::open(&home.path().join(LEDGER_FILE)).unwrap();
    let audit = Audit::open(home.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let db = rooms.db.clone();
    let serve = Serve {
        pieces: crate::pieces::Pieces::new(rooms.db.clone(), Vec::new(), None),
        methods: rooms.methods().unwrap().into(),
        guard: Guard::new(secret.clone(), Vec::new()).asking(ledger),
        tls: Tls::default(),
        audit: Some(audit.clone()),
        metrics,
        readiness: Readiness::waiting("the node"),
    };
    tokio::spawn(run(listener, serve, stop.clone()));
    It {
        address,
        secret,
        audit,
        home,
        db,
        _disk: disk,
        _stop: stop.drop_guard(),
    }
}

fn thread(worker: &str, store: &str) -> Caller {
    Caller {
        worker: worker.into(),
        location: "/s1".into(),
        store: store.into(),
    }
}

impl It {
    fn ledger(&self) -> PathBuf {
        self.home.path().join(LEDGER_FILE)
    }

    /// Id and token of a worker, or of any.
    fn token(&self, worker: Option<&str>) -> (String, String) {
        let grant = Grant {
            top: Permission::Write,
            expires: None,
            worker: worker.map(str::to_owned),
        };
        self.secret.grant(&grant).unwrap()
    }

    fn client(&self, token: &str, caller: Option<&Caller>) -> HttpClient {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        headers.insert(header::AUTHORIZATION, bearer);
        if let Some(caller) = caller {
            let value = HeaderValue::from_str(&caller.to_header()).unwrap();
            headers.insert(CALLER_HEADER, value);
        }
        let url = format!("http://{}/rpc/v0", self.address);
        let client = HttpClientBuilder::default().set_headers(headers);
        client.build(url).unwrap()
    }
}

/// The code of a refusal; 0: it was done.
fn code(done: Result<Value, ClientError>) -> i32 {
    match done {
        Ok(_) => 0,
        Err(ClientError::Call(error)) => error.code(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_workers_own_token_speaks_for_no_other_and_ends_no_others_sector() {
    let it = serve().await;
    let (id, own) = it.token(Some("w1"));
    let (_, any) = it.token(None);
    let theirs = it.client(&any, Some(&thread("w2", "bb")));
    let sector: Value = theirs
        .request("Venus.AllocateSector", rpc_params![json!({})])
        .await
        .unwrap();
    let sector = &sector["ID"];
    // the right name with the other's store, no name at all, and the other's name
    let copied = it.client(&own, Some(&thread("w1", "bb")));
    let silent = it.client(&own, None);
    let forged = it.client(&own, Some(&thread("w2", "bb")));
    for (client, refused) in [(&copied, 11409), (&silent, 11409), (&forged, 11403)] {
        for (method, params) in [
            ("Venus.ReportAborted", rpc_params![sector, "mine now"]),
            ("Venus.ReportFinalized", rpc_params![sector]),
            ("Venus.StoreReserveSpace", rpc_params![sector, 1, json!([])]),
        ] {
            let done = client.request(method, params).await;
            assert_eq!(code(done), refused, "{method}");
        }
    }
    // names in parameters
    let ping = |name: &str| json!({"Name": name, "Dest": "h:1", "Summary": {"Threads": 0, "Empty": 0, "Paused": 0, "Running": 0, "Waiting": 0, "Errors": 0}});
    let report = |name: &str| {
        json!({"Worker": {"Instance": name, "Location": "/s1"},
        "StateChange": {"Prev": "", "Next": "PC1Done", "Event": "x"}, "Failure": null})
    };
    let own_thread = it.client(&own, Some(&thread("w1", "aa")));
    for client in [&own_thread, &silent] {
        for (method, params) in [
            ("Venus.WorkerPing", rpc_params![ping("w2")]),
            ("Damocles.WorkerLeaves", rpc_params!["w2"]),
            ("Venus.ReportState", rpc_params![sector, report("w2")]),
            (
                "Damocles.ReportTimeline",
                rpc_params![sector, "w2", json!([])],
            ),
        ] {
            let done = client.request(method, params).await;
            assert_eq!(code(done), 11403, "{method}");
        }
        let done = client.request("Venus.WorkerPing", rpc_params![ping("w1")]);
        assert_eq!(code(done.await), 0);
    }
    // what is its own, it may
    let given: Value = own_thread
        .request("Venus.AllocateSector", rpc_params![json!({})])
        .await
        .unwrap();
    let done = own_thread.request("Venus.ReportAborted", rpc_params![&given["ID"], "mine"]);
    assert_eq!(code(done.await), 0);
    it.audit.flush();
    let lines = audit::newest(it.home.path(), 100).unwrap();
    let last = lines.last().unwrap();
    assert_eq!(last.method, "Venus.ReportAborted");
    assert_eq!(last.address, "127.0.0.1");
    assert_eq!(last.token.as_deref(), Some(id.as_str()));
    assert_eq!(last.worker.as_deref(), Some("worker w1 at /s1"));
    assert_eq!(last.sector.as_deref(), Some("s-t01000-2"));
    assert_eq!(last.error, None);
    // the one that was handed out is named, though no parameter does
    let made = &lines[lines.len() - 2];
    assert_eq!(made.method, "Venus.AllocateSector");
    assert_eq!(made.sector.as_deref(), Some("s-t01000-2"));
    let refused = lines.iter().filter(|l| l.error == Some(11409)).count();
    assert_eq!(refused, 6);
    // a ping that is taken is no line, one that is refused is
    let pings = lines.iter().filter(|l| l.method == "Venus.WorkerPing");
    assert!(pings.clone().count() == 2 && pings.clone().all(|l| l.error == Some(11403)));
    let log = std::fs::read_to_string(it.home.path().join(audit::AUDIT_FILE)).unwrap();
    assert!(
        !log.contains(&own) && !log.contains(&any),
        "no token is in it"
    );
}

#[tokio::test]
async fn a_workers_own_token_takes_and_ends_no_others_windowpost() {
    let it = serve().await;
    let offer = crate::db::jobs::tests::offer("x", &[0], 2000, "persist");
    it.db.offer_job(&offer).unwrap();
    let (_, own) = it.token(Some("w1"));
    let (_, any) = it.token(None);
    let (mine, theirs) = (it.client(&own, None), it.client(&any, None));
    let take = |worker: &str| rpc_params![json!({}), 1, worker];
    let method = "Venus.WdPoStAllocateJobs";
    assert_eq!(code(mine.request(method, take("w2")).await), 11403);
    let jobs: Value = theirs.request(method, take("w2")).await.unwrap();
    assert_eq!(jobs[0]["Id"], "x");
    assert_eq!(
        jobs[0]["Input"]["Sectors"][0]["Accesses"]["SealedFile"],
        "persist"
    );
    // upstream's words for the end do not say whose they are; the token does
    let output = json!({"proofs": [[1, 2, 3]], "faults": []});
    let end = || rpc_params!["x", &output, ""];
    let method = "Venus.WdPoStFinishJob";
    assert_eq!(code(mine.request(method, end()).await), 0);
    let state = || it.db.job("x").unwrap().unwrap().state.to_string();
    assert_eq!(state(), "Running", "it is w2's");
    let attempt = json!({"Id": "x", "Attempt": 1});
    let ours = rpc_params!["w2", &attempt, json!({"Failed": "mine"})];
    let ended = mine.request("Damocles.WindowPostEnded", ours).await;
    assert_eq!(code(ended), 11403);
    assert_eq!(code(theirs.request(method, end()).await), 0);
    assert_eq!(state(), "Finished");
    let all: Value = theirs
        .request("Venus.WdPoStAllJobs", rpc_params![])
        .await
        .unwrap();
    let job = &all["Jobs"][0];
    assert_eq!(
        (&job["State"], &job["TryNum"]),
        (&json!("finished"), &json!(1))
    );
    assert_eq!(job["WorkerName"], "w2");
    // to reset and to remove is for those who may everything
    for method in ["Venus.WdPoStResetJob", "Venus.WdPoStRemoveJob"] {
        let done = theirs.request(method, rpc_params!["x"]).await;
        assert_eq!(code(done), 11403, "{method}");
    }
}

#[tokio::test]
async fn a_session_whose_token_is_revoked_is_answered_nothing_more_and_closed() {
    let it = serve().await;
    let (id, token) = it.token(None);
    let mut request = format!("ws://{}/rpc/v0", it.address)
        .into_client_request()
        .unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let (mut session, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let ask = Message::text(r#"{"jsonrpc":"2.0","id":1,"method":"Venus.Version","params":[]}"#);
    let mut next = async |ask: Message| {
        session.send(ask).await.unwrap();
        loop {
            match session.next().await.unwrap().unwrap() {
                Message::Ping(_) => {}
                other => return other,
            }
        }
    };
    assert!(
        next(ask.clone())
            .await
            .to_text()
            .unwrap()
            .contains("result")
    );
    revoke(&it.ledger(), &id, 1).unwrap();
    let Message::Close(Some(why)) = next(ask).await else {
        panic!("an answer after the token was revoked");
    };
    assert_eq!(why.reason, "the token was revoked");
    // and over HTTP
    let refused = it.client(&token, None);
    let refused: Result<Value, _> = refused.request("Venus.Version", rpc_params![]).await;
    assert!(refused.unwrap_err().to_string().contains("401"));
}

#[tokio::test]
async fn a_piece_that_is_handed_in_is_a_line_too() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let it = serve().await;
    let (id, token) = it.token(Some("w1"));
    let cid = damocles_types::Commitment([1; 32]).unsealed_cid();
    for method in ["GET", "PUT"] {
        let mut line = tokio::net::TcpStream::connect(it.address).await.unwrap();
        let request = format!(
            "{method} /piecestore/{cid} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
        );
        line.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.unwrap();
        assert!(
            !answer.starts_with("HTTP/1.1 2"),
            "there is no store: {answer}"
        );
    }
    it.audit.flush();
    let lines = audit::newest(it.home.path(), 100).unwrap();
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(line.method, "PUT /piecestore");
    assert_eq!(line.token.as_deref(), Some(id.as_str()));
    assert_eq!(line.worker.as_deref(), Some("worker w1"));
    assert_eq!(line.subject.as_deref(), Some(cid.to_string().as_str()));
    assert!(line.error.is_some());
}
