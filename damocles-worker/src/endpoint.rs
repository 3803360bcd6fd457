//! The manager's address as operators write it, multiaddr or URL, and the URLs that follow.

use damocles_api::{MANAGER_DEFAULT_PORT, MANAGER_RPC_PATH};
use multiaddr::{Multiaddr, Protocol};
use std::{fmt, str::FromStr};

/// Where the manager is: scheme, host and port. Path, query and user of a URL are dropped,
/// as upstream does it; `ws` and `wss` mean the same port over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerAddr {
    tls: bool,
    /// As in a URL: an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// A text that is no address of a manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address of a manager; write \"/ip4/10.0.0.1/tcp/1789\" or \"http://10.0.0.1:1789\""
)]
pub struct ManagerAddrError(String);

impl ManagerAddr {
    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether TLS is spoken there.
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// `http://10.0.0.1:1789`
    pub fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme(), self.host, self.port)
    }

    /// Where JSON-RPC is spoken.
    pub fn rpc_url(&self) -> String {
        format!("{}{MANAGER_RPC_PATH}", self.origin())
    }

    /// Where the piece with this CID is served.
    pub fn piece_url(&self, piece: impl fmt::Display) -> String {
        format!("{}/piecestore/{piece}", self.origin())
    }

    /// `host:port`, for opening a socket.
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ManagerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl FromStr for ManagerAddr {
    type Err = ManagerAddrError;

    fn from_str(text: &str) -> Result<Self, ManagerAddrError> {
        let parsed = if text.starts_with('/') {
            from_multiaddr(text)
        } else {
            from_url(text)
        };
        parsed.ok_or_else(|| ManagerAddrError(text.to_owned()))
    }
}

fn from_multiaddr(text: &str) -> Option<ManagerAddr> {
    let (mut tls, mut host, mut port) = (false, None, None);
    for part in text.parse::<Multiaddr>().ok()?.iter() {
        match part {
            Protocol::Ip4(ip) => host = Some(ip.to_string()),
            Protocol::Ip6(ip) => host = Some(format!("[{ip}]")),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
                host = Some(name.into_owned());
            }
            Protocol::Tcp(number) => port = Some(number),
            Protocol::Https | Protocol::Wss(_) | Protocol::Tls => tls = true,
            // other parts say nothing about where it is
            _ => {}
        }
    }
    Some(ManagerAddr {
        tls,
        host: host?,
        port: port.unwrap_or(default_port(tls)),
    })
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { MANAGER_DEFAULT_PORT }
}

fn from_url(text: &str) -> Option<ManagerAddr> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => false,
        "https" | "wss" => true,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (ip, rest) = v6.split_once(']')?;
            ip.parse::<std::net::Ipv6Addr>().ok()?;
            (format!("[{ip}]"), rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (authority.to_owned(), None),
        },
    };
    let bad = |c: char| c.is_whitespace() || c == ':';
    if host.is_empty() || (!host.starts_with('[') && host.contains(bad)) {
        return None;
    }
    let port = match port {
        Some(text) => text.parse().ok()?,
        None if tls => 443,
        None => 80,
    };
    Some(ManagerAddr { tls, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiaddrs_and_urls_lead_to_the_same_place() {
        for (text, url) in [
            ("/ip4/10.0.0.1/tcp/1789", "http://10.0.0.1:1789/rpc/v0"),
            ("/ip4/10.0.0.1/tcp/1789/http", "http://10.0.0.1:1789/rpc/v0"),
            ("/ip4/10.0.0.1/tcp/1789/ws", "http://10.0.0.1:1789/rpc/v0"),
            ("/ip6/::1/tcp/1789", "http://[::1]:1789/rpc/v0"),
            (
                "/dns4/manager.lan/tcp/443/https",
                "https://manager.lan:443/rpc/v0",
            ),
            ("/dns/manager.lan", "http://manager.lan:1789/rpc/v0"),
            ("http://10.0.0.1:1789", "http://10.0.0.1:1789/rpc/v0"),
            (
                "http://u:p@10.0.0.1:1789/rpc/v1?x=1",
                "http://10.0.0.1:1789/rpc/v0",
            ),
            ("ws://10.0.0.1:1789/", "http://10.0.0.1:1789/rpc/v0"),
            ("wss://m", "https://m:443/rpc/v0"),
            ("https://[fe80::1]:8443", "https://[fe80::1]:8443/rpc/v0"),
        ] {
            let addr: ManagerAddr = text.parse().unwrap();
            assert_eq!(addr.rpc_url(), url, "{text}");
        }
        let addr: ManagerAddr = "http://m:1789/x".parse().unwrap();
        assert_eq!(addr.piece_url("baga"), "http://m:1789/piecestore/baga");
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "10.0.0.1:1789",
            "ftp://m",
            "http://",
            "http://m:99999",
            "http://[x]:1",
            "/tcp/1789",
            "/ip4/300.0.0.1/tcp/1",
        ] {
            assert!(bad.parse::<ManagerAddr>().is_err(), "{bad}");
        }
    }
}
