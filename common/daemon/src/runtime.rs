//! An async runtime that stays small: the daemons wait most of the time, and the machine's
//! memory belongs to the proofs. And the process's limits that have to do with it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left to databases, children, and files when connections are counted out.
const KEPT_DESCRIPTORS: u64 = 512;
/// More connections than this no daemon of ours serves.
const MOST_CONNECTIONS: u64 = 4096;

/// Tells the allocator to keep few arenas, and to give large pieces back to the system at once;
/// to be called before threads start.
/// (glibc's default of 8 arenas per core costs a daemon on a 64-core host hundreds of MiB, and
/// what one large answer took would stay with the process.)
pub fn frugal_memory() {
    #[cfg(target_env = "gnu")]
    {
        for (tunable, value) in [
            (libc::M_ARENA_MAX, 2),
            // set at all, it does not grow any more with what was freed
            (libc::M_MMAP_THRESHOLD, 256 << 10),
        ] {
            #[expect(unsafe_code, reason = "glibc offers no safe way to set these")]
            // SAFETY: mallopt only sets a tunable of the allocator and takes two integers.
            unsafe {
                libc::mallopt(tunable, value);
            }
        }
    }
}

/// Raises the number of files and sockets this process may have open to the most that the
/// system allows, and returns it. Shells and systemd begin with a low one for the sake of old
/// programs.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
    let now = descriptors();
    tracing::info!(
        descriptors = now,
        connections = connections(now),
        "limits of this process"
    );
    if now < 4 * KEPT_DESCRIPTORS {
        tracing::warn!(
            descriptors = now,
            "this process may have few files open; set LimitNOFILE in its unit, or `ulimit -Hn`"
        );
    }
    now
}

/// How many files and sockets this process may have open.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections leave enough of so many descriptors to the rest of the daemon.
pub(crate) fn connections(descriptors: u64) -> usize {
    let kept = KEPT_DESCRIPTORS.max(descriptors / 4);
    let most = descriptors.saturating_sub(kept).clamp(64, MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// A runtime with at most `threads` worker threads (never more than the machine has).
pub fn build(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    named("async", threads)
}

fn named(name: &str, threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(1, cores.max(1)))
        .max_blocking_threads(64)
        .thread_name(name)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
}

/// A second runtime, for callers from outside: however busy they keep it, what the daemon does
/// by itself goes on. It may be dropped anywhere.
#[derive(Debug)]
pub struct Apart(Option<tokio::runtime::Runtime>);

impl Apart {
    /// With at most so many threads, which carry that name.
    pub fn new(name: &str, threads: usize) -> std::io::Result<Self> {
        named(name, threads).map(|runtime| Self(Some(runtime)))
    }

    /// Runs something there and waits for it here. Who stops waiting stops it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        /// A task that ends with whoever waits for it.
        struct Bound<T>(tokio::task::JoinHandle<T>);
        impl<T> Drop for Bound<T> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let Some(runtime) = &self.0 else {
            anyhow::bail!("the runtime has ended");
        };
        let mut task = Bound(runtime.spawn(work));
        Ok((&mut task.0).await?)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // waiting for its threads is not allowed on a thread of another runtime
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_database() {
        for (descriptors, expected) in [
            (256, 64),
            (1024, 512),
            (4096, 3072),
            (20_000, 4096),
            (u64::MAX, 4096),
        ] {
            assert_eq!(connections(descriptors), expected, "{descriptors}");
        }
    }

    #[tokio::test]
    async fn another_runtime_works_for_this_one_and_may_be_dropped_here() {
        let apart = Apart::new("other", 1).unwrap();
        let name = apart
            .run(async { std::thread::current().name().map(str::to_owned) })
            .await
            .unwrap();
        assert_eq!(name.as_deref(), Some("other"));
        drop(apart);
    }
}
