//! What a killed daemon leaves behind. The kernel kills a child whose daemon is gone, but not what
//! that child has started itself (a wrapper's program, a pool of Python's): it would go on writing
//! into what the next daemon's child is writing. So each child carries a mark in its environment,
//! which what it starts inherits, and the next daemon ends whatever is marked by one that is gone.

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{fmt, fs, path::Path, str::FromStr, sync::OnceLock};

/// Names the daemon whose child a process is.
pub(super) const CHILD_OF_ENV: &str = "DAMOCLES_CHILD_OF";

/// A daemon, told from every other that the machine has had since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// In which its number counts.
    namespace: u64,
    pid: u32,
    /// In the kernel's ticks since the machine's start: numbers are used again.
    started: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.namespace, self.pid, self.started)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut part = || parts.next()?.parse::<u64>().ok();
        let (namespace, pid, started) = (part().ok_or(())?, part().ok_or(())?, part().ok_or(())?);
        Ok(Self {
            namespace,
            pid: u32::try_from(pid).map_err(|_| ())?,
            started,
        })
    }
}

impl Mark {
    /// The one of this process; none where the kernel shows nothing of itself, or shows the
    /// processes of another namespace, whose numbers are others.
    pub(super) fn own() -> Option<Self> {
        static OWN: OnceLock<Option<Mark>> = OnceLock::new();
        *OWN.get_or_init(|| {
            let pid = std::process::id();
            let seen = fs::read_link("/proc/self").ok()?;
            if seen.to_str()?.parse() != Ok(pid) {
                return None;
            }
            let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
            let number = namespace.to_str()?.strip_prefix("pid:[")?;
            Some(Self {
                namespace: number.strip_suffix(']')?.parse().ok()?,
                pid,
                started: started(pid)?,
            })
        })
    }

    /// Whether it is of a daemon that is gone. Of one in another namespace nobody here can tell.
    fn is_of_the_dead(self, own: Self) -> bool {
        self.namespace == own.namespace && started(self.pid) != Some(self.started)
    }
}

/// When the process began.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name before it may hold anything, brackets too
    let behind_name = stat.rsplit_once(')')?.1;
    behind_name.split_whitespace().nth(19)?.parse().ok()
}

/// The mark in a process's environment, if we may look at it.
fn mark_of(pid: u32) -> Option<Mark> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let text = std::str::from_utf8(variable).ok()?;
        let value = text.strip_prefix(CHILD_OF_ENV)?.strip_prefix('=')?;
        value.parse().ok()
    })
}

/// Kills what daemons that are gone have left running; how many processes those were.
pub(super) fn end_all() -> usize {
    let Some(own) = Mark::own() else { return 0 };
    let all = fs::read_dir(Path::new("/proc")).into_iter().flatten();
    all.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own.pid && ended(*pid, own))
        .count()
}

/// Kills one if it is such; whether it was.
fn ended(pid: u32, own: Mark) -> bool {
    let is_left = || mark_of(pid).is_some_and(|mark| mark.is_of_the_dead(own));
    if !is_left() {
        return false;
    }
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let held = number.map(|number| pidfd_open(number, PidfdFlags::empty()));
    let Some(Ok(held)) = held else { return false };
    // the number may have got another process since; what is held is one and the same
    is_left() && !matches!(pidfd_send_signal(held, Signal::KILL), Err(Errno::SRCH))
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
