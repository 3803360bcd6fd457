//! NUMA nodes as Linux shows them under /sys/devices/system/node: which one a process lives
//! on, and what memory it has left. Only looks; `pin` and `sys` act.

use crate::cpus::CpuSet;
use std::{collections::BTreeSet, fs, path::Path};

/// Where the nodes are shown.
pub const ROOT: &str = "/sys/devices/system/node";

/// The node that all these CPUs belong to; none when they are of several, or when the system
/// shows no nodes.
pub fn home(root: &Path, cpus: &BTreeSet<usize>) -> Option<u32> {
    let nodes = fs::read_dir(root).ok()?;
    nodes.flatten().find_map(|entry| {
        let node = entry.file_name().to_str()?.strip_prefix("node")?.parse();
        let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        let of_node: CpuSet = list.trim().parse().ok()?;
        let of_node: BTreeSet<usize> = of_node.cpus().collect();
        (!cpus.is_empty() && cpus.is_subset(&of_node))
            .then(|| node.ok())
            .flatten()
    })
}

/// Bytes of a node's memory that nobody uses, or only as a cache of files.
pub fn available(root: &Path, node: u32) -> Option<u64> {
    let text = fs::read_to_string(root.join(format!("node{node}/meminfo"))).ok()?;
    let kib = |name: &str| -> Option<u64> {
        // Node 0 MemFree:   123 kB
        let line = text.lines().find(|line| line.contains(name))?;
        line.split_whitespace().rev().nth(1)?.parse().ok()
    };
    let cached = kib(" Active(file):").unwrap_or(0) + kib(" Inactive(file):").unwrap_or(0);
    Some((kib(" MemFree:")? + cached) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_at_home_where_all_its_cpus_are() {
        let dir = tempfile::tempdir().unwrap();
        for (node, cpus) in [(0, "0-3\n"), (1, "4-7,12\n"), (2, "\n")] {
            let node = dir.path().join(format!("node{node}"));
            fs::create_dir(&node).unwrap();
            fs::write(node.join("cpulist"), cpus).unwrap();
        }
        fs::write(dir.path().join("possible"), "0-2").unwrap();
        let home = |cpus: &[usize]| home(dir.path(), &cpus.iter().copied().collect());
        assert_eq!(home(&[1, 3]), Some(0));
        assert_eq!(home(&[5, 12]), Some(1));
        assert_eq!(home(&[3, 4]), None);
        assert_eq!(home(&[]), None);
        assert_eq!(super::home(&dir.path().join("none"), &[0].into()), None);
    }

    #[test]
    fn what_a_node_has_left() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("node1")).unwrap();
        fs::write(
            dir.path().join("node1/meminfo"),
            "Node 1 MemTotal:       1000 kB\nNode 1 MemFree:         100 kB\n\
             Node 1 Active(file):     20 kB\nNode 1 Inactive(file):    3 kB\n",
        )
        .unwrap();
        assert_eq!(available(dir.path(), 1), Some(123 * 1024));
        assert_eq!(available(dir.path(), 0), None);
    }
}
