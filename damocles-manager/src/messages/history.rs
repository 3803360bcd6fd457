//! What of messages that nothing can happen to any more goes after a while.

use crate::{db::Db, model::unix_ms};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);
/// So many messages in one transaction.
const STEP: usize = 500;

/// Forgets parameters, signed bytes and return values of messages that ended and were wanted
/// longer ago than `kept`, until `stop`. None: they are kept for ever.
///
/// # Errors
/// None; the result fits a service.
pub async fn forget(db: Db, kept: Option<Duration>, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(kept) = kept else {
        stop.cancelled().await;
        return Ok(());
    };
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    loop {
        let before = unix_ms().saturating_sub(kept);
        let pause = match db.call(move |db| db.forget_bodies(before, STEP)).await {
            Ok(STEP) => Duration::ZERO,
            Ok(_) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "old messages cannot be forgotten now");
                LOOK
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
