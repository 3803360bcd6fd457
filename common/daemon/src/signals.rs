//! SIGINT and SIGTERM ask the daemon to stop; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM. The second one runs `at_once`
/// (kill children, say) and exits with 128 + signal, as shells expect.
/// Must be called inside the runtime.
pub fn stop_token(at_once: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => ("SIGINT", 130),
                _ = terminate.recv() => ("SIGTERM", 143),
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
