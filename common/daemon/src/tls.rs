//! Connections encrypted, with rustls as everywhere: what a listener shows, which may become
//! another one while it listens, and whom a caller believes.

use crate::exit::{Exit, Fatal};
use parking_lot::RwLock;
pub use rustls::ClientConfig;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{fmt, path::Path, sync::Arc};

/// The only version of HTTP that we serve.
const HTTP_1: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    ring::default_provider().into()
}

/// The certificates of a PEM file, one at least.
fn certificates(
    path: &Path,
) -> Result<impl Iterator<Item = Result<CertificateDer<'static>, String>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let mut found = found.map(|one| one.map_err(|e| e.to_string())).peekable();
    match found.peek() {
        Some(_) => Ok(found),
        None => Err("there is no certificate (PEM) in the file".to_owned()),
    }
}

/// A certificate with its key, as they were read and fit together.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

/// Files that make no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the key cannot be used: {0}")]
    Key(String),
}

impl Identity {
    /// `certificate`: a PEM file with the certificate first and then those that it stands on;
    /// `key`: a PEM file with its private key.
    ///
    /// # Errors
    /// Which of the two cannot be read, or that they do not fit.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let wrong = |e: &dyn fmt::Display| {
            IdentityError::Certificate(format!("{}: {e}", certificate.display()))
        };
        let chain = certificates(certificate)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(|e| wrong(&e))?;
        let unfit = |e: &dyn fmt::Display| IdentityError::Key(format!("{}: {e}", key.display()));
        let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unfit(&e))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| unfit(&e))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| unfit(&e))?;
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        Ok(Self(config.into()))
    }
}

/// What a listener shows to those who speak TLS with it; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tls(Arc<RwLock<Option<Identity>>>);

impl Tls {
    /// From now on new connections see this; None: TLS is not spoken.
    pub fn show(&self, identity: Option<Identity>) {
        *self.0.write() = identity;
    }

    pub(crate) fn now(&self) -> Option<Arc<ServerConfig>> {
        self.0
            .read()
            .as_ref()
            .map(|identity| Arc::clone(&identity.0))
    }
}

/// How a caller speaks TLS: it believes the authorities in that PEM file and no others, or, with
/// None, those that the system believes.
///
/// # Errors
/// [`Exit::Config`] when the file has no certificate that can be believed.
pub fn caller(authorities: Option<&Path>) -> Result<ClientConfig, Fatal> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let wrong = |e: &dyn fmt::Display| {
                Fatal::new(
                    Exit::Config,
                    format!("the authorities in {} cannot be used: {e}", path.display()),
                )
                .hint("give the certificate, in PEM, with which the manager's was signed")
            };
            for found in certificates(path).map_err(|e| wrong(&e))? {
                let found = found.map_err(|e| wrong(&e))?;
                roots.add(found).map_err(|e| wrong(&e))?;
            }
        }
        // one of the system's that cannot be read is no reason to believe none of them
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Fatal::new(Exit::Unexpected, format!("TLS cannot be spoken: {e}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_that_make_no_identity_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let certificate = file("cert", &made.cert.pem());
        let key = file("key", &made.signing_key.serialize_pem());
        let strange = file("other", &other.serialize_pem());
        let empty = file("empty", "");
        let missing = dir.path().join("missing");
        assert!(Identity::read(&certificate, &key).is_ok());
        for (certificate, key, of_key) in [
            (&missing, &key, false),
            (&empty, &key, false),
            (&key, &key, false),
            (&certificate, &missing, true),
            (&certificate, &empty, true),
            (&certificate, &strange, true),
        ] {
            let error = Identity::read(certificate, key).unwrap_err();
            assert_eq!(matches!(error, IdentityError::Key(_)), of_key, "{error}");
        }
        assert!(caller(Some(&certificate)).is_ok());
        for bad in [&missing, &empty, &key] {
            assert_eq!(caller(Some(bad)).unwrap_err().exit, Exit::Config);
        }
    }
}
