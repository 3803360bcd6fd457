//! The fleet's profile as the manager keeps it: asked for at the start and from time to time, and
//! kept on disk for a start without the manager.

use crate::{
    config::{ManagerConfig, Profile, WantedProfile},
    connection::Connection,
    manager::{CallError, Manager},
    managers::Managers,
};
use damocles_daemon::{
    exit::{Exit, Fatal},
    tls,
};
use damocles_types::Hidden;
use damocles_worker_config::profile::ASSIGNED;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A start waits no longer for an answer: the last profile will do.
const LONGEST: Duration = Duration::from_secs(10);

/// How the manager is spoken to, by the configuration.
///
/// # Errors
/// The token, or the certificates that are believed, cannot be read.
pub fn connection(manager: &ManagerConfig) -> Result<Connection, Fatal> {
    let token = match &manager.token_file {
        None => None,
        Some(file) => Some(std::fs::read_to_string(file).map(Hidden).map_err(|e| {
            Fatal::new(
                Exit::Config,
                format!("the manager's token {} cannot be read: {e}", file.display()),
            )
            .hint("put the manager's token there (`damocles-manager util auth create-token --perm write`), readable by the worker's user")
        })?),
    };
    let addr = Managers::new(manager.addr.clone(), manager.fallbacks.clone());
    let encrypted = addr.most_guarded().is_encrypted();
    let tls = encrypted.then(|| tls::caller(manager.ca.as_deref()));
    Ok(Connection {
        addr,
        tls: tls.transpose()?,
        headers: manager.headers.clone(),
        token,
        timeout: manager.timeout,
    })
}

/// The profile that a file asks for: the manager's, or the last one while that is away. Never
/// from async code.
///
/// # Errors
/// The manager has none of that name, or refuses this worker; or it is away and none was kept.
pub fn ask(runtime: &Runtime, wanted: &WantedProfile) -> Result<Profile, Fatal> {
    let mut connection = connection(&wanted.manager)?;
    connection.timeout = connection.timeout.min(LONGEST);
    let failed = |e: anyhow::Error| Fatal::new(Exit::Config, format!("{e:#}"));
    let stop = CancellationToken::new();
    let manager = Manager::new(&connection, runtime.handle().clone(), stop).map_err(failed)?;
    let asked = manager.worker_profile(wanted.name.clone(), wanted.worker.clone());
    settled(wanted, runtime.handle().block_on(asked))
}

/// What an answer comes to. Keeps a profile that was given.
///
/// # Errors
/// See [`ask`].
pub fn settled(
    wanted: &WantedProfile,
    answer: Result<Option<Profile>, CallError>,
) -> Result<Profile, Fatal> {
    match answer {
        Ok(Some(profile)) => {
            if let Err(error) = wanted.keep(&profile) {
                tracing::warn!(
                    hint = "let this user write there, or name another file in [sector_manager] profile_copy",
                    "the profile cannot be kept in {}, so this worker does not start while the manager is away: {error}",
                    wanted.copy.display()
                );
            }
            Ok(profile)
        }
        Ok(None) => Err(unknown(wanted)),
        Err(error @ (CallError::Denied { .. } | CallError::Failed { .. })) => {
            Err(Fatal::new(Exit::Refused, error)
                .hint("see the manager's log; a worker's token needs the permission write"))
        }
        Err(error @ CallError::Unsupported(_)) => Err(Fatal::new(Exit::Config, error)
            .hint("upstream's manager keeps no profiles; take `profile` out of [sector_manager]")),
        Err(error) => wanted.kept(&error.to_string()),
    }
}

fn unknown(wanted: &WantedProfile) -> Fatal {
    let WantedProfile { name, worker, .. } = wanted;
    let addr = &wanted.manager.addr;
    if name == ASSIGNED {
        return Fatal::new(
            Exit::NotFound,
            format!("the manager at {addr} has assigned no profile to {worker:?}"),
        )
        .hint("on the manager's host: `damocles-manager util profile assign`");
    }
    Fatal::new(
        Exit::NotFound,
        format!("the manager at {addr} has no profile {name:?}"),
    )
    .hint("`damocles-manager util profile list` shows those that there are")
}
