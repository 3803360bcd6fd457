//! Who may do what over HTTP: tokens as Lotus makes them (JWT, HS256, `{"Allow":["read",…]}`),
//! and the rule for callers without one: the same host may, a network that the operator named
//! may, nobody else (design law 12).

use crate::{
    exit::{Exit, Fatal},
    file,
};
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, net::IpAddr, os::unix::fs::PermissionsExt, path::Path, str::FromStr, sync::Arc,
};

/// What a caller may do; each is asked for by itself, none includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Look.
    Read,
    /// What workers do: take work and hand in results.
    Write,
    /// Let something be signed.
    Sign,
    /// What only an operator does.
    Admin,
}

impl Permission {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sign, Self::Admin];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sign => "sign",
            Self::Admin => "admin",
        })
    }
}

/// A text that names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a permission; they are read, write, sign and admin")]
pub struct PermissionError(String);

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::ALL
            .into_iter()
            .find(|p| p.to_string() == text)
            .ok_or_else(|| PermissionError(text.to_owned()))
    }
}

/// A set of permissions. As Lotus issues tokens, a level carries those below it:
/// see [`Permissions::up_to`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Everything.
    pub fn all() -> Self {
        Self::up_to(Permission::Admin)
    }

    /// `read` < `write` < `sign` < `admin`: that one and those before it.
    pub fn up_to(top: Permission) -> Self {
        Permission::ALL
            .into_iter()
            .filter(|p| p.bit() <= top.bit())
            .collect()
    }

    pub const fn allows(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, p| set | p.bit()))
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "Allow")]
    allow: Vec<String>,
}

/// The key that tokens are made and checked with.
#[derive(Clone)]
pub struct Secret {
    encoding: Arc<EncodingKey>,
    decoding: Arc<DecodingKey>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            encoding: Arc::new(EncodingKey::from_secret(bytes)),
            decoding: Arc::new(DecodingKey::from_secret(bytes)),
        }
    }

    /// One that nobody knows: no token can be right.
    pub fn unknown() -> Self {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Self::new(&bytes)
    }

    /// Reads the secret file (base64 of 32 bytes, mode 0600), making it when there is none.
    ///
    /// # Errors
    /// [`Exit::Refused`] unreadable, unwritable or open to others; [`Exit::Data`] damaged.
    pub fn load_or_create(path: &Path) -> Result<Self, Fatal> {
        let refused = |what: String| Fatal::new(Exit::Refused, what);
        match fs::metadata(path) {
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                return Err(refused(format!(
                    "the token secret {} can be read by other users",
                    path.display()
                ))
                .hint(format!("run: chmod 600 {}", path.display())));
            }
            Ok(_) => return Self::load(path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(refused(format!("cannot look at {}: {e}", path.display()))),
        }
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        match file::create_atomic(path, STANDARD.encode(bytes).as_bytes(), 0o600) {
            Ok(()) => Ok(Self::new(&bytes)),
            // another daemon that begins at the same time was quicker: one secret for both
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::load(path),
            Err(e) => Err(refused(format!(
                "cannot write the token secret {}: {e}",
                path.display()
            ))),
        }
    }

    /// Reads an existing secret file.
    pub fn load(path: &Path) -> Result<Self, Fatal> {
        let text = fs::read_to_string(path).map_err(|e| {
            let exit = match e.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Refused,
            };
            Fatal::new(
                exit,
                format!("cannot read the token secret {}: {e}", path.display()),
            )
        })?;
        let bytes = STANDARD.decode(text.trim()).ok().filter(|b| b.len() >= 32);
        bytes.map(|b| Self::new(&b)).ok_or_else(|| {
            Fatal::new(
                Exit::Data,
                format!("the token secret {} is damaged", path.display()),
            )
            .hint("restore it, or remove it: then a new one is made, and every token must be made anew")
        })
    }

    /// A token that carries `top` and the permissions below it; it does not expire.
    pub fn token(&self, top: Permission) -> Result<String, Fatal> {
        let claims = Claims {
            allow: Permission::ALL
                .into_iter()
                .filter(|p| Permissions::up_to(top).allows(*p))
                .map(|p| p.to_string())
                .collect(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|e| {
            Fatal::new(
                Exit::Unexpected,
                format!("the token could not be made: {e}"),
            )
        })
    }

    /// What a token allows; None when it is not one of ours. Unknown permissions are skipped.
    pub fn verify(&self, token: &str) -> Option<Permissions> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_nbf = true;
        rules.leeway = CLOCKS_DIFFER;
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules).ok()?;
        Some(
            data.claims
                .allow
                .iter()
                .filter_map(|p| p.parse().ok())
                .collect(),
        )
    }
}

/// Seconds by which the clock of the host that made a token may differ from ours.
const CLOCKS_DIFFER: u64 = 5;

/// Why a caller was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the token is not one of this daemon's")]
    BadToken,
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

/// Decides what a caller may do.
#[derive(Clone, Debug)]
pub struct Guard {
    secret: Secret,
    open_networks: Arc<RwLock<Vec<IpNet>>>,
}

impl Guard {
    /// `open_networks`: callers there may do what workers do (read and write) without a token.
    pub fn new(secret: Secret, open_networks: Vec<IpNet>) -> Self {
        Self {
            secret,
            open_networks: Arc::new(RwLock::new(open_networks)),
        }
    }

    /// From now on these are the open networks, for all clones.
    pub fn open(&self, networks: Vec<IpNet>) {
        *self.open_networks.write() = networks;
    }

    /// What the caller at `peer` with these headers may do.
    ///
    /// A token always decides when there is one. Without one the same host may do everything,
    /// but not through a browser or a proxy, which speak for others (and say so in a header);
    /// open networks may read and write.
    pub fn permissions(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Permissions, Denied> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
            return token
                .and_then(|t| self.secret.verify(t.trim()))
                .ok_or(Denied::BadToken);
        }
        if speaks_for_another(headers) {
            return Err(Denied::NoToken);
        }
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Ok(Permissions::all());
        }
        if self
            .open_networks
            .read()
            .iter()
            .any(|net| net.contains(&peer))
        {
            return Ok(Permissions::up_to(Permission::Write));
        }
        Err(Denied::NoToken)
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
    fn a_token_holds_from_its_first_to_its_last_second() {
        let secret = Secret::new(&[7; 32]);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let token = |claims: serde_json::Value| {
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret.encoding).unwrap()
        };
        let allow = ["read"];
        for (claims, valid) in [
            (serde_json::json!({"Allow": allow, "exp": now + 600}), true),
            (serde_json::json!({"Allow": allow, "exp": now - 30}), false),
            (serde_json::json!({"Allow": allow, "nbf": now - 600}), true),
            (serde_json::json!({"Allow": allow, "nbf": now + 600}), false),
        ] {
            assert_eq!(
                secret.verify(&token(claims.clone())).is_some(),
                valid,
                "{claims}"
            );
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
    fn many_that_begin_at_the_same_time_have_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = dir.path().join(format!("secret-{round}"));
            let secrets: Vec<_> = std::thread::scope(|scope| {
                let path = &path;
                let start: Vec<_> = (0..8)
                    .map(|_| scope.spawn(move || Secret::load_or_create(path).unwrap()))
                    .collect();
                start.into_iter().map(|s| s.join().unwrap()).collect()
            });
            let token = secrets[0].token(Permission::Read).unwrap();
            for secret in &secrets {
                assert!(secret.verify(&token).is_some());
            }
        }
    }

    #[test]
    fn the_secret_file_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwt-secret");
        let token = Secret::load_or_create(&path)
            .unwrap()
            .token(Permission::Sign)
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = Secret::load_or_create(&path).unwrap();
        assert_eq!(
            again.verify(&token),
            Some(Permissions::up_to(Permission::Sign))
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            Secret::load_or_create(&path).unwrap_err().exit,
            Exit::Refused
        );
    }
}
