//! What a command says of a manager that speaks TLS, over a real socket.

use super::{client, fatal};
use crate::rpc::{Serve, no_methods, run, scene::certificate};
use damocles_api::sealer_cli::SealerCliClient;
use damocles_daemon::{
    auth::{Guard, Secret},
    exit::Exit,
    metrics::{Metrics, Readiness},
    tls::{Identity, Tls},
};
use jsonrpsee::core::ClientError;
use std::{path::Path, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_a_sentence_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, key) = certificate(dir.path(), "ours");
    let (strange, _) = certificate(dir.path(), "theirs");
    let tls = Tls::default();
    tls.show(Some(Identity::read(&authority, &key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let serve = Serve {
        pieces: crate::pieces::Pieces::new(crate::db::Db::in_memory(), Vec::new(), None),
        methods: no_methods().into(),
        guard: Guard::new(Secret::new(&[1; 32]), Vec::new()),
        tls,
        audit: None,
        metrics: Metrics::new("damocles_manager"),
        readiness: Readiness::waiting("the node"),
    };
    tokio::spawn(run(listener, serve, stop));
    let asked = async |host: &str, ca: &Path| {
        let url = format!("https://{host}:{port}/rpc/v0");
        let client = client(&url, None, Some(ca), Duration::from_secs(60)).unwrap();
        let error = client.version().await.unwrap_err();
        (
            matches!(error, ClientError::Call(_)),
            fatal(error, "manager", &url),
        )
    };
    // it serves no method, and says so
    let (answered, _) = asked("localhost", &authority).await;
    assert!(answered);
    for (host, ca) in [("localhost", &strange), ("127.0.0.1", &authority)] {
        let (answered, fatal) = asked(host, ca).await;
        assert!(!answered);
        assert_eq!(fatal.exit, Exit::Refused, "{fatal}");
        let said = fatal.to_string();
        assert!(
            said.contains("is not believed to be what it says"),
            "{said}"
        );
        assert!(fatal.hint.unwrap().contains("--ca"));
    }
}
