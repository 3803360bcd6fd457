//! How a run is done: by how many threads, and who may end it.

use damocles_kernels::crew::cores;
use std::{num::NonZeroUsize, sync::atomic::AtomicBool};

/// How a run is done.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub threads: NonZeroUsize,
    /// Ends the run with [`Cancelled`] when it becomes true.
    pub cancel: &'a AtomicBool,
}

impl Run<'static> {
    /// On all cores that this process may use, to the end.
    pub fn whole() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self {
            threads: cores(),
            cancel: &NEVER,
        }
    }
}
