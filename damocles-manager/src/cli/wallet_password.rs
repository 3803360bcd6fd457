//! The password of the key store for a command: from where the configuration says it is, or from
//! the person at the terminal, who is asked once.

use crate::{
    policy::WalletPolicy,
    wallet::{Password, PasswordError, password},
};
use damocles_daemon::exit::{Exit, Fatal};
use std::{cell::RefCell, io::IsTerminal, path::Path};
use zeroize::Zeroizing;

/// Fewer bytes are tried through quickly by whoever gets hold of the file.
const SHORTEST: usize = 8;

/// Gets the password when it is wanted first, and keeps it for the rest of the command.
pub(super) struct Opener {
    policy: WalletPolicy,
    known: RefCell<Option<Password>>,
}

impl Opener {
    pub(super) fn new(policy: WalletPolicy) -> Self {
        Self {
            policy,
            known: RefCell::default(),
        }
    }

    /// That of the key store which is there.
    pub(super) fn password(&self, path: &Path) -> Result<Password, Fatal> {
        self.get(|| typed(&format!("Password of the key store {}: ", path.display())))
    }

    /// That of a key store which is to be made; typed twice.
    pub(super) fn new_password(&self, path: &Path) -> Result<Password, Fatal> {
        let password = self.get(|| {
            let first = typed(&format!(
                "New password for the key store {}: ",
                path.display()
            ))?;
            if typed("The same again: ")? != first {
                return Err(Fatal::new(Exit::Usage, "the two passwords differ")
                    .hint("nothing was made; repeat the command"));
            }
            Ok(first)
        })?;
        if password.len() < SHORTEST {
            return Err(Fatal::new(
                Exit::Usage,
                format!("a password of the key store has at least {SHORTEST} characters"),
            )
            .hint("for a password file, `head -c 32 /dev/urandom | base64` prints a good one"));
        }
        Ok(password)
    }

    fn get(&self, ask: impl FnOnce() -> Result<Password, Fatal>) -> Result<Password, Fatal> {
        if let Some(known) = &*self.known.borrow() {
            return Ok(known.clone());
        }
        let got = match password(&self.policy) {
            Ok(password) => password,
            // a service's credential is not here, and a person may be
            Err(PasswordError::Unsaid | PasswordError::NoCredentials(_))
                if std::io::stdin().is_terminal() =>
            {
                ask()?
            }
            Err(error) => {
                return Err(Fatal::new(
                    Exit::Refused,
                    format!("the key store cannot be opened: {error}"),
                )
                .hint("name a file with --password-file, or run this at a terminal"));
            }
        };
        *self.known.borrow_mut() = Some(got.clone());
        Ok(got)
    }
}

fn typed(prompt: &str) -> Result<Password, Fatal> {
    match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(error) => Err(Fatal::new(
            Exit::Usage,
            format!("the terminal gives no password: {error}"),
        )
        .hint("name a file with --password-file")),
    }
}
