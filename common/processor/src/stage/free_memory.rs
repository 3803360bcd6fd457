//! How much memory a process may still take: of the machine, and of every cgroup that it is in.

use crate::numa;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A sixteenth of what is free is left to others, but not more than this.
const SPARED: u64 = 8 << 30;

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

/// Without what is left to others.
pub(super) fn spare(bytes: u64) -> u64 {
    bytes - (bytes / 16).min(SPARED)
}

/// Bytes that may be had now, of the machine and of every cgroup that this process is in.
pub(super) fn left(shown: &Shown) -> Option<u64> {
    of_machine_and_groups(shown, "MemAvailable:", Group::left)
}

/// Bytes that could be had if nobody used any.
pub(super) fn most(shown: &Shown) -> Option<u64> {
    of_machine_and_groups(shown, "MemTotal:", |group| group.limit)
}

fn of_machine_and_groups(
    shown: &Shown,
    name: &str,
    of_group: impl Fn(&Group) -> u64,
) -> Option<u64> {
    let text = fs::read_to_string(shown.proc.join("meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let machine: u64 = line.split_whitespace().next()?.parse().ok()?;
    let groups = groups(shown);
    Some(groups.iter().map(of_group).fold(machine * 1024, u64::min))
}

/// A cgroup with a limit.
struct Group {
    limit: u64,
    used: u64,
    /// Of that, what makes room when it must: cached files and the like.
    yielding: u64,
}

impl Group {
    fn left(&self) -> u64 {
        let held = self.used.saturating_sub(self.yielding);
        self.limit.saturating_sub(held)
    }
}

/// The groups that this process is in, and those around them.
fn groups(shown: &Shown) -> Vec<Group> {
    let text = fs::read_to_string(shown.proc.join("self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        // hierarchy:controllers:path; the second version of cgroups names no controllers
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let names = match controllers {
            "" => &V2,
            _ if controllers.split(',').any(|name| name == "memory") => &V1,
            _ => continue,
        };
        let mount = shown.cgroups.join(names.mount);
        let around = Path::new(path.trim_start_matches('/')).ancestors();
        found.extend(around.filter_map(|path| group(&mount.join(path), names)));
    }
    found
}

/// The files of a memory cgroup, by its version.
struct Names {
    mount: &'static str,
    limits: &'static [&'static str],
    used: &'static str,
    yielding: &'static [&'static str],
}

const V2: Names = Names {
    mount: "",
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    yielding: &["inactive_file", "active_file", "slab_reclaimable"],
};
const V1: Names = Names {
    mount: "memory",
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    yielding: &["total_inactive_file", "total_active_file"],
};

fn group(dir: &Path, names: &Names) -> Option<Group> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(dir.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let yielding = stat.lines().filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        names
            .yielding
            .contains(&name)
            .then(|| bytes.trim().parse::<u64>().ok())?
    });
    Some(Group {
        limit: names.limits.iter().filter_map(|name| number(name)).min()?,
        used: number(names.used)?,
        yielding: yielding.sum(),
    })
}
