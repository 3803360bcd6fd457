//! Whether a config fits the machine that it is on: the CPUs and NUMA nodes that it names.
//! Apart from the other checks, because those hold anywhere.

use crate::{
    config::{ChildConfig, ConfigFault, Processors},
    cpus::CpuSet,
};
use std::{collections::BTreeSet, fs, io, path::Path};

/// Where Linux shows its devices.
pub const SYS: &str = "/sys";

/// What children can be placed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub cpus: CpuSet,
    /// Empty when the system shows no nodes.
    pub nodes: BTreeSet<u32>,
}

impl Machine {
    /// What `sys` shows (see [`SYS`]).
    ///
    /// # Errors
    /// It shows no CPUs; then nothing can be said about a config.
    pub fn look(sys: &Path) -> io::Result<Self> {
        let online = fs::read_to_string(sys.join("devices/system/cpu/online"))?;
        let cpus = online.trim().parse().map_err(io::Error::other)?;
        let number = |name: &str| name.strip_prefix("node")?.parse().ok();
        let nodes = match fs::read_dir(sys.join("devices/system/node")) {
            Ok(entries) => entries
                .flatten()
                .filter_map(|entry| number(entry.file_name().to_str()?))
                .collect(),
            Err(_) => BTreeSet::new(),
        };
        Ok(Self { cpus, nodes })
    }
}

impl Processors {
    /// Everything that the machine has not.
    pub fn check_machine(&self, machine: &Machine) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        for (key, _, child) in self.children() {
            check_child(&key, child, machine, &mut faults);
        }
        faults
    }
}

fn check_child(key: &str, child: &ChildConfig, machine: &Machine, faults: &mut Vec<ConfigFault>) {
    let mut add = |name: &str, message: String| {
        let key = format!("{key}.{name}");
        faults.push(ConfigFault { key, message });
    };
    if let Some(cpuset) = child.cpuset() {
        let have: BTreeSet<usize> = machine.cpus.cpus().collect();
        if let Some(lacking) = CpuSet::of(cpuset.cpus().filter(|cpu| !have.contains(cpu))) {
            add(
                "cgroup.cpuset",
                format!(
                    "this machine has not the CPUs {lacking}; it has {}",
                    machine.cpus
                ),
            );
        }
    }
    if let Some(node) = child.numa_preferred
        && !machine.nodes.is_empty()
        && !machine.nodes.contains(&node)
    {
        let have: Vec<String> = machine.nodes.iter().map(u32::to_string).collect();
        add(
            "numa_preferred",
            format!(
                "this machine has no NUMA node {node}; it has {}",
                have.join(", ")
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawProcessors;

    #[test]
    fn what_a_machine_has_not_is_a_fault_with_its_key() {
        let sys = tempfile::tempdir().unwrap();
        let devices = sys.path().join("devices/system");
        for dir in ["cpu", "node/node0", "node/node1", "node/power"] {
            fs::create_dir_all(devices.join(dir)).unwrap();
        }
        fs::write(devices.join("cpu/online"), "0-7\n").unwrap();
        let machine = Machine::look(sys.path()).unwrap();
        let faults = |child: serde_json::Value| -> Vec<String> {
            let raw: RawProcessors =
                serde_json::from_value(serde_json::json!({"pc1": [{}, child]})).unwrap();
            let found = raw.check().unwrap().check_machine(&machine);
            found.iter().map(ToString::to_string).collect()
        };
        let none: [&str; 0] = [];
        for good in [
            serde_json::json!({}),
            serde_json::json!({"cgroup": {"cpuset": "0-7"}, "numa_preferred": 1}),
        ] {
            assert_eq!(faults(good), none);
        }
        for (bad, words) in [
            (
                serde_json::json!({"cgroup": {"cpuset": "0-63"}}),
                "processors.pc1[1].cgroup.cpuset: this machine has not the CPUs 8-63; it has 0-7",
            ),
            (
                serde_json::json!({"numa_preferred": 4}),
                "processors.pc1[1].numa_preferred: this machine has no NUMA node 4; it has 0, 1",
            ),
        ] {
            assert_eq!(faults(bad), [words]);
        }
        assert!(Machine::look(&sys.path().join("none")).is_err());
    }

    #[test]
    fn a_system_without_nodes_says_nothing_about_them() {
        let sys = tempfile::tempdir().unwrap();
        fs::create_dir_all(sys.path().join("devices/system/cpu")).unwrap();
        fs::write(sys.path().join("devices/system/cpu/online"), "0").unwrap();
        let machine = Machine::look(sys.path()).unwrap();
        let raw = serde_json::json!({"c2": [{"numa_preferred": 3}]});
        let raw: RawProcessors = serde_json::from_value(raw).unwrap();
        assert_eq!(raw.check().unwrap().check_machine(&machine), []);
    }
}
