//! How the manager is spoken to: who calls, with which token, and answers that do not come as
//! our own manager gives them.

use crate::{
    fake_manager::FakeManager,
    rig::{Rig, runtime},
    until,
};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use damocles_api::{
    sector::AllocatedSector,
    timeline::{Ending, TimelineEntry},
};
use damocles_flow::{PlanName, State as SectorState};
use damocles_types::{Failure, SealProof, SectorId, SectorSize};
use damocles_worker::{
    document::{Document, Stopped},
    manager::{CallError, Connection, Manager},
    managers::Managers,
    metadb::MetaDb,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

fn connection(address: SocketAddr) -> Connection {
    Connection {
        addr: format!("http://{address}").parse().unwrap(),
        headers: Default::default(),
        token: Some("a.good.token\n".into()),
        tls: None,
        timeout: Duration::from_secs(20),
    }
}

fn manager(address: SocketAddr) -> Manager {
    let runtime = runtime().handle().clone();
    Manager::new(&connection(address), runtime, CancellationToken::new()).unwrap()
}

/// Several managers on one database: whoever answers has the sector.
#[test]
fn a_manager_that_does_not_answer_is_left_for_the_next_one() {
    let start = || runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let (second, third) = (start(), start());
    let first = damocles_test_ports::address();
    let addr = |address: SocketAddr| format!("http://{address}").parse().unwrap();
    let others = vec![addr(second.address), addr(third.address)];
    let several = Connection {
        addr: Managers::new(addr(first), others),
        ..connection(first)
    };
    let manager = Manager::new(
        &several,
        runtime().handle().clone(),
        CancellationToken::new(),
    )
    .unwrap();
    let ask = || runtime().block_on(manager.store_basic_info("hdd".into()));
    ask().unwrap();
    ask().unwrap();
    assert_eq!(*manager.addr(), addr(second.address));
    assert_eq!(second.script().authorizations.len(), 2);
    assert_eq!(third.script().authorizations.len(), 0);
}

#[test]
fn every_call_of_a_thread_says_which_store_calls() {
    let rig = Rig::new(1);
    rig.run(1);
    let id = MetaDb::open(&rig.location().join("meta")).unwrap().id();
    let script = rig.manager.script();
    assert!(script.callers.len() > 10);
    for caller in &script.callers {
        let caller = caller.as_ref().unwrap();
        assert_eq!((caller.worker.as_str(), &caller.store), ("rig", &id));
        assert!(caller.location.ends_with("/t0"), "{caller:?}");
    }
}

#[test]
fn the_token_goes_with_every_call() {
    let fake = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let manager = manager(fake.address);
    let other = manager.for_another("w").unwrap();
    for manager in [&manager, &other] {
        runtime()
            .block_on(manager.store_basic_info("hdd".into()))
            .unwrap();
    }
    let bearer = Some("Bearer a.good.token".to_owned());
    assert_eq!(fake.script().authorizations, [bearer.clone(), bearer]);
}

/// What it answers next, and how often it was asked.
#[derive(Clone)]
struct Odd(Arc<Mutex<(StatusCode, String, usize)>>);

impl Odd {
    /// A server that answers everything with a text; `ID` in it is the request's id.
    fn start() -> (Self, SocketAddr) {
        let odd = Self(Arc::new(Mutex::new((StatusCode::OK, String::new(), 0))));
        let routes = Router::new()
            .route("/rpc/v0", post(Self::answer))
            .with_state(odd.clone());
        let address = runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
            address
        });
        (odd, address)
    }

    async fn answer(State(odd): State<Self>, body: String) -> Response {
        let request: Value = serde_json::from_str(&body).unwrap();
        let mut odd = odd.0.lock().unwrap();
        odd.2 += 1;
        let text = odd.1.replace("ID", &request["id"].to_string());
        (odd.0, text).into_response()
    }

    fn says(&self, status: u16, text: &str) {
        let mut odd = self.0.lock().unwrap();
        odd.0 = StatusCode::from_u16(status).unwrap();
        text.clone_into(&mut odd.1);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().2
    }
}

fn error(code: i64, message: &str) -> String {
    let text = json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}});
    let text = text.to_string();
    format!("{},\"id\":ID}}", text.strip_suffix('}').unwrap())
}

/// Upstream's manager and Lotus put protocol errors behind HTTP 500.
#[test]
fn an_error_behind_http_500_is_told_as_itself() {
    let (odd, address) = Odd::start();
    let manager = manager(address);
    let sector = SectorId::new(1000, 1);
    odd.says(500, &error(-32601, "method 'Venus.AssignTicket' not found"));
    let told = manager.assign_ticket(sector);
    assert_eq!(told, Err(CallError::Unsupported("AssignTicket")));
    odd.says(500, &error(-32602, "wrong param count"));
    let told = manager.assign_ticket(sector).unwrap_err();
    assert!(matches!(told, CallError::Failed { .. }), "{told}");
    assert!(told.to_string().contains("wrong param count"), "{told}");

    odd.says(502, "<html>Bad Gateway</html>");
    let told = manager.assign_ticket(sector).unwrap_err();
    assert!(matches!(told, CallError::Away { .. }), "{told}");
    for (status, text) in [
        (500, "<html>oops</html>"),
        (404, ""),
        (200, "<html>hello</html>"),
    ] {
        odd.says(status, text);
        let told = manager.assign_ticket(sector).unwrap_err();
        assert!(
            matches!(told, CallError::Garbled { .. }),
            "{status}: {told}"
        );
        assert!(!told.to_string().contains("cannot be reached"), "{told}");
    }
    for status in [401, 403] {
        odd.says(status, &error(1, "go away"));
        let told = manager.assign_ticket(sector).unwrap_err();
        assert!(matches!(told, CallError::Denied { .. }), "{status}: {told}");
    }
}

#[test]
fn a_manager_without_timelines_is_asked_for_them_once_until_it_was_away() {
    let (odd, address) = Odd::start();
    let manager = manager(address);
    let other_thread = manager.for_another("w").unwrap();
    let report = |manager: &Manager| {
        let entries: Vec<TimelineEntry> = Vec::new();
        manager.report_timeline(SectorId::new(1000, 1), "w".into(), entries)
    };
    odd.says(
        500,
        &error(-32601, "method 'Damocles.ReportTimeline' not found"),
    );
    for manager in [&manager, &manager, &other_thread] {
        assert_eq!(report(manager), Ok(false));
    }
    assert_eq!(odd.asked(), 1);
    // it is replaced by one that keeps them
    odd.says(503, "");
    manager.assign_ticket(SectorId::new(1000, 1)).unwrap_err();
    odd.says(200, r#"{"jsonrpc":"2.0","id":ID,"result":null}"#);
    assert_eq!(report(&other_thread), Ok(true));
    assert_eq!(odd.asked(), 3);
}

#[test]
fn a_manager_that_takes_a_call_and_never_answers_is_away() {
    // connections are taken by the kernel, and nobody ever reads
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = Connection {
        timeout: Duration::from_millis(20),
        ..connection(listener.local_addr().unwrap())
    };
    let runtime = runtime().handle().clone();
    let manager = Manager::new(&connection, runtime, CancellationToken::new()).unwrap();
    let error = manager.assign_ticket(SectorId::new(1000, 1)).unwrap_err();
    assert!(
        matches!(&error, CallError::Away { reason, .. } if reason.contains("within 0.02 s")),
        "{error}"
    );
}

/// After a day without the manager there is much to tell.
#[test]
fn a_long_timeline_is_told_in_parts() {
    let mut rig = Rig::new(1);
    let meta = MetaDb::in_memory();
    rig.meta = Some(meta.clone());
    let allocated = AllocatedSector {
        id: SectorId::new(1000, 1),
        proof_type: SealProof::interactive(SectorSize::KiB2),
    };
    let mut document = Document::new(PlanName::Sealer, allocated, None);
    document.state = SectorState::PC1Done;
    document.stopped = Some(Stopped {
        since: 1,
        failure: Failure::permanent("no disk"),
    });
    let entry = |seq| TimelineEntry {
        seq,
        state: "PC1Done".into(),
        stage: "PC2".into(),
        queued_at: 1,
        started_at: Some(1),
        ended_at: Some(2),
        child: None,
        kernel: None,
        ending: Some(Ending::Interrupted),
    };
    meta.begin(&document, &entry(0)).unwrap();
    for seq in 1..250 {
        meta.note(&entry(seq)).unwrap();
    }
    let running = rig.start();
    running.paused();
    until("the last report", || running.reports.quiet());
    let script = rig.manager.script();
    assert_eq!((script.timeline.len(), script.longest_report), (250, 100));
    drop(script);
    running.stop();
}
