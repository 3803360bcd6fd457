//! Puts this process on its CPUs and its NUMA node, as its parent asks by environment
//! (upstream's names, so that foreign children work too). Must be called before the process
//! starts threads. Failing is not fatal: a stage on the wrong cores is slow, not wrong.

pub mod cgroup;

pub use cgroup::GroupLimits;

use crate::{cpus::CpuSet, sys};
use std::{collections::BTreeSet, env, io, path::Path};

/// Name of the child's own cgroup below the mount point.
pub const CGROUP_ENV: &str = "VC_CG_NAME";
/// Its CPUs.
pub const CPUSET_ENV: &str = "VC_CG_CPUSET";
/// Bytes that the group may have, and its weight; ours.
pub const MEMORY_ENV: &str = "DAMOCLES_CG_MEMORY_MAX";
pub const WEIGHT_ENV: &str = "DAMOCLES_CG_CPU_WEIGHT";
/// Preferred NUMA node.
pub const NUMA_ENV: &str = "VENUS_WORKER_NUMA_PREFERRED";
/// Where cgroups are mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Pins this process as the environment says.
pub fn from_env() {
    let cpuset = env::var(CPUSET_ENV).ok().and_then(|text| {
        let parsed = text.parse::<CpuSet>();
        parsed
            .map_err(|error| tracing::warn!("not pinned: {error}"))
            .ok()
    });
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let limits = GroupLimits {
        cpuset,
        memory_max: number(MEMORY_ENV),
        cpu_weight: number(WEIGHT_ENV).and_then(|weight| u32::try_from(weight).ok()),
    };
    if limits != GroupLimits::default() {
        limit_to(&limits, env::var(CGROUP_ENV).ok().as_deref());
    }
    if let Ok(text) = env::var(NUMA_ENV) {
        let done = text
            .trim()
            .parse::<u32>()
            .map_err(|_| io::Error::other(format!("{text:?} is not a NUMA node number")))
            .and_then(sys::prefer_numa_node);
        match done {
            Ok(()) => tracing::info!("memory preferred from NUMA node {text}"),
            Err(error) => tracing::warn!("no preferred NUMA node: {error}"),
        }
    }
}

/// Takes memory of the calling thread, and of those that it starts, from this node only. A
/// system that knows no nodes has the node 0.
pub(crate) fn bind_memory(node: u32) -> io::Result<()> {
    match sys::bind_to_numa_node(node) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && node == 0 => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(io::Error::new(
            error.kind(),
            format!("this machine has no NUMA node {node} with memory"),
        )),
        bound => bound,
    }
}

/// Takes it from this node while that has any, or from wherever the thread runs.
pub(crate) fn prefer_memory(node: Option<u32>) -> io::Result<()> {
    match node {
        Some(node) => sys::prefer_numa_node(node),
        None => sys::follow_numa_node(),
    }
}

/// A cgroup where the system lets us make one, else the affinity mask of the process.
fn limit_to(limits: &GroupLimits, group: Option<&str>) {
    let in_group =
        group.map(|name| cgroup::enter(Path::new(CGROUP_ROOT), name, limits, std::process::id()));
    match in_group {
        Some(Ok(path)) => {
            let cpus = limits.cpuset.as_ref();
            let cpus = cpus.map_or("all CPUs".to_owned(), |cpus| format!("CPUs {cpus}"));
            tracing::info!("pinned to {cpus} by cgroup {}", path.display());
            return;
        }
        Some(Err(error)) if limits.memory_max.is_some() || limits.cpu_weight.is_some() => {
            tracing::warn!("no cgroup of its own, so memory and weight are not limited: {error}");
        }
        Some(Err(error)) => {
            tracing::debug!("no cgroup of its own ({error}); pinned by affinity instead");
        }
        None => {}
    }
    let Some(cpus) = &limits.cpuset else { return };
    match set_affinity(cpus) {
        Ok(()) => tracing::info!("pinned to CPUs {cpus}"),
        Err(error) => tracing::warn!("not pinned to CPUs {cpus}: {error}"),
    }
}

/// The CPUs that the calling thread may run on.
pub fn affinity() -> io::Result<BTreeSet<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let all = 0..rustix::thread::CpuSet::MAX_CPU;
    Ok(all.filter(|cpu| allowed.is_set(*cpu)).collect())
}

/// Lets the calling thread, and every thread that it starts later, run on these CPUs only.
pub fn set_affinity(cpus: &CpuSet) -> io::Result<()> {
    let mut mask = rustix::thread::CpuSet::new();
    for cpu in cpus.cpus() {
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::other(format!(
                "CPU {cpu} is beyond what an affinity mask holds"
            )));
        }
        mask.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &mask).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_and_its_children_inherit_it() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let first = (0..rustix::thread::CpuSet::MAX_CPU)
            .find(|c| allowed.is_set(*c))
            .unwrap();
        std::thread::spawn(move || {
            set_affinity(&first.to_string().parse().unwrap()).unwrap();
            let inherited = std::thread::spawn(|| rustix::thread::sched_getaffinity(None).unwrap())
                .join()
                .unwrap();
            assert_eq!((inherited.count(), inherited.is_set(first)), (1, true));
        })
        .join()
        .unwrap();
        assert!(set_affinity(&"8191".parse().unwrap()).is_err());
    }
}
