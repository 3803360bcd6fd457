//! How a run is done: by how many threads, and who may end it.

use damocles_kernels::crew::{Cancelled, NEVER, cores, share};
use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

/// Who works, until when.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// How many threads, the caller's among them.
    pub threads: NonZeroUsize,
    /// Ends the run soon after it becomes true.
    pub cancel: &'a AtomicBool,
}

impl Run<'static> {
    /// On all cores that this process may use, to the end.
    pub fn whole() -> Self {
        Self {
            threads: cores(),
            cancel: &NEVER,
        }
    }
}

impl Run<'_> {
    /// Does `work` with every piece, of which there are `count`.
    pub(crate) fn each<P>(
        self,
        count: usize,
        pieces: impl Iterator<Item = P> + Send,
        work: impl Fn(P) + Sync,
    ) -> Result<(), Cancelled> {
        let pieces = Mutex::new(pieces);
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        share(count as u64, self.threads, self.cancel, |turns| {
            while turns.take()?.is_some() {
                if let Some(piece) = next() {
                    work(piece);
                }
            }
            Ok(())
        })
    }
}
