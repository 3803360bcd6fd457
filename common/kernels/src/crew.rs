//! Chunks of work shared out among threads: whoever is free takes the next one, and when one
//! fails or panics the others stop after theirs.

use std::{
    num::NonZeroUsize,
    panic,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// What a run watches that nobody can cancel.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// The cores that the process may use, by its affinity mask.
pub fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The run was told to end.
#[derive(Clone, Copy, Debug)]
pub struct Cancelled;

/// Chunks, numbered from 0.
#[derive(Debug)]
pub struct Turns<'a> {
    count: u64,
    cancel: &'a AtomicBool,
    /// The chunk that nobody has taken yet.
    next: AtomicU64,
    done: AtomicU64,
    failed: AtomicBool,
}

impl Turns<'_> {
    /// The next chunk; none when all are taken or somebody has failed.
    pub fn take(&self) -> Result<Option<u64>, Cancelled> {
        let chunk = self.next.fetch_add(1, Ordering::Relaxed);
        if chunk >= self.count || self.failed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Cancelled);
        }
        Ok(Some(chunk))
    }

    /// A chunk is done; how many are by now.
    pub fn done(&self) -> u64 {
        1 + self.done.fetch_add(1, Ordering::Relaxed)
    }
}

/// A thread that panics stops the others, too: they need not finish what is lost.
struct FailOnPanic<'a>(&'a AtomicBool);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs `work` on up to `threads` threads, the caller's among them, until the `count` chunks
/// that it takes are done. The error is that of the first thread that has one; a panic goes on
/// in the caller.
pub fn share<E: Send>(
    count: u64,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
    work: impl Fn(&Turns<'_>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let turns = Turns {
        count,
        cancel,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    let one = || {
        let _guard = FailOnPanic(&turns.failed);
        let end = work(&turns);
        if end.is_err() {
            turns.failed.store(true, Ordering::Relaxed);
        }
        end
    };
    let threads = (threads.get() as u64).min(count);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let first = one();
        let ends: Vec<Result<(), E>> = others
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|p| panic::resume_unwind(p)))
            .collect();
        std::iter::once(first).chain(ends).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        panic::AssertUnwindSafe,
        sync::Mutex,
        time::{Duration, Instant},
    };

    #[derive(Debug, PartialEq)]
    enum Error {
        Cancelled,
        Chunk(u64),
    }

    impl From<Cancelled> for Error {
        fn from(_: Cancelled) -> Self {
            Self::Cancelled
        }
    }

    fn run(threads: usize, fails: Option<u64>, cancel: &AtomicBool) -> (Result<(), Error>, u64) {
        let taken = Mutex::new(Vec::new());
        let most = AtomicU64::new(0);
        let end = share(100, NonZeroUsize::new(threads).unwrap(), cancel, |turns| {
            while let Some(chunk) = turns.take()? {
                if Some(chunk) == fails {
                    return Err(Error::Chunk(chunk));
                }
                taken.lock().unwrap().push(chunk);
                most.fetch_max(turns.done(), Ordering::Relaxed);
            }
            Ok(())
        });
        let mut taken = taken.into_inner().unwrap();
        let done = taken.len() as u64;
        assert_eq!(most.into_inner(), done);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len() as u64, done, "no chunk twice");
        (end, done)
    }

    #[test]
    fn every_chunk_is_done_once() {
        for threads in [1, 2, 5, 200] {
            assert_eq!(run(threads, None, &NEVER), (Ok(()), 100), "{threads}");
        }
    }

    #[test]
    fn a_failure_or_a_cancel_ends_it() {
        for threads in [1, 4] {
            let (end, done) = run(threads, Some(50), &NEVER);
            assert_eq!(end, Err(Error::Chunk(50)));
            assert!(done < 100);
            let cancelled = run(threads, None, &AtomicBool::new(true));
            assert_eq!(cancelled, (Err(Error::Cancelled), 0));
        }
    }

    #[test]
    fn a_panic_ends_it() {
        for threads in [1, 4] {
            // only a test that fails waits so long
            let patience = Instant::now() + Duration::from_secs(10);
            let done = AtomicU64::new(0);
            let end = panic::catch_unwind(AssertUnwindSafe(|| {
                share(100, NonZeroUsize::new(threads).unwrap(), &NEVER, |turns| {
                    while let Some(chunk) = turns.take()? {
                        assert_ne!(chunk, 0, "the first chunk panics");
                        // nobody ends a chunk before the others can know
                        while !turns.failed.load(Ordering::Relaxed) && Instant::now() < patience {
                            thread::yield_now();
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), Error>(())
                })
            }));
            assert!(end.is_err(), "the caller panics as well");
            let done = done.into_inner();
            assert!(done < threads as u64, "{threads} threads did {done} chunks");
        }
    }
}
