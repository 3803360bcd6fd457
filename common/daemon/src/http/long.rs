//! Requests that take as long as they make headway, such as files that are handed in or a
//! database that is copied: no limit holds for the whole, but whoever stops sending is given up.

use axum::http::Extensions;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Whether a request is such a one; in the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Long(Arc<AtomicBool>);

impl Long {
    /// From now on the limits of an ordinary request do not hold for this one. It is for whoever
    /// answers to say, and to say it only of callers whom it lets in.
    pub fn allow(request: &Extensions) {
        if let Some(Self(long)) = request.get() {
            long.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has allowed that.
    pub fn is_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns after that time, if this is an ordinary request by then.
    pub(super) async fn over(&self, limit: Duration) {
        sleep(limit).await;
        if self.is_allowed() {
            std::future::pending().await
        }
    }
}
