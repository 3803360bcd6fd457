//! Where the key store is and what opens it, as the file says it.

use super::{home::here, legacy::RULES, raw};
use crate::policy::WalletPolicy;
use damocles_daemon::{
    config::{Report, parse_file},
    exit::Fatal,
};
use std::path::Path;

/// Only `[Common.Wallet]` of a configuration file, whatever else is wrong with it or missing: keys
/// are made before there is a miner to name.
///
/// # Errors
/// [`Fatal`] when there is no such file, or keys in it are not known or of a wrong kind.
pub fn wallet_file(path: &Path) -> Result<WalletPolicy, Fatal> {
    let (raw, mut report): (Option<raw::Raw>, _) = parse_file(path, &RULES)?;
    let policy = policy(&mut report, raw.unwrap_or_default().common.wallet);
    report.finish()?;
    Ok(policy)
}

pub(super) fn policy(report: &mut Report, raw: raw::Wallet) -> WalletPolicy {
    let raw::Wallet {
        path,
        password_file,
        credential,
    } = raw;
    let given = |path: &Path| (!path.as_os_str().is_empty()).then(|| here(path));
    if credential.contains('/') {
        report.fault(
            "Common.Wallet.Credential",
            format!(
                "{credential:?} is a path; write the credential's name, as in LoadCredential=NAME:PATH of the unit, or set PasswordFile"
            ),
        );
    }
    if !credential.is_empty() && given(&password_file).is_some() {
        report.notice(
            "Common.Wallet.Credential",
            "is not used, since PasswordFile is set",
        );
    }
    WalletPolicy {
        path: given(&path),
        password_file: given(&password_file),
        credential: Some(credential).filter(|name| !name.is_empty()),
    }
}
