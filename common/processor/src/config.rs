//! The `[processors]` part of a config: the image of the TOML with upstream's keys (`Raw…`), and
//! the checked form that the code works with. `config_check` makes the one out of the other.

use crate::{cpus::CpuSet, kernel::KernelChoice, kind::Stage, pin::GroupLimits, time_limits};
use damocles_types::{ByteSize, Hidden, SectorSize};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a child may take to its ready line when the config does not say.
pub const DEFAULT_STABLE_WAIT: Duration = Duration::from_secs(5);
/// The lock that every child of a GPU takes, with the number behind it.
pub const GPU_LOCK: &str = "gpu:";
/// Variables by which a program is told which GPUs it may see, and that they are counted as the
/// system lists them: of CUDA, of AMD's HIP and of AMD's OpenCL.
pub const GPU_ENVS: [&str; 3] = [
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
];
/// Parent group of the children's cgroups when the config does not say.
pub const DEFAULT_CGROUP: &str = "vc-worker";

/// `[processors]` as it stands in the file. Every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawProcessors {
    /// Legacy form of `limitation.concurrent`; used only when that is absent.
    pub limit: Option<BTreeMap<String, i64>>,
    pub limitation: Option<RawLimitation>,
    /// Named counting locks.
    pub ext_locks: Option<BTreeMap<String, i64>>,
    /// Ready-made tree-d files of sectors without data, by sector size.
    pub static_tree_d: Option<BTreeMap<String, PathBuf>>,
    pub add_pieces: Option<Vec<RawProcessor>>,
    pub tree_d: Option<Vec<RawProcessor>>,
    pub pc1: Option<Vec<RawProcessor>>,
    pub pc2: Option<Vec<RawProcessor>>,
    pub synth_proof: Option<Vec<RawProcessor>>,
    pub c1: Option<Vec<RawProcessor>>,
    pub c2: Option<Vec<RawProcessor>>,
    pub snap_encode: Option<Vec<RawProcessor>>,
    pub snap_prove: Option<Vec<RawProcessor>>,
    pub unseal: Option<Vec<RawProcessor>>,
    pub transfer: Option<Vec<RawProcessor>>,
    pub window_post: Option<Vec<RawProcessor>>,
    pub winning_post: Option<Vec<RawProcessor>>,
    /// Programs that are only kept running (ready line `EMPTY processor ready`).
    pub sealing_daemons: Option<Vec<RawProcessor>>,
}

/// `[processors.limitation]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawLimitation {
    pub concurrent: Option<BTreeMap<String, i64>>,
    /// Durations such as `"5m"`.
    pub staggered: Option<BTreeMap<String, String>>,
    /// Durations such as `"30h"`; ours, upstream does not have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<BTreeMap<String, String>>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<BTreeMap<String, String>>,
}

/// One `[[processors.<stage>]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawProcessor {
    pub bin: Option<PathBuf>,
    pub args: Option<Vec<String>>,
    /// A duration such as `"5s"`.
    pub stable_wait: Option<String>,
    pub cgroup: Option<RawCgroup>,
    pub envs: Option<BTreeMap<String, Hidden>>,
    pub numa_preferred: Option<i64>,
    pub concurrent: Option<i64>,
    pub locks: Option<Vec<String>>,
    /// GPUs by number; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<i64>>,
    pub auto_restart: Option<bool>,
    pub inherit_envs: Option<bool>,
    /// A duration such as `"3h"`, `"0s"` for no limit; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// Which implementation our own program uses; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Whether the list comes after a profile's; ours, read by whoever lays files over each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<bool>,
    /// Retired by upstream in v0.9; read so that the loader can say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// `[processors.<stage>.cgroup]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawCgroup {
    pub group_name: Option<String>,
    pub cpuset: Option<String>,
    /// Bytes; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<ByteSize>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<i64>,
}

/// The stages' children, limits and locks, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processors {
    pub stages: BTreeMap<Stage, StageConfig>,
    /// Named locks with their number of holders.
    pub locks: BTreeMap<String, NonZeroU32>,
    pub static_tree_d: BTreeMap<SectorSize, PathBuf>,
    pub daemons: Vec<ChildConfig>,
}

impl Processors {
    /// One child of a stage that computes by that kernel.
    pub fn by_kernel(stage: Stage, kernel: KernelChoice) -> Self {
        let child = ChildConfig {
            kernel,
            ..ChildConfig::default()
        };
        let config = StageConfig {
            // none: the default one, which waits for its first task
            children: match kernel {
                KernelChoice::Auto => Vec::new(),
                KernelChoice::FilecoinProofs => vec![child],
            },
            ..StageConfig::default()
        };
        Self {
            stages: BTreeMap::from([(stage, config)]),
            ..Self::default()
        }
    }
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageConfig {
    /// Tasks of the stage at once, over all children; none: no limit but the children's own.
    pub concurrent: Option<NonZeroU32>,
    /// Least time between two starts.
    pub staggered: Option<Duration>,
    /// How long tasks may take, and nothing be heard of them, in children that say nothing else.
    pub longest: Option<Duration>,
    pub silent: Option<Duration>,
    /// Empty: one default child (the daemon's own executable), started on first use.
    pub children: Vec<ChildConfig>,
    /// Variables of every child of the stage; those of the child itself win.
    pub envs: BTreeMap<String, Hidden>,
}

/// One child. Prints without what its variables say, which may be secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildConfig {
    /// None: the daemon's own executable.
    pub bin: Option<PathBuf>,
    /// None: `processor <stage>`.
    pub args: Option<Vec<String>>,
    pub stable_wait: Duration,
    pub cgroup: Option<CgroupConfig>,
    pub envs: BTreeMap<String, Hidden>,
    pub numa_preferred: Option<u32>,
    pub concurrent: Option<NonZeroU32>,
    /// Those of its GPUs among them.
    pub locks: Vec<String>,
    /// GPUs that it sees, by number.
    pub gpus: Vec<u32>,
    pub auto_restart: bool,
    pub inherit_envs: bool,
    /// Handed to our own program as an argument.
    pub kernel: KernelChoice,
    /// How long a task may take; zero: for ever. None: see [`Self::longest`].
    pub longest: Option<Duration>,
    /// How long nothing may be heard of one; zero: for ever. None: see [`Self::silence`].
    pub silent: Option<Duration>,
}

impl ChildConfig {
    /// How long a task may take: what is said here, for its stage, or by default for sectors of
    /// that size.
    pub fn longest(
        &self,
        stage: Stage,
        of_stage: Option<&StageConfig>,
        size: SectorSize,
    ) -> Option<Duration> {
        let said = self.longest.or(of_stage.and_then(|s| s.longest));
        let time = said.or_else(|| time_limits::longest(stage, size));
        time.filter(|time| !time.is_zero())
    }

    /// The same for how long nothing may be heard of one. By default that has a limit only where it
    /// is known that the program tells of its progress: our own, computing with our kernels.
    pub fn silence(
        &self,
        stage: Stage,
        of_stage: Option<&StageConfig>,
        size: SectorSize,
    ) -> Option<Duration> {
        let ours = self.bin.is_none() && self.args.is_none() && self.kernel == KernelChoice::Auto;
        let said = self.silent.or(of_stage.and_then(|s| s.silent));
        let tells = ours && time_limits::tells(stage);
        let time = said.or_else(|| tells.then(|| time_limits::silence(size)));
        time.filter(|time| !time.is_zero())
    }
}

impl Default for ChildConfig {
    fn default() -> Self {
        Self {
            bin: None,
            args: None,
            stable_wait: DEFAULT_STABLE_WAIT,
            cgroup: None,
            envs: BTreeMap::new(),
            numa_preferred: None,
            concurrent: None,
            locks: Vec::new(),
            gpus: Vec::new(),
            auto_restart: true,
            inherit_envs: true,
            kernel: KernelChoice::Auto,
            longest: None,
            silent: None,
        }
    }
}

/// The group of a child: where it lies, and what the child may take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupConfig {
    /// The group to which its own belongs.
    pub group_name: String,
    pub limits: GroupLimits,
}

impl ChildConfig {
    /// The CPUs that it is pinned to.
    pub fn cpuset(&self) -> Option<&CpuSet> {
        self.cgroup.as_ref()?.limits.cpuset.as_ref()
    }

    /// Bytes that its group allows.
    pub fn memory_max(&self) -> Option<u64> {
        self.cgroup.as_ref()?.limits.memory_max
    }
}

/// A fault in the config: the key, from `processors` on, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigFault {
    pub key: String,
    pub message: String,
}

impl Processors {
    /// Every child with its key in the file: those of the stages, then sealing daemons, which have
    /// no stage.
    pub fn children(&self) -> impl Iterator<Item = (String, Option<Stage>, &ChildConfig)> {
        let stages = self.stages.iter().flat_map(|(stage, config)| {
            let children = config.children.iter().enumerate();
            children
                .map(move |(i, child)| (format!("processors.{stage}[{i}]"), Some(*stage), child))
        });
        let daemons = self.daemons.iter().enumerate();
        let key = |i| format!("processors.sealing_daemons[{i}]");
        stages.chain(daemons.map(move |(i, child)| (key(i), None, child)))
    }

    /// Whether a child of this stage may be another program than `own`.
    pub fn is_foreign(&self, stage: Stage, own: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.stages.get(&stage).is_some_and(|config| {
            let mut programs = config.children.iter().filter_map(|c| c.bin.as_deref());
            programs.any(|bin| real(bin) != real(own))
        })
    }
}
