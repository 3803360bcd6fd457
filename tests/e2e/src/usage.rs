//! What processes of a house use: CPU time and memory, read from `/proc`.

use anyhow::{Context, Result};
use std::{fs, path::Path, time::Duration};

/// Environment variable that marks every process of a house, children of children included.
pub const MARK: &str = "DAMOCLES_HOUSE";

/// CPU time and resident memory of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all threads, without children.
    pub cpu: Duration,
    /// Bytes.
    pub rss: u64,
}

/// Reads the usage of a process.
pub fn of(pid: u32) -> Result<Usage> {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .with_context(|| format!("process {pid} is gone"))
    };
    let stat = read("stat")?;
    let ticks = cpu_ticks(&stat)
        .with_context(|| format!("/proc/{pid}/stat has an unknown form: {stat:?}"))?;
    Ok(Usage {
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        // a zombie has no memory
        rss: rss(&read("status")?).unwrap_or(0),
    })
}

/// What the kernel tells programs (`USER_HZ`); fixed on every architecture of ours.
const TICKS_PER_SECOND: u64 = 100;

/// Fields 14 and 15 (utime, stime) of proc(5); the command in brackets may hold anything, so
/// counting starts after the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |i: usize| fields.get(i - 3)?.parse::<u64>().ok();
    Some(number(14)? + number(15)?)
}

/// The most memory that a process ever had resident, in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    memory(&status, "VmHWM:").with_context(|| format!("process {pid} has no memory"))
}

/// `VmRSS`, in bytes.
fn rss(status: &str) -> Option<u64> {
    memory(status, "VmRSS:")
}

fn memory(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processes that carry the mark of the house `id`, with their command lines; the asking
/// process is not among them, nor are zombies, which have no environment.
pub fn marked(id: &str) -> Vec<(u32, String)> {
    let entry = format!("{MARK}={id}");
    let Ok(proc) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    proc.flatten()
        .filter_map(|dir| dir.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            *pid != std::process::id()
                && fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|env| env.split(|b| *b == 0).any(|var| var == entry.as_bytes()))
        })
        .map(|pid| (pid, command_line(pid)))
        .collect()
}

fn command_line(pid: u32) -> String {
    let raw =
        fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let words: Vec<_> = raw
        .split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 9 9 20 0 3 0 100 5000 12 184";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
        assert_eq!(rss("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        assert_eq!(rss("State:\tZ (zombie)\n"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(of(std::process::id()).unwrap().rss > 0);
        assert!(peak(std::process::id()).unwrap() > 0);
        assert!(of(u32::MAX).is_err());
    }
}
