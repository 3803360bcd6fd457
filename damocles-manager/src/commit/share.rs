//! Which miners there are, and of each the driver that puts its sectors into messages: in one
//! manager at a time.

use crate::{
    commit::Commit,
    roles::{Role, Roles},
    served::Policies,
};
use damocles_types::ActorId;
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long to leave a database alone that could not be read.
const AFTER_DB_ERROR: Duration = Duration::from_secs(5);

/// Puts the sectors of all miners of which this manager has the role into messages, until `stop`.
///
/// # Errors
/// A panic of a driver.
pub async fn run(commit: Commit, roles: Roles, stop: CancellationToken) -> anyhow::Result<()> {
    let waiting = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        waiting = waiting(&commit) => waiting,
    };
    let changes = commit.served.changes();
    let of = move |policies: &Policies| {
        let served = policies.iter().map(|m| m.actor);
        served.chain(waiting.iter().copied()).collect()
    };
    let work = move |miner, db, stop| commit.of(miner, db).run(stop);
    roles.share(Role::Commit, changes, of, work, stop).await
}

/// Miners that left the configuration while the daemon did not run, and whose sectors are told so.
/// While it runs, none leaves it with sectors in work.
async fn waiting(commit: &Commit) -> BTreeSet<ActorId> {
    loop {
        match commit.db.call(|db| db.miners_that_wait()).await {
            Ok(miners) => return miners,
            Err(error) => {
                tracing::error!(%error, "waiting sectors cannot be read from the database");
                tokio::time::sleep(AFTER_DB_ERROR).await;
            }
        }
    }
}
