//! HTTP and WebSocket by hand over plain sockets: attackers must be able to break off, to be
//! silent and to be deaf, which no client library lets them.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait of anybody for an answer; as long as our own clients wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest head that is read.
const LONGEST_HEAD: u64 = 64 << 10;

/// The manager's and the worker's paths of RPC.
pub(crate) const MANAGER: &str = "/rpc/v0";
pub(crate) const WORKER: &str = "/";

pub(crate) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One JSON-RPC call as text.
pub(crate) fn call(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// A whole POST.
pub(crate) fn post(path: &str, address: SocketAddr, body: &str) -> Vec<u8> {
    let mut request = post_head(path, address, body.len());
    request.extend_from_slice(body.as_bytes());
    request
}

/// The head of a POST whose body has so many bytes.
pub(crate) fn post_head(path: &str, address: SocketAddr, length: usize) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// The request that makes a connection a WebSocket session.
pub(crate) fn upgrade(path: &str, address: SocketAddr) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2llZ2Ugc2llZ2Ugc2llZw==\r\n\r\n"
    )
    .into_bytes()
}

/// A text message of a client. Its mask is zero, so that the text stays as it is.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A message of HTTP, head and body as they came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// The next message of a connection; None: it ended.
pub(crate) fn read(from: &mut impl BufRead) -> Result<Option<Message>> {
    let mut head = String::new();
    loop {
        let mut rest = from.take(LONGEST_HEAD);
        if rest.read_line(&mut head)? == 0 {
            ensure!(head.is_empty(), "it ended within a head");
            return Ok(None);
        }
        ensure!((head.len() as u64) < LONGEST_HEAD, "an endless head");
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let lower = head.to_ascii_lowercase();
    ensure!(!lower.contains("transfer-encoding"), "parts: {head}");
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(Ok(0), |length| length.trim().parse())
        .context("a length")?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(Message { head, body }))
}

/// A caller who behaves: one question at a time, on a connection that it keeps.
pub(crate) struct Line {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Line {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            stream: BufReader::new(connect(address)?),
        })
    }

    /// The result of a call.
    pub(crate) fn ask(&mut self, path: &str, method: &str, params: Value) -> Result<Value> {
        let request = post(path, self.address, &call(method, params));
        self.stream.get_mut().write_all(&request)?;
        let Some(answer) = read(&mut self.stream)? else {
            bail!("the connection was closed");
        };
        let status = answer.head.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200"), "{status}");
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        Ok(answer["result"].take())
    }
}

/// Status and text of a GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Message> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream))?.context("an answer")
}
