//! Stands between a program and the JSON-RPC server that it asks, hands everything on, and counts
//! what is asked by method. HTTP only.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// How often each method was asked for.
pub type Asked = BTreeMap<String, u64>;

/// A tap; it lets through until it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: String,
    asked: Arc<Mutex<Asked>>,
    door: tokio::task::JoinHandle<()>,
}

impl Tap {
    /// Before the server at `host:port`, which need not be there yet.
    pub async fn before(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for a tap is free")?;
        let address = listener.local_addr()?.to_string();
        let asked = Arc::<Mutex<Asked>>::default();
        let (server, counted) = (server.to_owned(), Arc::clone(&asked));
        let door = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(pass(caller, server.clone(), Arc::clone(&counted)));
            }
        });
        Ok(Self {
            address,
            asked,
            door,
        })
    }

    /// `host:port` for whoever asks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was asked since the last time, and begins to count anew.
    pub fn take(&self) -> Asked {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// One connection. A server that is not there ends it, as it would without us.
async fn pass(caller: TcpStream, server: String, asked: Arc<Mutex<Asked>>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_caller, to_caller) = caller.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        hand_on(from_caller, to_server, |bytes: &[u8]| {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            for method in methods(bytes) {
                *asked.entry(method).or_default() += 1;
            }
        }),
        hand_on(from_server, to_caller, |_: &[u8]| {}),
    );
}

async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: impl FnMut(&[u8])) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        seen(&bytes[..n]);
        if to.write_all(&bytes[..n]).await.is_err() {
            break;
        }
    }
    // the other side may have gone first
    let _ = to.shutdown().await;
}

/// The methods that a piece of a request names. A name that is cut by the end of a piece is not
/// seen; requests are far smaller than a piece.
fn methods(bytes: &[u8]) -> Vec<String> {
    const KEY: &str = "\"method\":\"";
    let text = String::from_utf8_lossy(bytes);
    text.match_indices(KEY)
        .filter_map(|(at, _)| {
            let rest = &text[at + KEY.len()..];
            rest.find('"').map(|end| rest[..end].to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_from_requests() {
        let one = br#"{"jsonrpc":"2.0","method":"Filecoin.ChainHead","params":[],"id":1}"#;
        assert_eq!(methods(one), ["Filecoin.ChainHead"]);
        assert!(methods(b"HTTP/1.1 200 OK").is_empty());
        assert!(methods(br#""method":"cut"#).is_empty());
    }

    #[tokio::test]
    async fn what_is_asked_is_handed_on_and_counted() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Tap::before(&server.local_addr().unwrap().to_string())
            .await
            .unwrap();
        let serve = async {
            let (mut caller, _) = server.accept().await.unwrap();
            let mut bytes = [0; 16];
            caller.read_exact(&mut bytes).await.unwrap();
            caller.write_all(b"told").await.unwrap();
            bytes
        };
        let ask = async {
            let mut stream = TcpStream::connect(tap.address()).await.unwrap();
            stream.write_all(br#"{"method":"Foo"}"#).await.unwrap();
            let mut told = String::new();
            stream.read_to_string(&mut told).await.unwrap();
            told
        };
        let (heard, told) = tokio::join!(serve, ask);
        assert_eq!((&heard[..], &*told), (&br#"{"method":"Foo"}"#[..], "told"));
        assert_eq!(tap.take(), Asked::from([("Foo".to_owned(), 1)]));
        assert!(tap.take().is_empty());
    }
}
