//! Where a node is: `token:address`, an address being a multiaddr or a URL (venus' APIInfo).

use crate::policy::NodeEndpoint;

/// API version of the node's interface that this manager speaks.
const VERSION: &str = "v1";

/// Splits `token:address`; a token has the shape of a JWT (`a.b.c`).
pub(super) fn split_token(text: &str) -> (Option<&str>, &str) {
    let word = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match text.split_once(':') {
        Some((token, address)) if !address.is_empty() => {
            let parts: Vec<&str> = token.split('.').collect();
            let jwt = matches!(parts[..], [a, b, c] if !a.is_empty() && !b.is_empty() && word(a) && word(b) && word(c));
            if jwt {
                (Some(token), address)
            } else {
                (None, text)
            }
        }
        _ => (None, text),
    }
}

/// The endpoint that an operator's text names. A multiaddr without `/http`, `/https`, `/ws` or
/// `/wss` means WebSocket, as upstream dials it.
///
/// # Errors
/// One sentence.
pub(super) fn parse(text: &str, shared_token: &str) -> Result<NodeEndpoint, String> {
    parse_as(VERSION, text, shared_token)
}

/// The same for a service whose interface has another version.
///
/// # Errors
/// One sentence.
pub(super) fn parse_as(
    version: &str,
    text: &str,
    shared_token: &str,
) -> Result<NodeEndpoint, String> {
    let (own, address) = split_token(text.trim());
    let token = own
        .map(str::to_owned)
        .or_else(|| Some(shared_token.to_owned()).filter(|t| !t.is_empty()));
    let url = if address.starts_with('/') {
        from_multiaddr(version, address)?
    } else {
        from_url(version, address)?
    };
    Ok(NodeEndpoint { url, token })
}

fn from_url(version: &str, address: &str) -> Result<String, String> {
    let schemes = ["http://", "https://", "ws://", "wss://"];
    let host = schemes.iter().find_map(|s| address.strip_prefix(s));
    let after_colon = address.split_once(':').map_or("", |(_, rest)| rest);
    let is_address = |s: &str| s.starts_with('/') || schemes.iter().any(|w| s.starts_with(w));
    if host.is_none() && is_address(after_colon) {
        return Err(
            "begins with something that is no token: a token has three parts with dots between them, as the node prints it (Lotus: `lotus auth create-token --perm sign`)"
                .to_owned(),
        );
    }
    if host.is_none_or(|h| h.trim_end_matches('/').is_empty()) {
        return Err(
            "is neither a multiaddr nor a URL; write for example \"/ip4/127.0.0.1/tcp/1234/http\" or \"http://127.0.0.1:1234\", with \"token:\" in front if need be"
                .to_owned(),
        );
    }
    let base = address.trim_end_matches('/');
    Ok(if base.contains("/rpc/v") {
        base.to_owned()
    } else {
        format!("{base}/rpc/{version}")
    })
}

fn from_multiaddr(own: &str, address: &str) -> Result<String, String> {
    let wrong = |what: &str| {
        format!(
            "is not a multiaddr of a node: {what}; write for example \"/ip4/127.0.0.1/tcp/1234/http\""
        )
    };
    let mut parts = address.trim_matches('/').split('/');
    let host = match (parts.next(), parts.next()) {
        (Some("ip4"), Some(ip)) => {
            let ip: std::net::Ipv4Addr = ip
                .parse()
                .map_err(|_| wrong("the IPv4 address is malformed"))?;
            ip.to_string()
        }
        (Some("ip6"), Some(ip)) => {
            let ip: std::net::Ipv6Addr = ip
                .parse()
                .map_err(|_| wrong("the IPv6 address is malformed"))?;
            format!("[{ip}]")
        }
        (Some("dns" | "dns4" | "dns6" | "dnsaddr"), Some(name)) if !name.is_empty() => {
            name.to_owned()
        }
        _ => return Err(wrong("it must begin with /ip4, /ip6 or /dns")),
    };
    let port: u16 = match (parts.next(), parts.next()) {
        (Some("tcp"), Some(port)) => port.parse().map_err(|_| wrong("the port is malformed"))?,
        _ => return Err(wrong("/tcp/<port> is missing")),
    };
    let (mut scheme, mut version) = ("ws", own.to_owned());
    while let Some(part) = parts.next() {
        match part {
            "http" | "https" | "ws" | "wss" => scheme = part,
            "version" => match parts.next() {
                Some(v) if !v.is_empty() => version = format!("v{}", v.trim_start_matches('v')),
                _ => return Err(wrong("/version needs a value")),
            },
            other => return Err(wrong(&format!("/{other} is not understood"))),
        }
    }
    Ok(format!("{scheme}://{host}:{port}/rpc/{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialing_rules() {
        for (text, url, token) in [
            (
                "/ip4/1.2.3.4/tcp/1234",
                "ws://1.2.3.4:1234/rpc/v1",
                Some("shared"),
            ),
            (
                "/ip4/1.2.3.4/tcp/1234/http",
                "http://1.2.3.4:1234/rpc/v1",
                Some("shared"),
            ),
            (
                "/dns/node.example/tcp/443/wss",
                "wss://node.example:443/rpc/v1",
                Some("shared"),
            ),
            (
                "/ip6/::1/tcp/1/http/version/0",
                "http://[::1]:1/rpc/v0",
                Some("shared"),
            ),
            (
                "aa.bb-_.c:/ip4/1.2.3.4/tcp/5/ws",
                "ws://1.2.3.4:5/rpc/v1",
                Some("aa.bb-_.c"),
            ),
            ("aa.bb.:http://h:1/", "http://h:1/rpc/v1", Some("aa.bb.")),
            ("https://h/rpc/v1", "https://h/rpc/v1", Some("shared")),
        ] {
            let endpoint = parse(text, "shared").unwrap();
            assert_eq!(
                (endpoint.url.as_str(), endpoint.token.as_deref()),
                (url, token),
                "{text}"
            );
        }
        assert_eq!(parse("http://h", "").unwrap().token, None);
        for (text, url) in [
            ("/ip4/1.2.3.4/tcp/39812", "ws://1.2.3.4:39812/rpc/v0"),
            ("https://m/", "https://m/rpc/v0"),
            ("/dns/m/tcp/1/http/version/1", "http://m:1/rpc/v1"),
        ] {
            assert_eq!(parse_as("v0", text, "").unwrap().url, url);
        }
        for bad in [
            "",
            "h:1234",
            "/ip4/1.2.3/tcp/1",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/unix/x",
            "http://",
            "/ip4/1.2.3.4/tcp/1/quic",
        ] {
            assert!(parse(bad, "").is_err(), "{bad}");
        }
    }
}
