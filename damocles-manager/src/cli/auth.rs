//! `util auth create-token`.

use damocles_daemon::{
    auth::{Permission, Secret},
    exit::Exit,
};
use std::path::Path;

/// The secret's file in the home.
pub(super) const SECRET_FILE: &str = crate::rpc::SECRET_FILE;

pub(super) fn create_token(home: &Path, permission: Permission) -> anyhow::Result<()> {
    let secret = Secret::load(&home.join(SECRET_FILE)).map_err(|fatal| match fatal.exit {
        Exit::NotFound => fatal.hint(
            "the daemon makes it at its first start: run it once, or give its home with --home",
        ),
        _ => fatal.hint("run this as the daemon's user, on its host"),
    })?;
    println!("{}", secret.token(permission)?);
    Ok(())
}
