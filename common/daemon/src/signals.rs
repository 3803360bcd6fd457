//! SIGINT, SIGTERM and SIGQUIT ask the daemon to stop; a second one ends it at once. SIGHUP and
//! SIGUSR1, by which other daemons read their configuration again, are answered in the log.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT, SIGTERM or SIGQUIT. The second one runs
/// `at_once` (kill children, say) and exits with 128 + signal, as shells expect.
/// Must be called inside the runtime.
pub fn stop_token(at_once: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    refuse_reloads()?;
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

/// Unhandled, these signals would end the daemon without a word.
fn refuse_reloads() -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = hang_up.recv() => "SIGHUP",
                _ = user.recv() => "SIGUSR1",
            };
            tracing::warn!(
                signal = name,
                "the configuration is read at the start only; restart to apply a change, nothing on its way is lost"
            );
        }
    });
    Ok(())
}
