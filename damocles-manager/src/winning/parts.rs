//! What blocks are made with.

use super::{counts::Counts, prover::Prover};
use crate::{
    chain::{Chain, Facts, Head, Production},
    db::Db,
    model::unix_ms,
    storage::Stores,
    wallet::Keys,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Between two attempts at what a node did not do.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Everything that blocks are made with.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub chain: Arc<dyn Chain>,
    pub node: Arc<dyn Production>,
    pub facts: Facts,
    pub head: watch::Receiver<Option<Head>>,
    pub stores: Stores,
    pub prover: Arc<dyn Prover>,
    pub keys: Keys,
    /// Whether the network's blocks follow the clock; else rounds go by heads alone.
    pub by_the_clock: bool,
    pub counts: Counts,
    /// The name of this process, for the records.
    pub by: String,
}

impl Parts {
    /// The same on a database that writes in a role.
    pub(super) fn on(&self, db: Db) -> Self {
        Self {
            stores: self.stores.on(db.clone()),
            db,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Sleeps until that many milliseconds since 1970 have passed.
pub(super) async fn sleep_until(at: u64) {
    tokio::time::sleep(Duration::from_millis(at.saturating_sub(unix_ms()))).await;
}
