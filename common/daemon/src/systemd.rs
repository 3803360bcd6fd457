//! Tells systemd how far we are; without systemd these do nothing.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The daemon serves (`Type=notify` units wait for this).
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// The daemon is on its way down.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Signs of life where the unit wants them (`WatchdogSec=`): a daemon whose runtime does not get
/// to this any more is started again.
pub async fn watchdog(stop: CancellationToken) -> anyhow::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return Ok(());
    };
    loop {
        send(&[NotifyState::Watchdog]);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(limit / 3) => {}
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
