//! The service that keeps looking for stores and at stores.

use crate::storage::{Stores, presence::LIMIT};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between two looks at all stores.
const AGAIN: Duration = Duration::from_secs(60);

impl Stores {
    /// Looks for stores and at stores, again and again, and attaches those whose `Meta` says so,
    /// until `stop`.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.survey() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// One look at everything.
    pub(super) async fn survey(&self) {
        self.scan().await;
        // in their order, so that of two names of one directory the first has it
        let looks = self.stores().into_iter().map(|store| async move {
            let _ = self.examine(&store, LIMIT).await;
        });
        futures::future::join_all(looks).await;
        for store in self.stores() {
            // the look of a twin may have come before that of the first
            let place = store.presence.lock().place;
            if let Some(why) = place.and_then(|place| self.same_place(&store, place)) {
                store.set_note(Some(why));
            }
        }
        self.attach_flagged().await;
    }
}
