//! SIGINT, SIGTERM and SIGQUIT ask the daemon to stop; a second one ends it at once. SIGHUP and
//! SIGUSR1 ask it to read its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT, SIGTERM or SIGQUIT. The second one runs
/// `at_once` (kill children, say) and exits with 128 + signal, as shells expect.
/// Must be called inside the runtime.
pub fn stop_token(at_once: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => ("SIGINT", 130),
                _ = terminate.recv() => ("SIGTERM", 143),
                _ = quit.recv() => ("SIGQUIT", 131),
            }
        };
        let (name, _) = next().await;
        tracing::info!(signal = name, "stopping; a second signal ends at once");
        stop.cancel();
        let (name, code) = next().await;
        tracing::warn!(signal = name, "ending at once");
        at_once();
        #[expect(clippy::exit, reason = "the operator asked twice")]
        std::process::exit(code);
    });
    Ok(token)
}

/// The signals by which a daemon is asked to read its configuration again: SIGHUP, and SIGUSR1 as
/// upstream's manager has it. Unhandled, they would end it without a word.
#[derive(Debug)]
pub struct Reloads {
    hang_up: Signal,
    user: Signal,
}

/// Catches them from now on. Must be called inside the runtime.
pub fn reloads() -> std::io::Result<Reloads> {
    Ok(Reloads {
        hang_up: signal(SignalKind::hangup())?,
        user: signal(SignalKind::user_defined1())?,
    })
}

impl Reloads {
    /// The next one, by name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.hang_up.recv() => "SIGHUP",
            _ = self.user.recv() => "SIGUSR1",
        }
    }

    /// For a daemon that reads its configuration at the start only: says so.
    pub fn refuse(mut self) {
        tokio::spawn(async move {
            loop {
                let name = self.next().await;
                tracing::warn!(
                    signal = name,
                    "the configuration is read at the start only; restart to apply a change, nothing on its way is lost"
                );
            }
        });
    }
}
