//! TLS on a real socket: what is shown, what becomes of who does not believe it, and of who does
//! not speak it.

use super::{
    greeting::{Greeted, greeted},
    patient::Patient,
    serve_with,
};
use crate::tls::{Identity, Tls, caller};
use axum::{Router, routing::get};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A certificate for `localhost`, and the file by which it is believed.
fn identity(dir: &TempDir, name: &str) -> (Identity, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        dir.path().join(name),
        dir.path().join(format!("{name}.key")),
    );
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (Identity::read(&cert, &key).unwrap(), cert)
}

async fn served(tls: &Tls) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let routes = Router::new().route("/", get(|| async { "hello" }));
    tokio::spawn(serve_with(tls.clone(), listener, routes, stop.clone()));
    (address, stop.drop_guard())
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn encrypted(address: SocketAddr, authority: &Path) -> io::Result<String> {
    let config = caller(Some(authority)).unwrap();
    let socket = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    ask(connector.connect(name, socket).await?).await
}

#[tokio::test]
async fn a_certificate_is_believed_by_its_authority_and_may_become_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, believes_one) = identity(&dir, "one");
    let (other, believes_other) = identity(&dir, "other");
    let tls = Tls::default();
    let (address, _stop) = served(&tls).await;
    let plain = async || {
        ask(TcpStream::connect(address).await.unwrap())
            .await
            .unwrap()
    };
    assert!(plain().await.ends_with("hello"));
    tls.show(Some(one));
    assert!(
        encrypted(address, &believes_one)
            .await
            .unwrap()
            .ends_with("hello")
    );
    let refused = encrypted(address, &believes_other).await.unwrap_err();
    assert!(
        refused.to_string().contains("invalid peer certificate"),
        "{refused}"
    );
    tls.show(Some(other));
    assert!(encrypted(address, &believes_other).await.is_ok());
    encrypted(address, &believes_one).await.unwrap_err();
    // what is said on this host does not leave it
    assert!(plain().await.ends_with("hello"));
}

#[tokio::test]
async fn a_plain_caller_on_another_host_hears_that_tls_is_spoken_here() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::default();
    tls.show(Some(identity(&dir, "one").0));
    let shown = tls.now().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asking = tokio::spawn(async move {
        ask(TcpStream::connect(address).await.unwrap())
            .await
            .unwrap()
    });
    let (socket, here) = listener.accept().await.unwrap();
    let patient = Patient::new(socket, Duration::from_secs(60));
    let far = "8.8.8.8:1".parse().unwrap();
    assert!(greeted(patient, Arc::clone(&shown), far).await.is_err());
    let answer = asking.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("https://"),
        "{answer}"
    );
    // the same words on this host
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"GET").await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let patient = Patient::new(socket, Duration::from_secs(60));
    let let_in = greeted(patient, shown, here).await;
    assert!(matches!(let_in, Ok(Greeted::Plain(_))));
}
