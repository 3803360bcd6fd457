//! Who may do what over HTTP: tokens as Lotus makes them (JWT, HS256, `{"Allow":["read",…]}`),
//! and the rule for callers without one: the same host may, a network that the operator named
//! may, nobody else (design law 12).

mod permission;
mod secret;
mod ledger;
mod failures;

pub use ledger::{Entry, LEDGER_FILE, Ledger, add, entries, revoke};
pub use permission::{Permission, PermissionError, Permissions};
pub use secret::{Bearer, Grant, Secret, id_of};

use axum::http::{HeaderMap, header};
use failures::Failures;
use ipnet::IpNet;
use parking_lot::RwLock;
use std::{net::IpAddr, sync::Arc, time::Instant};

/// Why a caller was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the token is not one of this daemon's, or its time is over")]
    BadToken,
    #[error("the token was revoked")]
    Revoked,
    #[error("too many wrong tokens came from this address: none is looked at for a minute")]
    TooMany,
    #[error(
        "a token is needed: this caller is on another host or speaks for one (as a proxy or a browser does), and its network is not allowed without one"
    )]
    NoToken,
}

/// What browsers and proxies add to what they send for others, wherever those are. Every header
/// with an `x-` that is not ours counts too, see [`speaks_for_another`].
const FOR_OTHERS: [&str; 6] = [
    "origin",
    "referer",
    "forwarded",
    "via",
    "cdn-loop",
    "true-client-ip",
];
/// Headers of our own programs.
const OURS: &str = "x-damocles-";

/// Whether somebody passes on what another has asked for.
fn speaks_for_another(headers: &HeaderMap) -> bool {
    let tells = |name: &str| {
        FOR_OTHERS.contains(&name)
            || (name.starts_with("x-") && !name.starts_with(OURS))
            || name.starts_with("sec-fetch-")
            || name.starts_with("cf-")
            || name.ends_with("-client-ip")
    };
    headers.keys().any(|name| tells(name.as_str())) || !host_is_here(headers)
}

/// Whether the address that was asked for can be one of this machine: a public name in it is
/// what a proxy, or a web page that has its name point here, was asked for.
fn host_is_here(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || is_this_host(name)
}

fn is_this_host(name: &str) -> bool {
    let own = crate::net::host_name();
    let first = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
    !own.is_empty() && first(&own) == first(name)
}

/// A caller that may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub permissions: Permissions,
    /// Whose token it showed; None: it needs none.
    pub bearer: Option<Bearer>,
}

impl Admitted {
    fn without_a_token(permissions: Permissions) -> Self {
        Self {
            permissions,
            bearer: None,
        }
    }
}

/// Decides what a caller may do; clones decide as one.
#[derive(Clone, Debug)]
pub struct Guard {
    secret: Secret,
    open_networks: Arc<RwLock<Vec<IpNet>>>,
    ledger: Option<Ledger>,
    failures: Arc<Failures>,
}

impl Guard {
    /// `open_networks`: callers there may do what workers do (read and write) without a token.
    pub fn new(secret: Secret, open_networks: Vec<IpNet>) -> Self {
        Self {
            secret,
            open_networks: Arc::new(RwLock::new(open_networks)),
            ledger: None,
            failures: Arc::default(),
        }
    }

    /// The same, which asks that list whether a token was revoked.
    #[must_use]
    pub fn asking(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// From now on these are the open networks, for all clones.
    pub fn open(&self, networks: Vec<IpNet>) {
        *self.open_networks.write() = networks;
    }

    /// What the caller at `peer` with these headers may do; see [`Guard::admit`].
    ///
    /// # Errors
    /// As there.
    pub fn permissions(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Permissions, Denied> {
        self.admit(peer, headers).map(|caller| caller.permissions)
    }

    /// Who the caller at `peer` with these headers is, and what it may do.
    ///
    /// A token always decides when there is one. Without one the same host may do everything,
    /// but not through a browser or a proxy, which speak for others (and say so in a header);
    /// open networks may read and write.
    ///
    /// # Errors
    /// Why it may do nothing.
    pub fn admit(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Admitted, Denied> {
        let peer = peer.to_canonical();
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
            return self.bearer(peer, token.unwrap_or_default().trim());
        }
        if speaks_for_another(headers) {
            return Err(Denied::NoToken);
        }
        if peer.is_loopback() {
            return Ok(Admitted::without_a_token(Permissions::all()));
        }
        if self
            .open_networks
            .read()
            .iter()
            .any(|net| net.contains(&peer))
        {
            let write = Permissions::up_to(Permission::Write);
            return Ok(Admitted::without_a_token(write));
        }
        Err(Denied::NoToken)
    }

    fn bearer(&self, peer: IpAddr, token: &str) -> Result<Admitted, Denied> {
        let now = Instant::now();
        if self.failures.blocks(peer, token, now) {
            return Err(Denied::TooMany);
        }
        let revoked = |id: &str| self.ledger.as_ref().is_some_and(|l| l.is_revoked(id));
        let denied = match self.secret.verify(token) {
            None => Denied::BadToken,
            Some(bearer) if revoked(&bearer.id) => Denied::Revoked,
            Some(bearer) => {
                self.failures.right(token);
                return Ok(Admitted {
                    permissions: bearer.permissions,
                    bearer: Some(bearer),
                });
            }
        };
        if self.failures.wrong(peer, now) {
            tracing::warn!(
                %peer, reason = %denied,
                hint = "a worker with an old token? Whoever had a right one goes on",
                "too many wrong tokens come from one address: for a minute none of them is looked at"
            );
        }
        Err(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn guard() -> Guard {
        Guard::new(Secret::new(&[7; 32]), vec!["10.0.0.0/8".parse().unwrap()])
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn callers_without_a_token() {
        let none = HeaderMap::new();
        let guard = guard();
        for (peer, allowed) in [
            ("127.0.0.1", Ok(Permissions::all())),
            ("::1", Ok(Permissions::all())),
            ("::ffff:127.0.0.1", Ok(Permissions::all())),
            ("10.1.2.3", Ok(Permissions::up_to(Permission::Write))),
            ("::ffff:10.1.2.3", Ok(Permissions::up_to(Permission::Write))),
            ("192.168.0.1", Err(Denied::NoToken)),
        ] {
            assert_eq!(
                guard.permissions(peer.parse().unwrap(), &none),
                allowed,
                "{peer}"
            );
        }
        for header in FOR_OTHERS.into_iter().chain([
            "x-forwarded-for",
            "x-forwarded",
            "x-forwarded-server",
            "x-real-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-original-forwarded-for",
            "x-envoy-external-address",
            "fastly-client-ip",
            "fly-client-ip",
            "cf-connecting-ip",
            "sec-fetch-site",
        ]) {
            let name = header::HeaderName::from_static(header);
            let sent = HeaderMap::from_iter([(name, HeaderValue::from_static("far"))]);
            for peer in ["127.0.0.1", "10.1.2.3"] {
                assert_eq!(
                    guard.permissions(peer.parse().unwrap(), &sent),
                    Err(Denied::NoToken),
                    "{header} from {peer}"
                );
            }
        }
    }

    #[test]
    fn our_own_headers_and_names_are_no_proxys() {
        let here = "127.0.0.1".parse().unwrap();
        let guard = guard();
        let sent = |name: &'static str, value: &str| {
            let name = header::HeaderName::from_static(name);
            HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
        };
        let allowed = |headers: &HeaderMap| guard.permissions(here, headers).is_ok();
        assert!(allowed(&sent("x-damocles-caller", "w1")));
        for host in [
            "127.0.0.1:1789",
            "[::1]:1789",
            "::1",
            "localhost",
            "manager",
            "a.localhost:1",
        ] {
            assert!(allowed(&sent("host", host)), "{host}");
        }
        for host in ["manager.example.com", "evil.example:1789"] {
            assert!(!allowed(&sent("host", host)), "{host}");
        }
    }

    #[test]
    fn a_token_decides_even_on_the_same_host() {
        let guard = guard();
        let local = "127.0.0.1".parse().unwrap();
        let far = "8.8.8.8".parse().unwrap();
        let read = guard.secret.token(Permission::Read).unwrap();
        assert_eq!(
            guard.permissions(local, &bearer(&read)),
            Ok(Permissions::up_to(Permission::Read))
        );
        let admin = guard.secret.token(Permission::Admin).unwrap();
        assert_eq!(
            guard.permissions(far, &bearer(&admin)),
            Ok(Permissions::all())
        );
        let foreign = Secret::new(&[8; 32]).token(Permission::Admin).unwrap();
        assert_eq!(
            guard.permissions(local, &bearer(&foreign)),
            Err(Denied::BadToken)
        );
        assert_eq!(
            guard.permissions(local, &bearer("x.y.z")),
            Err(Denied::BadToken)
        );
    }

    #[test]
    fn a_revoked_token_opens_nothing_from_that_moment_on() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LEDGER_FILE);
        let guard = guard().asking(Ledger::open(&path).unwrap());
        let far = "8.8.8.8".parse().unwrap();
        let grant = Grant {
            top: Permission::Write,
            expires: None,
            worker: Some("w1".into()),
        };
        let (id, token) = guard.secret.grant(&grant).unwrap();
        let other = guard.secret.grant(&grant).unwrap().1;
        let admitted = guard.admit(far, &bearer(&token)).unwrap();
        assert_eq!(admitted.bearer.unwrap().worker.as_deref(), Some("w1"));
        revoke(&path, &id, 1).unwrap();
        for peer in ["8.8.8.8", "127.0.0.1"] {
            let peer = peer.parse().unwrap();
            assert_eq!(guard.admit(peer, &bearer(&token)), Err(Denied::Revoked));
            assert!(guard.admit(peer, &bearer(&other)).is_ok());
        }
    }

    #[test]
    fn who_guesses_is_not_looked_at_any_more_and_its_neighbour_goes_on() {
        let guard = guard();
        let far = "8.8.8.8".parse().unwrap();
        let known = guard.secret.token(Permission::Read).unwrap();
        let unknown = guard.secret.token(Permission::Read).unwrap();
        assert!(guard.admit(far, &bearer(&known)).is_ok());
        let guess = || guard.admit(far, &bearer("a.b.c")).unwrap_err();
        let guesses: Vec<_> = (0..100).map(|_| guess()).collect();
        assert_eq!(
            (guesses[0], guesses[99]),
            (Denied::BadToken, Denied::TooMany)
        );
        assert!(guard.admit(far, &bearer(&known)).is_ok());
        assert_eq!(guard.admit(far, &bearer(&unknown)), Err(Denied::TooMany));
        let elsewhere = "8.8.4.4".parse().unwrap();
        assert!(guard.admit(elsewhere, &bearer(&unknown)).is_ok());
    }
}
