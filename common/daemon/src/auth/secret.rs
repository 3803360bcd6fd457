//! The secret that tokens are made and checked with, and what stands in a token: permissions as
//! Lotus writes them, and beside them, for tokens that we make, an id, an end and a worker.

use super::permission::{Permission, Permissions};
use crate::{
    exit::{Exit, Fatal},
    file,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

/// Seconds by which the clock of the host that made a token may differ from ours.
const CLOCKS_DIFFER: u64 = 5;
/// Bytes of an id; in texts each is two characters.
const ID: usize = 8;

/// What stands in a token.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "Allow")]
    allow: Vec<String>,
    #[serde(rename = "jti", default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "exp", default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(rename = "Worker", default, skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
}

/// What a token is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// It carries this permission and those below it.
    pub top: Permission,
    /// Unix seconds of its end; None: it has none.
    pub expires: Option<u64>,
    /// The only worker for which its bearer may speak; None: for any.
    pub worker: Option<String>,
}

/// What a token that is one of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Its id. One that was made without has an id all the same: what its text hashes to.
    pub id: Arc<str>,
    pub permissions: Permissions,
    /// The only worker for which the bearer may speak.
    pub worker: Option<Arc<str>>,
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

    /// A token that carries `top` and the permissions below it; it does not expire, and speaks for
    /// any worker.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] when it cannot be signed.
    pub fn token(&self, top: Permission) -> Result<String, Fatal> {
        let grant = Grant {
            top,
            expires: None,
            worker: None,
        };
        Ok(self.grant(&grant)?.1)
    }

    /// A new token, behind its id.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] when it cannot be signed.
    pub fn grant(&self, grant: &Grant) -> Result<(String, String), Fatal> {
        let mut id = [0; ID];
        rand::rngs::OsRng.fill_bytes(&mut id);
        let id = hex::encode(id);
        let claims = Claims {
            allow: Permission::ALL
                .into_iter()
                .filter(|p| Permissions::up_to(grant.top).allows(*p))
                .map(|p| p.to_string())
                .collect(),
            id: Some(id.clone()),
            expires: grant.expires,
            worker: grant.worker.clone(),
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        let token = signed.map_err(|e| {
            Fatal::new(
                Exit::Unexpected,
                format!("the token could not be made: {e}"),
            )
        })?;
        Ok((id, token))
    }

    /// What a token says; None when it is not one of ours, or not valid at this moment. Unknown
    /// permissions are skipped. Whether it was revoked is not known here.
    pub fn verify(&self, token: &str) -> Option<Bearer> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_nbf = true;
        rules.leeway = CLOCKS_DIFFER;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules)
            .ok()?
            .claims;
        Some(Bearer {
            id: claims.id.map_or_else(|| id_of(token), Into::into),
            permissions: claims.allow.iter().filter_map(|p| p.parse().ok()).collect(),
            worker: claims.worker.map(Into::into),
        })
    }
}

/// The id of a token that was made without one.
pub fn id_of(token: &str) -> Arc<str> {
    hex::encode(&Sha256::digest(token.trim())[..ID]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let grant = |expires| Grant {
            top: Permission::Write,
            expires: Some(expires),
            worker: None,
        };
        let granted = |expires| secret.grant(&grant(expires)).unwrap().1;
        assert!(secret.verify(&granted(now + 600)).is_some());
        assert!(secret.verify(&granted(now - 30)).is_none());
    }

    #[test]
    fn a_token_says_its_id_and_its_worker_and_one_without_has_an_id_all_the_same() {
        let secret = Secret::new(&[7; 32]);
        let grant = Grant {
            top: Permission::Write,
            expires: None,
            worker: Some("w1".into()),
        };
        let (id, token) = secret.grant(&grant).unwrap();
        let bearer = secret.verify(&token).unwrap();
        assert_eq!(*bearer.id, *id);
        assert_eq!(bearer.worker.as_deref(), Some("w1"));
        assert_eq!(bearer.permissions, Permissions::up_to(Permission::Write));
        // as upstream, and earlier versions of ours, made them
        let claims = serde_json::json!({"Allow": ["read", "write"]});
        let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret.encoding)
            .unwrap();
        let bearer = secret.verify(&old).unwrap();
        assert_eq!((bearer.id, bearer.worker), (id_of(&old), None));
        assert_eq!(bearer.permissions, Permissions::up_to(Permission::Write));
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
            again.verify(&token).map(|b| b.permissions),
            Some(Permissions::up_to(Permission::Sign))
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            Secret::load_or_create(&path).unwrap_err().exit,
            Exit::Refused
        );
    }
}
