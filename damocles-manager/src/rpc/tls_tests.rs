//! RPC and WebSocket over TLS.

use super::{
    Serve, run,
    scene::{certificate, rooms},
};
use damocles_daemon::{
    auth::{Guard, Secret},
    metrics::Readiness,
    tls::{Identity, Tls, caller},
};
use futures::{SinkExt, StreamExt};
use jsonrpsee::{
    core::{ClientError, client::ClientT},
    http_client::HttpClientBuilder,
    rpc_params,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, DropGuard};

struct It {
    address: SocketAddr,
    /// By which the certificate is believed, and by which another one would be.
    authority: PathBuf,
    strange: PathBuf,
    _disks: (TempDir, TempDir),
    _stop: DropGuard,
}

async fn serve() -> It {
    let (rooms, metrics, disk, _chain) = rooms().await;
    let home = tempfile::tempdir().unwrap();
    let (authority, key) = certificate(home.path(), "ours");
    let (strange, _) = certificate(home.path(), "theirs");
    let tls = Tls::default();
    tls.show(Some(Identity::read(&authority, &key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serve = Serve {
        pieces: crate::pieces::Pieces::new(rooms.db.clone(), Vec::new(), None),
        methods: rooms.methods().unwrap().into(),
        guard: Guard::new(Secret::new(&[1; 32]), Vec::new()),
        tls,
        audit: None,
        metrics,
        readiness: Readiness::waiting("the node"),
    };
    tokio::spawn(run(listener, serve, stop.clone()));
    It {
        address,
        authority,
        strange,
        _disks: (home, disk),
        _stop: stop.drop_guard(),
    }
}

#[tokio::test]
async fn a_call_over_tls_is_answered_to_who_believes_the_certificate() {
    let it = serve().await;
    let asked = async |ca: &PathBuf| -> Result<String, _> {
        let client = HttpClientBuilder::default()
            .with_custom_cert_store(caller(Some(ca)).unwrap())
            .build(format!("https://localhost:{}/rpc/v0", it.address.port()))
            .unwrap();
        client.request("Venus.Version", rpc_params![]).await
    };
    assert!(asked(&it.authority).await.is_ok());
    let refused = asked(&it.strange).await.unwrap_err();
    assert!(matches!(refused, ClientError::Transport(_)), "{refused}");
}

#[tokio::test]
async fn a_session_over_tls_is_answered() {
    let it = serve().await;
    let config = caller(Some(&it.authority)).unwrap();
    let socket = TcpStream::connect(it.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let encrypted = connector.connect(name, socket).await.unwrap();
    let url = format!("wss://localhost:{}/rpc/v0", it.address.port());
    let (mut session, _) = tokio_tungstenite::client_async(url, encrypted)
        .await
        .unwrap();
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.Version","params":[]}"#;
    session.send(Message::text(ask)).await.unwrap();
    loop {
        match session.next().await.unwrap().unwrap() {
            Message::Ping(_) => {}
            answer => {
                assert!(answer.to_text().unwrap().contains("result"), "{answer}");
                break;
            }
        }
    }
}
