//! The first byte of a connection tells TLS from HTTP. Where TLS is spoken, a plain caller on
//! another host hears so, in HTTP, and is served nothing: what it would say could be read on its
//! way.

use super::patient::Patient;
use rustls::ServerConfig;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a TLS connection begins with, and no request of HTTP does.
const HANDSHAKE: u8 = 0x16;
const SPEAK_TLS: &str = "this port speaks TLS with other hosts: write https:// (or wss://) in place of http:// (ws://)\n";

/// A connection on which HTTP can be spoken.
pub(super) enum Greeted {
    Plain(Patient<TcpStream>),
    Encrypted(Box<TlsStream<Patient<TcpStream>>>),
}

/// Waits for the first byte, and shakes hands.
pub(super) async fn greeted(
    mut stream: Patient<TcpStream>,
    shown: Arc<ServerConfig>,
    peer: SocketAddr,
) -> io::Result<Greeted> {
    let mut first = [0];
    if stream.inner().peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == HANDSHAKE {
        let stream = TlsAcceptor::from(shown).accept(stream).await?;
        return Ok(Greeted::Encrypted(Box::new(stream)));
    }
    if peer.ip().to_canonical().is_loopback() {
        return Ok(Greeted::Plain(stream));
    }
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Err(io::Error::other("the caller does not speak TLS"))
}
