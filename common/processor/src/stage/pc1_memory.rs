//! Memory for PC1's labels, two layers of each sector: how much of it may be had, of which
//! NUMA node and in which files. Decides from what the system shows; takes nothing.

use crate::{memory_files::MemoryFiles, numa, pin::NUMA_ENV, serve::TaskError, sys};
use damocles_types::ByteSize;
use rustix::thread::sched_getaffinity;
use std::{
    collections::BTreeSet,
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Nodes that memory files are looked for on.
const NODES: u32 = 64;
/// A sixteenth of what is free is left to others.
const SPARED: u64 = 16;

/// Where the system shows what there is.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) proc: PathBuf,
    pub(super) cgroups: PathBuf,
    pub(super) nodes: PathBuf,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cgroups: crate::pin::CGROUP_ROOT.into(),
            nodes: numa::ROOT.into(),
        }
    }
}

/// What is to be labelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) sector_bytes: u64,
    pub(super) sectors: usize,
}

/// What may be taken for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Bytes for all labels together; none: nobody knows, so whatever they need.
    pub(super) bytes: Option<u64>,
    /// The node that all of it comes from.
    pub(super) node: Option<u32>,
    /// For a person.
    pub(super) note: Option<String>,
}

/// The node where this process lives: as its parent says, else where all its CPUs are.
pub(super) fn home(shown: &Shown) -> Option<u32> {
    let told = env::var(NUMA_ENV).ok();
    told.and_then(|text| text.trim().parse().ok()).or_else(|| {
        let allowed = sched_getaffinity(None).ok()?;
        let cpus: BTreeSet<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .collect();
        numa::home(&shown.nodes, &cpus)
    })
}

/// The memory files of a process at `home`: those of its node first. Where the parent has
/// named the node (`only`), no others.
pub(super) fn files(
    files: &MemoryFiles,
    home: Option<u32>,
    only: bool,
) -> (Vec<PathBuf>, Vec<String>) {
    let others = (0..NODES).filter(|node| !only && Some(*node) != home);
    let (mut found, mut trouble) = (Vec::new(), Vec::new());
    for node in home.into_iter().chain(others) {
        match files.list(node) {
            Ok(of_node) => found.extend(of_node),
            Err(error) => trouble.push(format!("memory files of node {node}: {error}")),
        }
    }
    if found.is_empty() {
        trouble.push("there are no memory files; labels are in ordinary memory".to_owned());
    }
    (found, trouble)
}

/// What the labels may take. One sector at least must fit; a machine that has no room for it
/// would kill the process after hours instead.
pub(super) fn grant(
    shown: &Shown,
    need: Need,
    home: Option<u32>,
    files: &[PathBuf],
) -> Result<Grant, TaskError> {
    let one = 2 * need.sector_bytes;
    let wanted = one.saturating_mul(need.sectors as u64);
    let in_files = need.sector_bytes * free_of_size(shown, files, need.sector_bytes);
    let spare = |bytes: u64| bytes - bytes / SPARED;
    let Some(available) = available(shown) else {
        return Ok(Grant::default());
    };
    let bytes = spare(available).saturating_add(in_files);
    if bytes < one {
        return Err(TaskError::temporary(format!(
            "the labels of a sector need {} of memory, and {} are free",
            ByteSize(one),
            ByteSize(available)
        ))
        .hint("end what else takes memory on this machine, or let fewer [[sealing_thread]] and [[processors.pc1]] work at once"));
    }
    let of_node = home.and_then(|node| Some((node, numa::available(&shown.nodes, node)?)));
    Ok(match of_node {
        Some((node, free)) if spare(free).saturating_add(in_files) >= wanted => Grant {
            bytes: Some(bytes.min(spare(free).saturating_add(in_files))),
            node: Some(node),
            note: None,
        },
        Some((node, free)) => Grant {
            bytes: Some(bytes),
            node: None,
            note: Some(format!(
                "NUMA node {node} has {} free for {} of labels; some come from other nodes",
                ByteSize(free),
                ByteSize(wanted)
            )),
        },
        None => Grant {
            bytes: Some(bytes),
            ..Grant::default()
        },
    })
}

/// Lets this thread, and those that it starts, take memory from the granted node only. Without
/// that they are slower, not wrong.
pub(super) fn bind(grant: &Grant) -> io::Result<()> {
    match grant.node.map(sys::bind_to_numa_node) {
        // a system that knows no nodes
        Some(Err(error)) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        Some(bound) => bound,
        None => Ok(()),
    }
}

/// How many of the files have this size and are locked by nobody. Only looked at: to try the
/// lock would take the file from somebody who wants it just then.
fn free_of_size(shown: &Shown, files: &[PathBuf], bytes: u64) -> u64 {
    let locks = fs::read_to_string(shown.proc.join("locks")).unwrap_or_default();
    let held: BTreeSet<&str> = locks
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.contains(':') && !word.ends_with(':'))
        })
        .collect();
    let free = |path: &&PathBuf| {
        fs::metadata(path).is_ok_and(|meta| {
            let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            let name = format!("{major:02x}:{minor:02x}:{}", meta.ino());
            meta.len() == bytes && !held.contains(name.as_str())
        })
    };
    files.iter().filter(free).count() as u64
}

/// Bytes that may be had, of the machine and of every cgroup that this process is in.
fn available(shown: &Shown) -> Option<u64> {
    let text = fs::read_to_string(shown.proc.join("meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine: u64 = line.split_whitespace().next()?.parse().ok()?;
    let groups = fs::read_to_string(shown.proc.join("self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| {
        // hierarchy:controllers:path; the second version of cgroups names no controllers
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let names = match controllers {
            "" => V2,
            _ if controllers.split(',').any(|name| name == "memory") => V1,
            _ => return None,
        };
        left_in_group(&shown.cgroups.join(names.mount), path, &names)
    });
    Some(groups.fold(machine * 1024, u64::min))
}

/// The files of a memory cgroup.
struct Names {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    cached: &'static str,
}

const V2: Names = Names {
    mount: "",
    limit: "memory.max",
    used: "memory.current",
    cached: "inactive_file",
};
const V1: Names = Names {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: "total_inactive_file",
};

/// What the group and those around it still allow. Cached files make room when they must.
fn left_in_group(mount: &Path, path: &str, names: &Names) -> Option<u64> {
    let around = Path::new(path).ancestors().map(|path| mount.join(path));
    around
        .filter_map(|dir| {
            let number = |name: &str| -> Option<u64> {
                fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
            };
            let (limit, used) = (number(names.limit)?, number(names.used)?);
            let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
            let cached = stat
                .lines()
                .find_map(|line| line.strip_prefix(names.cached)?.trim().parse::<u64>().ok());
            Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
        })
        .min()
}

#[cfg(test)]
#[path = "pc1_memory_tests.rs"]
mod tests;
