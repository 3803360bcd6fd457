//! How a caller stands: whether it has shown that it may be here, whether it is being answered,
//! and how long it has been idle.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

#[derive(Debug)]
struct Now {
    trusted: bool,
    /// Calls of which the answer is not sent yet.
    calls: usize,
    idle_since: Instant,
}

#[derive(Debug)]
pub(super) struct Standing(Mutex<Now>);

impl Standing {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Now {
            trusted: false,
            calls: 0,
            idle_since: Instant::now(),
        }))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was before.
    pub(super) fn trust(&self) -> bool {
        std::mem::replace(&mut self.now().trusted, true)
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.now().trusted
    }

    pub(super) fn begins_a_call(&self) {
        self.now().calls += 1;
    }

    pub(super) fn ends_a_call(&self) {
        let mut now = self.now();
        now.calls -= 1;
        now.idle_since = Instant::now();
    }

    /// For how long it has asked nothing; None: it is being answered.
    pub(super) fn idle(&self) -> Option<Duration> {
        let now = self.now();
        (now.calls == 0).then(|| now.idle_since.elapsed())
    }
}
