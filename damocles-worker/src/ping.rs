//! Tells the manager that this worker lives, and how its threads do.

use crate::{manager::Manager, rpc::Seat, view::summary};
use damocles_api::workers::WorkerPing;
use damocles_daemon::build;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How this worker is known.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    /// Where its RPC is reached.
    pub dest: SocketAddr,
}

/// Pings at once and then every `interval`, until stopped. A failure is noted when it begins
/// and when it ends.
pub async fn run(
    manager: Manager,
    identity: Identity,
    seats: Arc<Vec<Seat>>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let info = WorkerPing {
            name: identity.name.clone(),
            dest: identity.dest.to_string(),
            version: build::version(),
            summary: summary(seats.iter().map(|s| s.board.as_ref())),
        };
        match manager.ping(info).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the manager takes pings again");
            }
            Ok(()) => {}
            Err(error) if !failing && !stop.is_cancelled() => {
                failing = true;
                tracing::warn!("the manager was not pinged: {error}");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}
