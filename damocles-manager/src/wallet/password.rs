//! Where the password of the key store comes from, when nobody is there to type it.

use crate::policy::WalletPolicy;
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The directory that systemd makes for a service's credentials (`LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest password (bytes).
const LONGEST: u64 = 4096;

/// A password; wiped when dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(
        "nothing says where its password is: set PasswordFile or Credential in [Common.Wallet]"
    )]
    Unsaid,
    #[error("its password cannot be read from {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the first line of {} is to be its password, and is empty or too long", .0.display())]
    NoPassword(PathBuf),
    #[error(
        "the configuration names the credential {0:?}, and this process has none from systemd (LoadCredential= or LoadCredentialEncrypted= in the unit)"
    )]
    NoCredentials(String),
}

/// The password, from where the configuration says it is.
///
/// # Errors
/// [`PasswordError`]; [`PasswordError::Unsaid`] where a person is to be asked.
pub fn password(policy: &WalletPolicy) -> Result<Password, PasswordError> {
    from(policy, std::env::var_os(CREDENTIALS))
}

fn from(policy: &WalletPolicy, credentials: Option<OsString>) -> Result<Password, PasswordError> {
    if let Some(file) = &policy.password_file {
        return first_line(file);
    }
    let Some(name) = &policy.credential else {
        return Err(PasswordError::Unsaid);
    };
    match credentials {
        Some(directory) => first_line(&Path::new(&directory).join(name)),
        None => Err(PasswordError::NoCredentials(name.clone())),
    }
}

/// The first line of a file, without its end.
///
/// # Errors
/// [`PasswordError::Io`], [`PasswordError::NoPassword`].
fn first_line(path: &Path) -> Result<Password, PasswordError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| PasswordError::Io {
            path: path.to_owned(),
            error,
        })?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() as u64 > LONGEST {
        return Err(PasswordError::NoPassword(path.to_owned()));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

/// The file with the password, if the configuration names one that others than its owner may read.
pub fn exposed(policy: &WalletPolicy) -> Option<&Path> {
    let file = policy.password_file.as_deref()?;
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & 0o077 != 0).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_goes_before_a_credential_and_nothing_is_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wallet");
        fs::write(&file, "one\r\nmore\n").unwrap();
        let here = || Some(dir.path().as_os_str().to_owned());
        let policy = |password_file: bool, credential: Option<&str>| WalletPolicy {
            path: None,
            password_file: password_file.then(|| file.clone()),
            credential: credential.map(str::to_owned),
        };
        let said = |policy, credentials| match from(&policy, credentials) {
            Ok(password) => String::from_utf8(password.to_vec()).unwrap(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said(policy(true, Some("no such")), here()), "one");
        assert_eq!(said(policy(false, Some("wallet")), here()), "one");
        for (error, words) in [
            (said(policy(false, None), here()), "nothing says"),
            (said(policy(false, Some("wallet")), None), "systemd"),
            (said(policy(false, Some("none")), here()), "cannot be read"),
        ] {
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(exposed(&policy(false, Some("wallet"))), None);
        for (mode, others) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed(&policy(true, None)).is_some(), others, "{mode:o}");
        }
        for empty in ["", "\n", "\r\nx", &"x".repeat(LONGEST as usize + 1)] {
            fs::write(&file, empty).unwrap();
            assert!(said(policy(true, None), None).contains("is empty or too long"));
        }
    }
}
