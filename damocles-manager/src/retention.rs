//! What of the history goes after a while, so that the database does not only grow.

use crate::{
    db::{Db, DbError},
    model::{UnixMs, millis, unix_ms},
    policy::Retention,
};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);
/// How long sums of what messages cost are kept: a year and a month.
const SUMS: Duration = Duration::from_secs(396 * 24 * 3600);
/// So many messages or sectors at a time.
const STEP: usize = 100;
/// After a step there is a rest of so many times its length: what is old can wait, and who asks
/// cannot. A manager that comes to a database of many years has much to forget.
const REST: u32 = 4;

/// A step of forgetting what was over before a time; how much it was.
type Step = fn(&Db, UnixMs, usize) -> Result<usize, DbError>;

/// Forgets what the policy keeps no longer, until `stop`; a new policy counts at once. Several
/// managers on one database may do so: whoever is second finds nothing left.
///
/// # Errors
/// None; the result fits a service.
pub async fn keep(
    db: Db,
    mut policy: watch::Receiver<Retention>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let now = *policy.borrow_and_update();
        let all = async {
            tokio::join!(
                forget(&db, now.message_bodies, Db::forget_bodies, &stop),
                forget(&db, now.timelines, Db::forget_timelines, &stop),
                forget(&db, Some(SUMS), Db::forget_spent, &stop),
            )
        };
        tokio::select! {
            _ = all => return Ok(()),
            Ok(()) = policy.changed() => {}
        }
    }
}

async fn forget(db: &Db, kept: Option<Duration>, step: Step, stop: &CancellationToken) {
    let Some(kept) = kept else {
        return stop.cancelled().await;
    };
    let kept = millis(kept);
    loop {
        let before = unix_ms().saturating_sub(kept);
        let began = Instant::now();
        let pause = match db.call(move |db| step(db, before, STEP)).await {
            Ok(0) => LOOK,
            Ok(_) => (began.elapsed() * REST).min(LOOK),
            Err(error) => {
                tracing::warn!(%error, "old history cannot be forgotten now");
                LOOK
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
