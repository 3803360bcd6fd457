//! Tokens as Lotus makes and checks them: a JWT (HS256) whose payload is `{"Allow":[…]}`,
//! without expiry, under a secret that lives in the repository. Unlike our own daemons a
//! Filecoin node gives a caller without a token the permission to read, wherever it is.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_daemon::file::write_atomic;
use damocles_node::method::Permission;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::{Deserialize, Serialize};

/// File of the secret inside the repository (base64, mode 0600).
const SECRET: &str = "jwt-secret";
/// File of the admin token inside the repository (mode 0600).
pub const TOKEN: &str = "token";
/// File of the node's multiaddress inside the repository.
pub const API: &str = "api";

#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(rename = "Allow")]
    allow: Vec<String>,
}

/// Makes and checks tokens of one repository.
#[derive(Clone)]
pub struct Auth {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(secret hidden)")
    }
}

impl Auth {
    /// Under these secret bytes.
    pub fn new(secret: &[u8]) -> Self {
        Auth {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }

    /// Reads the repository's secret, making one when there is none.
    pub fn load_or_create(repo: &Path) -> Result<Self, Fatal> {
        match Self::load(repo) {
            Err(e) if e.exit == Exit::NotFound => {
                let mut secret = [0; 32];
                rand::rngs::OsRng.fill_bytes(&mut secret);
                let path = repo.join(SECRET);
                let text = STANDARD.encode(secret);
                write_atomic(&path, text.as_bytes(), 0o600).map_err(|e| unwritable(&path, &e))?;
                Ok(Self::new(&secret))
            }
            other => other,
        }
    }

    /// Reads the repository's secret.
    pub fn load(repo: &Path) -> Result<Self, Fatal> {
        let path = repo.join(SECRET);
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Fatal::new(
                Exit::NotFound,
                format!("{} is not the repository of a devnet", repo.display()),
            )
            .hint("start a network there first: damocles-devnet run --repo DIR"),
            _ => Fatal::new(
                Exit::Refused,
                format!("cannot read {}: {e}", path.display()),
            ),
        })?;
        let secret = STANDARD.decode(text.trim()).ok().filter(|s| s.len() >= 32);
        secret.map(|s| Self::new(&s)).ok_or_else(|| {
            Fatal::new(
                Exit::Data,
                format!("the token secret {} is damaged", path.display()),
            )
            .hint("remove it: the next start makes a new one, and a new token file")
        })
    }

    /// A token with exactly these words in it, as `AuthNew` makes it.
    pub fn issue(&self, allow: Vec<String>) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &Payload { allow },
            &self.encoding,
        )
    }

    /// A token for this permission and the weaker ones, as `auth create-token` makes it.
    pub fn token(&self, top: Permission) -> Result<String, Fatal> {
        let allow = top.and_below().iter().map(|p| p.name().to_owned());
        self.issue(allow.collect()).map_err(|e| {
            Fatal::new(
                Exit::Unexpected,
                format!("the token could not be made: {e}"),
            )
        })
    }

    /// The words in a token of ours; the reason when it is not ours.
    pub fn verify(&self, token: &str) -> Result<Vec<String>, String> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        jsonwebtoken::decode::<Payload>(token, &self.decoding, &rules)
            .map(|data| data.claims.allow)
            .map_err(|e| format!("JWT Verification failed: {e}"))
    }

    /// Writes the admin token where Lotus puts it.
    pub fn write_token(&self, repo: &Path) -> Result<String, Fatal> {
        let token = self.token(Permission::Admin)?;
        let path = repo.join(TOKEN);
        write_atomic(&path, token.as_bytes(), 0o600).map_err(|e| unwritable(&path, &e))?;
        Ok(token)
    }
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Fatal {
    Fatal::new(
        Exit::Refused,
        format!("cannot write {}: {error}", path.display()),
    )
    .hint("let this user write there, or choose another directory with --repo")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tokens_survive_a_restart_and_belong_to_one_repository() {
        let repo = tempfile::tempdir().unwrap();
        let first = Auth::load_or_create(repo.path()).unwrap();
        let token = first.write_token(repo.path()).unwrap();
        let again = Auth::load_or_create(repo.path()).unwrap();
        assert_eq!(
            again.verify(&token).unwrap(),
            ["read", "write", "sign", "admin"]
        );
        assert!(Auth::new(&[1; 32]).verify(&token).is_err());
        for file in [SECRET, TOKEN] {
            let mode = std::fs::metadata(repo.path().join(file)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let auth = Auth::new(&[1; 32]);
        for bad in [
            "",
            "a.b.c",
            "eyJhbGciOiJub25lIn0.eyJBbGxvdyI6WyJhZG1pbiJdfQ.",
        ] {
            assert!(auth.verify(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_or_damaged_secret_has_its_own_exit_code() {
        let repo = tempfile::tempdir().unwrap();
        assert_eq!(Auth::load(repo.path()).unwrap_err().exit, Exit::NotFound);
        std::fs::write(repo.path().join(SECRET), "short").unwrap();
        assert_eq!(Auth::load(repo.path()).unwrap_err().exit, Exit::Data);
    }
}
