//! Draining: no thread begins a new sector, those that have one take it to its end. For a host that is
//! to be changed or switched off without leaving a sector between two messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the worker drains; clones share it. It is forgotten with the process: a worker that is
/// started anew works.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<AtomicBool>);

/// What an idle thread says meanwhile.
pub const DRAINING: &str =
    "draining: no new sector is begun until `damocles-worker worker undrain`, or a restart";

impl Drain {
    /// Begins or ends it. Whether that changed anything.
    pub fn set(&self, on: bool) -> bool {
        self.0.swap(on, Ordering::SeqCst) != on
    }

    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
