//! Listening: from what the operator wrote to a bound socket.

use crate::{
    exit::{Exit, Fatal},
    runtime::Apart,
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};
use tokio::net::TcpListener;

/// Where to listen: `127.0.0.1:1789`, `:1789` (every interface), or `/ip4/127.0.0.1/tcp/1789`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// None: every interface, IPv4 and IPv6.
    pub ip: Option<IpAddr>,
    /// 0: any free port.
    pub port: u16,
}

/// A text that names no place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on; write for example 127.0.0.1:1789 or :1789")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let wrong = || ListenError(text.to_owned());
        if let Some(rest) = text
            .strip_prefix("/ip4/")
            .or_else(|| text.strip_prefix("/ip6/"))
        {
            let mut parts = rest.split('/');
            let ip: IpAddr = parts
                .next()
                .and_then(|p| p.parse().ok())
                .ok_or_else(wrong)?;
            let port = match (parts.next(), parts.next()) {
                (Some("tcp"), Some(port)) => port.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            };
            return match (parts.next(), parts.next()) {
                (None | Some("http" | "ws" | ""), None) => Ok(Self { ip: Some(ip), port }),
                _ => Err(wrong()),
            };
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| wrong())?;
            return Ok(Self { ip: None, port });
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| wrong())?;
            return Ok(Self {
                ip: Some(Ipv4Addr::LOCALHOST.into()),
                port,
            });
        }
        let address: SocketAddr = text.parse().map_err(|_| wrong())?;
        Ok(Self {
            ip: Some(address.ip()),
            port: address.port(),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// Binds the address and returns it with the real port.
///
/// # Errors
/// [`Exit::Occupied`] when it is taken, [`Exit::Refused`] when this user or machine may not.
pub async fn bind(listen: Listen) -> Result<(TcpListener, SocketAddr), Fatal> {
    let bound = match listen.ip {
        Some(ip) => TcpListener::bind((ip, listen.port)).await,
        // a machine without IPv6 still has IPv4; an occupied port is the same for both
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, listen.port)).await {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen.port)).await
            }
            other => other,
        },
    };
    let listener = bound.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Fatal::new(
            Exit::Occupied,
            format!("cannot listen on {listen}: another program uses the port"),
        )
        .hint("stop that program, or choose another port with --listen"),
        _ => Fatal::new(Exit::Refused, format!("cannot listen on {listen}: {e}")).hint(
            "choose an address of this machine, and a port this user may open, with --listen",
        ),
    })?;
    let address = listener.local_addr().map_err(|e| {
        Fatal::new(
            Exit::Unexpected,
            format!("the socket on {listen} has no address: {e}"),
        )
    })?;
    Ok((listener, address))
}

/// Serves a listener on a runtime of its own: what the daemon does by itself goes on however
/// busy callers keep that one.
///
/// # Errors
/// No thread or descriptor is left for the runtime; whatever `serve` says.
pub async fn serve_apart<F>(
    name: &str,
    threads: usize,
    listener: TcpListener,
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let apart = Apart::new(name, threads)?;
    let listener = listener.into_std()?;
    apart
        .run(async move {
            // a socket belongs to the runtime that it is made on
            serve(TcpListener::from_std(listener)?).await
        })
        .await?
}

/// `host` or `host:port` as it stands in a URL; the port is added where there is none. An IPv6
/// address may be written without brackets.
pub fn with_port(host: &str, port: u16) -> String {
    if let Ok(ip) = host.parse::<Ipv6Addr>() {
        return SocketAddr::new(ip.into(), port).to_string();
    }
    let has_port = match host.rsplit_once(']') {
        Some((_, rest)) => rest.starts_with(':'),
        None => host.contains(':'),
    };
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

/// What this host calls itself.
pub fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// How a program on the same machine reaches a bound address: a wildcard becomes loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        _ => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
    }
}

/// What one subscriber has of the IPv6 network is not one address but 2^64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => Ipv6Addr::from(u128::from(six) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_address() {
        let local: Option<IpAddr> = Some(Ipv4Addr::LOCALHOST.into());
        for (text, ip, port) in [
            (":1789", None, 1789),
            ("127.0.0.1:0", local, 0),
            ("localhost:9", local, 9),
            ("/ip4/127.0.0.1/tcp/1789", local, 1789),
            ("/ip4/127.0.0.1/tcp/1789/http", local, 1789),
            ("[::1]:80", Some(Ipv6Addr::LOCALHOST.into()), 80),
        ] {
            assert_eq!(text.parse(), Ok(Listen { ip, port }), "{text}");
        }
        for bad in [
            "",
            "1789",
            ":",
            ":99999",
            "host:1",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/::1",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_gets_the_port_that_it_lacks() {
        for (host, expected) in [
            ("worker", "worker:7"),
            ("worker:1", "worker:1"),
            ("10.0.0.1", "10.0.0.1:7"),
            ("::1", "[::1]:7"),
            ("fe80::1:2", "[fe80::1:2]:7"),
            ("[::1]", "[::1]:7"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(host, 7), expected);
        }
    }

    #[tokio::test]
    async fn an_occupied_port_is_one_sentence() {
        let (_held, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let again = Listen {
            ip: Some(address.ip()),
            port: address.port(),
        };
        let error = bind(again).await.unwrap_err();
        assert_eq!(error.exit, Exit::Occupied);
        assert!(error.message.contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn every_interface_includes_ipv4_loopback() {
        let (_held, address) = bind(":0".parse().unwrap()).await.unwrap();
        tokio::net::TcpStream::connect(reachable(address))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_listener_is_served_on_another_runtime_and_ends_with_who_waits() {
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let served = tokio::spawn(serve_apart("served", 1, listener, |listener| async move {
            let (mut stream, _) = listener.accept().await?;
            let name = std::thread::current().name().map(str::to_owned);
            tokio::io::AsyncWriteExt::write_all(&mut stream, name.unwrap_or_default().as_bytes())
                .await?;
            std::future::pending().await
        }));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut name = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut name)
            .await
            .unwrap();
        assert_eq!(&name, b"served");
        served.abort();
        let end = tokio::io::AsyncReadExt::read(&mut stream, &mut name).await;
        assert_eq!(end.unwrap(), 0);
    }
}
