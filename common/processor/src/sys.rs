//! The few system calls that no safe crate of ours wraps. All unsafe code of this crate
//! stands here; nothing here decides anything.

#![expect(
    unsafe_code,
    reason = "raw system calls; each one says why it is sound"
)]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// What `command` starts is killed by the kernel when the calling *thread* ends, however it
/// ends, and whatever program it is.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // a parent that ended before this sends nothing any more
        match rustix::process::getppid() {
            Some(now) if now.as_raw_nonzero().get().cast_unsigned() == parent => Ok(()),
            _ => Err(rustix::io::Errno::SRCH.into()),
        }
    };
    // SAFETY: between fork and exec this makes two system calls; it takes no lock and no memory.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Hands out standard output as a private file and lets everything that is printed from now
/// on go to standard error. So a stray `println` in a library cannot garble the protocol.
pub(crate) fn take_stdout() -> io::Result<File> {
    // SAFETY: both calls take plain numbers; the descriptor that `fcntl` returns is new and
    // owned by nobody else, so the `File` may own it.
    unsafe {
        let private = libc::fcntl(io::stdout().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3);
        if private < 0 {
            return Err(io::Error::last_os_error());
        }
        let private = File::from_raw_fd(private);
        if libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(private)
    }
}

/// Ends the process without another word: no destructor of a library runs beside threads that
/// still compute with it.
pub(crate) fn end_process() -> ! {
    // SAFETY: it does not return, and takes nothing.
    unsafe { libc::_exit(0) }
}

/// A file as memory, for reading.
#[cfg(feature = "proofs")]
pub(crate) fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the file is a staged file of a sector whose cache directory the caller has
    // locked; nobody shortens or rewrites it while a stage reads it.
    unsafe { memmap2::Mmap::map(file) }
}

/// Memory of this thread, and of threads that it starts, comes from `node` while that has any.
pub(crate) fn prefer_numa_node(node: u32) -> io::Result<()> {
    const MPOL_PREFERRED: libc::c_long = 1;
    take_memory_from(node, MPOL_PREFERRED)
}

/// Memory of this thread, and of threads that it starts, comes from `node` or not at all.
pub(crate) fn bind_to_numa_node(node: u32) -> io::Result<()> {
    const MPOL_BIND: libc::c_long = 2;
    take_memory_from(node, MPOL_BIND)
}

/// Memory of this thread, and of threads that it starts, comes from wherever they run.
pub(crate) fn follow_numa_node() -> io::Result<()> {
    const MPOL_DEFAULT: libc::c_long = 0;
    set_memory_policy(MPOL_DEFAULT, &NO_NODES)
}

/// A set of nodes as the kernel reads it.
type Nodes = [libc::c_ulong; 16];
const NO_NODES: Nodes = [0; 16];

fn take_memory_from(node: u32, policy: libc::c_long) -> io::Result<()> {
    const BITS: u32 = libc::c_ulong::BITS;
    let mut nodes = NO_NODES;
    let word = nodes
        .get_mut((node / BITS) as usize)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    *word = 1 << (node % BITS);
    set_memory_policy(policy, &nodes)
}

fn set_memory_policy(policy: libc::c_long, nodes: &Nodes) -> io::Result<()> {
    let bits = (size_of::<Nodes>() * 8) as libc::c_ulong;
    // SAFETY: the kernel reads `bits` bits of the set, which is that long.
    let done = unsafe { libc::syscall(libc::SYS_set_mempolicy, policy, nodes.as_ptr(), bits) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives freed memory back to the system; a proof leaves gigabytes of it in the heap.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
