//! JSON-RPC to any of the three daemons: an HTTP client with a token and a time-out.

use anyhow::{Context, Result};
use jsonrpsee::{
    core::client::ClientT,
    http_client::{HeaderMap, HeaderValue, HttpClient, HttpClientBuilder},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Thousands of sectors in one list, as the manager's own command takes it.
const MAX_ANSWER: u32 = 512 << 20;

/// A daemon's door.
#[derive(Clone, Debug)]
pub struct Rpc {
    client: HttpClient,
    url: String,
}

impl Rpc {
    /// A client for `url`, with a bearer token if there is one.
    pub fn new(url: &str, token: Option<&str>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token holds characters that a header cannot carry")?;
            headers.insert("authorization", value);
        }
        let client = HttpClientBuilder::default()
            .set_headers(headers)
            .request_timeout(Duration::from_secs(30))
            .max_response_size(MAX_ANSWER)
            .build(url)
            .with_context(|| format!("{url} is not an address to speak to"))?;
        Ok(Self {
            client,
            url: url.to_owned(),
        })
    }

    /// For the typed clients of `damocles-api`.
    pub fn typed(&self) -> &HttpClient {
        &self.client
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method by its full name.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<T> {
        let params: Vec<Value> = params.into_iter().collect();
        self.client
            .request(method, params)
            .await
            .with_context(|| format!("{method} at {}", self.url))
    }
}

/// Status and body of a page at `host:port`.
pub async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    ask(address, &format!("GET {path}"), b"").await
}

/// Hands something in at `host:port`; status and body of the answer.
pub async fn put(address: &str, path: &str, body: &[u8]) -> Result<(u16, String)> {
    ask(address, &format!("PUT {path}"), body).await
}

async fn ask(address: &str, what: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let asked = format!("{what} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.unwrap_or_default(), body.to_owned()))
}

/// Host and port of an `api` file (`/ip4/127.0.0.1/tcp/1234/http`), once it is written whole.
pub fn read_api(path: &Path) -> Option<String> {
    address(std::fs::read_to_string(path).ok()?.trim())
}

fn address(multiaddr: &str) -> Option<String> {
    let parts: Vec<&str> = multiaddr.split('/').collect();
    match parts[..] {
        ["", "ip4" | "dns" | "dns4", host, "tcp", port, ..] => port
            .parse::<u16>()
            .ok()
            .map(|port| format!("{host}:{port}")),
        ["", "ip6", host, "tcp", port, ..] => port
            .parse::<u16>()
            .ok()
            .map(|port| format!("[{host}]:{port}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_multiaddrs() {
        assert_eq!(
            address("/ip4/127.0.0.1/tcp/81/http").unwrap(),
            "127.0.0.1:81"
        );
        assert_eq!(address("/ip6/::1/tcp/81").unwrap(), "[::1]:81");
        assert_eq!(address("/ip4/127.0.0.1/tcp/"), None);
        assert_eq!(address(""), None);
    }
}
