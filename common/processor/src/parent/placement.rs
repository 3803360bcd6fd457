//! From a child's config to the environment that it gets: CPUs, NUMA node, and what the
//! operator set. Pure; the child acts on it (`pin`).

use crate::{
    config::{ChildConfig, GPU_ENVS},
    pin::{CGROUP_ENV, CPUSET_ENV, GroupLimits, MEMORY_ENV, NUMA_ENV, WEIGHT_ENV},
    wire::{EVENTS_ENV, PC1_BATCH_ENV},
};
use std::collections::BTreeMap;

/// What a child's environment is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Start from the parent's environment (else from nothing).
    pub inherit: bool,
    pub set: BTreeMap<String, String>,
}

/// The child's own cgroup below the mount point, if it is to have one.
pub fn cgroup_name(
    config: &ChildConfig,
    stage: &str,
    parent_pid: u32,
    index: usize,
) -> Option<String> {
    let group = config.cgroup.as_ref()?;
    Some(format!(
        "{}/sub-{stage}-{parent_pid}-{index}",
        group.group_name.trim_matches('/')
    ))
}

/// The environment of child number `index` of a stage. What the operator wrote wins.
pub fn environment(
    config: &ChildConfig,
    stage: &str,
    parent_pid: u32,
    index: usize,
) -> Environment {
    let mut set = BTreeMap::from([(EVENTS_ENV.to_owned(), "1".to_owned())]);
    if let (Some(group), Some(name)) = (
        &config.cgroup,
        cgroup_name(config, stage, parent_pid, index),
    ) {
        set.insert(CGROUP_ENV.to_owned(), name);
        let GroupLimits {
            cpuset,
            memory_max,
            cpu_weight,
        } = &group.limits;
        let cpus = cpuset.as_ref().map(ToString::to_string);
        let memory = memory_max.map(|bytes| bytes.to_string());
        let weight = cpu_weight.map(|weight| weight.to_string());
        for (name, value) in [
            (CPUSET_ENV, cpus),
            (MEMORY_ENV, memory),
            (WEIGHT_ENV, weight),
        ] {
            set.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    if let Some(node) = config.numa_preferred {
        set.insert(NUMA_ENV.to_owned(), node.to_string());
    }
    if !config.gpus.is_empty() {
        let list: Vec<String> = config.gpus.iter().map(u32::to_string).collect();
        for name in GPU_ENVS {
            set.insert(name.to_owned(), list.join(","));
        }
        // as the system's own tools number them, or the fastest would be number 0
        set.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
    }
    if let Some(concurrent) = config.concurrent.filter(|n| stage == "pc1" && n.get() > 1) {
        set.insert(PC1_BATCH_ENV.to_owned(), concurrent.to_string());
    }
    let envs = config.envs.iter();
    set.extend(envs.map(|(name, value)| (name.clone(), value.0.clone())));
    Environment {
        inherit: config.inherit_envs,
        set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CgroupConfig;
    use std::num::NonZeroU32;

    #[test]
    fn placement_table() {
        let plain = ChildConfig::default();
        let env = environment(&plain, "c2", 7, 0);
        assert!(env.inherit);
        assert_eq!(env.set, BTreeMap::from([(EVENTS_ENV.into(), "1".into())]));
        assert_eq!(cgroup_name(&plain, "c2", 7, 0), None);

        let pinned = ChildConfig {
            cgroup: Some(CgroupConfig {
                group_name: "vc-worker".into(),
                limits: GroupLimits {
                    cpuset: Some("4,5,6,7".parse().unwrap()),
                    memory_max: Some(1 << 30),
                    cpu_weight: None,
                },
            }),
            numa_preferred: Some(1),
            envs: BTreeMap::from([
                ("CUDA_VISIBLE_DEVICES".into(), "0".into()),
                (NUMA_ENV.into(), "0".into()),
            ]),
            inherit_envs: false,
            concurrent: NonZeroU32::new(16),
            ..ChildConfig::default()
        };
        let env = environment(&pinned, "pc1", 7, 2);
        assert!(!env.inherit);
        assert_eq!(env.set[CGROUP_ENV], "vc-worker/sub-pc1-7-2");
        assert_eq!(env.set[CPUSET_ENV], "4-7");
        assert_eq!(env.set[MEMORY_ENV], "1073741824");
        assert!(!env.set.contains_key(WEIGHT_ENV));
        assert_eq!(env.set[NUMA_ENV], "0", "the operator's word wins");
        assert_eq!(env.set["CUDA_VISIBLE_DEVICES"], "0");
        assert_eq!(env.set[PC1_BATCH_ENV], "16");
        let env = environment(&pinned, "pc2", 7, 2);
        assert!(!env.set.contains_key(PC1_BATCH_ENV));

        let on_gpus = ChildConfig {
            gpus: vec![1, 0],
            ..ChildConfig::default()
        };
        let env = environment(&on_gpus, "c2", 7, 0);
        for name in GPU_ENVS {
            assert_eq!(env.set[name], "1,0");
        }
        assert_eq!(env.set["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
    }
}
