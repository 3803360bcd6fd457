//! An async runtime that stays small: the daemons wait most of the time, and the machine's
//! memory belongs to the proofs.

/// Tells the allocator to keep few arenas; to be called before threads start.
/// (glibc's default of 8 per core costs a daemon on a 64-core host hundreds of MiB.)
pub fn frugal_memory() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "glibc offers no safe way to bound its arenas")]
        // SAFETY: mallopt only sets a tunable of the allocator and takes two integers.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 2);
        }
    }
}

/// A runtime with at most `threads` worker threads (never more than the machine has).
pub fn build(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(1, cores.max(1)))
        .max_blocking_threads(64)
        .thread_name("async")
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
}
