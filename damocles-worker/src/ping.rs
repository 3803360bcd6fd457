//! Tells the manager that this worker lives and how its threads do; what comes of it is what
//! monitoring and systemd are told of the worker.

use crate::{manager::Manager, rpc::Seat, view::summary};
use damocles_api::workers::{WorkerPing, WorkerSummary};
use damocles_daemon::{build, metrics::Readiness, systemd};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Between two looks at the threads.
const LOOK: Duration = Duration::from_secs(1);
/// Numbers that changed are told after this time at the latest; no pings are closer together.
const SOON: Duration = Duration::from_secs(3);

/// How this worker is known.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    /// Where its RPC is reached.
    pub dest: SocketAddr,
}

impl Identity {
    /// The ping that is true now.
    pub fn ping(&self, seats: &[Seat]) -> WorkerPing {
        WorkerPing {
            name: self.name.clone(),
            dest: self.dest.to_string(),
            version: build::version(),
            summary: summary(seats.iter().map(|s| s.board.as_ref())),
        }
    }
}

/// Whether a ping is due `since` the last one. Pure.
fn due(since: Duration, changed: bool, interval: Duration) -> bool {
    since >= interval || (changed && since >= SOON.min(interval))
}

/// Pings at once, then every `interval` and soon after the numbers changed, until stopped. A
/// failure is noted when it begins and when it ends, and `readiness` follows.
pub async fn run(
    manager: Manager,
    identity: Identity,
    seats: Arc<Vec<Seat>>,
    interval: Duration,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let ping = identity.ping(&seats);
        let (sent, at) = (ping.summary, Instant::now());
        match manager.ping(ping).await {
            Ok(()) => {
                if failing {
                    tracing::info!("the manager takes pings again");
                }
                failing = false;
                readiness.ready();
                systemd::status(&in_words(&sent));
            }
            Err(_) if stop.is_cancelled() => return,
            Err(error) => {
                if !failing {
                    tracing::warn!("the manager was not pinged: {error}");
                }
                failing = true;
                systemd::status(&format!("{}; {error}", in_words(&sent)));
                readiness.wait_for(error.to_string());
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK.min(interval)) => {}
            }
            let now = summary(seats.iter().map(|s| s.board.as_ref()));
            if due(at.elapsed(), now != sent, interval) {
                break;
            }
        }
    }
}

/// One line for `systemctl status`.
fn in_words(sum: &WorkerSummary) -> String {
    let WorkerSummary {
        threads,
        empty,
        paused,
        running,
        waiting,
        errors,
    } = sum;
    format!(
        "{threads} sealing threads: {running} running, {waiting} waiting, {empty} without a sector, {paused} paused; {errors} with an error"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_soon_and_the_rest_in_time() {
        let s = Duration::from_secs;
        for (since, changed, interval, is_due) in [
            (s(0), false, s(30), false),
            (s(29), false, s(30), false),
            (s(30), false, s(30), true),
            (s(2), true, s(30), false),
            (s(3), true, s(30), true),
            (s(1), true, s(1), true),
        ] {
            assert_eq!(due(since, changed, interval), is_due, "{since:?} {changed}");
        }
    }
}
