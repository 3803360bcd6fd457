//! The `[processors]` part of a config: the image of the TOML with upstream's keys (`Raw…`), and
//! the checked form that the code works with. Checking finds all faults at once, starts nothing.

use crate::{cpus::CpuSet, kernel::KernelChoice, kind::Stage};
use damocles_types::{Hidden, SectorSize};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a child may take to its ready line when the config does not say.
pub const DEFAULT_STABLE_WAIT: Duration = Duration::from_secs(5);
/// The same for a child that tells of its progress to be silent about a task: generous.
pub const DEFAULT_SILENCE: Duration = Duration::from_secs(4 * 3600);
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
    pub auto_restart: Option<bool>,
    pub inherit_envs: Option<bool>,
    /// A duration such as `"3h"`; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<String>,
    /// The same, `"0s"` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// Which implementation our own program uses; ours, upstream does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
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
    pub locks: Vec<String>,
    pub auto_restart: bool,
    pub inherit_envs: bool,
    /// Handed to our own program as an argument.
    pub kernel: KernelChoice,
    /// How long a task may take.
    pub longest: Option<Duration>,
    /// How long nothing may be heard of one; zero: for ever. None: see [`Self::silence`].
    pub silent: Option<Duration>,
}

impl ChildConfig {
    /// How long nothing may be heard of a task. What is not said has a limit only where it is
    /// known that the program tells of its progress: our own, computing with our kernels.
    pub fn silence(&self, stage: Stage) -> Option<Duration> {
        let tells = match stage {
            Stage::AddPieces
            | Stage::TreeD
            | Stage::Pc1
            | Stage::Pc2
            | Stage::SnapEncode
            | Stage::Transfer => {
                self.bin.is_none() && self.args.is_none() && self.kernel == KernelChoice::Auto
            }
            Stage::SynthProof
            | Stage::C1
            | Stage::C2
            | Stage::SnapProve
            | Stage::Unseal
            | Stage::WindowPost
            | Stage::WinningPost
            | Stage::MakeParams => false,
        };
        match self.silent {
            Some(time) => (!time.is_zero()).then_some(time),
            None => tells.then_some(DEFAULT_SILENCE),
        }
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
            auto_restart: true,
            inherit_envs: true,
            kernel: KernelChoice::Auto,
            longest: None,
            silent: None,
        }
    }
}

/// The CPU set of a child and the group to which its own group belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupConfig {
    pub group_name: String,
    pub cpuset: CpuSet,
}

/// A fault in the config: the key, from `processors` on, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigFault {
    pub key: String,
    pub message: String,
}

#[derive(Default)]
struct Faults(Vec<ConfigFault>);

impl Faults {
    fn add(&mut self, key: &str, message: impl ToString) {
        self.0.push(ConfigFault {
            key: key.to_owned(),
            message: message.to_string(),
        });
    }

    /// A count that must be one at least.
    fn count(&mut self, key: &str, value: i64) -> Option<NonZeroU32> {
        let count = u32::try_from(value).ok().and_then(NonZeroU32::new);
        if count.is_none() {
            self.add(
                key,
                format!("{value} is not a number of holders: nothing could ever run; write 1 or more, or leave the key out"),
            );
        }
        count
    }

    fn stage(&mut self, key: &str, name: &str) -> Option<Stage> {
        match name.parse::<Stage>() {
            Ok(Stage::MakeParams) | Err(_) => {
                let list = Stage::ALL.map(Stage::name).join(", ");
                self.add(
                    key,
                    format!("{name:?} is not a stage; the stages are {list}"),
                );
                None
            }
            Ok(stage) => Some(stage),
        }
    }

    fn duration(&mut self, key: &str, text: &str) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(_) => {
                self.add(
                    key,
                    format!(
                        "{text:?} is not a length of time; write for example \"5s\", \"3m\" or \"1h 30m\""
                    ),
                );
                None
            }
        }
    }
}

impl Processors {
    /// Whether a child of this stage may be another program than `own`.
    pub fn is_foreign(&self, stage: Stage, own: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.stages.get(&stage).is_some_and(|config| {
            let mut programs = config.children.iter().filter_map(|c| c.bin.as_deref());
            programs.any(|bin| real(bin) != real(own))
        })
    }
}

impl RawProcessors {
    fn sections(&self) -> [(Stage, &Option<Vec<RawProcessor>>); 13] {
        [
            (Stage::AddPieces, &self.add_pieces),
            (Stage::TreeD, &self.tree_d),
            (Stage::Pc1, &self.pc1),
            (Stage::Pc2, &self.pc2),
            (Stage::SynthProof, &self.synth_proof),
            (Stage::C1, &self.c1),
            (Stage::C2, &self.c2),
            (Stage::SnapEncode, &self.snap_encode),
            (Stage::SnapProve, &self.snap_prove),
            (Stage::Unseal, &self.unseal),
            (Stage::Transfer, &self.transfer),
            (Stage::WindowPost, &self.window_post),
            (Stage::WinningPost, &self.winning_post),
        ]
    }

    /// Checks everything and says everything that is wrong. Reads no file but asks whether
    /// the static tree-d files exist.
    pub fn check(&self) -> Result<Processors, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        let mut out = Processors::default();

        for (name, holders) in self.ext_locks.iter().flatten() {
            let key = format!("processors.ext_locks.{name}");
            if let Some(count) = faults.count(&key, *holders) {
                out.locks.insert(name.clone(), count);
            }
        }

        let limitation = self.limitation.clone().unwrap_or_default();
        let (prefix, concurrent) = match (&limitation.concurrent, &self.limit) {
            (Some(table), _) => ("processors.limitation.concurrent", table.clone()),
            (None, Some(table)) => ("processors.limit", table.clone()),
            (None, None) => ("", BTreeMap::new()),
        };
        for (name, limit) in &concurrent {
            let key = format!("{prefix}.{name}");
            let (stage, count) = (faults.stage(&key, name), faults.count(&key, *limit));
            if let (Some(stage), Some(count)) = (stage, count) {
                out.stages.entry(stage).or_default().concurrent = Some(count);
            }
        }
        for (name, text) in limitation.staggered.iter().flatten() {
            let key = format!("processors.limitation.staggered.{name}");
            let (stage, pause) = (faults.stage(&key, name), faults.duration(&key, text));
            if let (Some(stage), Some(pause)) = (stage, pause) {
                out.stages.entry(stage).or_default().staggered =
                    (!pause.is_zero()).then_some(pause);
            }
        }

        for (name, path) in self.static_tree_d.iter().flatten() {
            let key = format!("processors.static_tree_d.{name}");
            match (name.parse::<SectorSize>(), canonical_file(path)) {
                (Ok(size), Ok(path)) => {
                    out.static_tree_d.insert(size, path);
                }
                (size, path) => {
                    for message in [size.err(), path.err()].into_iter().flatten() {
                        faults.add(&key, message);
                    }
                }
            }
        }

        for (stage, section) in self.sections() {
            let Some(children) = section else { continue };
            let key = format!("processors.{stage}");
            let checked = check_children(&key, children, self, &mut faults);
            out.stages.entry(stage).or_default().children = checked;
        }
        if let Some(daemons) = &self.sealing_daemons {
            let key = "processors.sealing_daemons";
            for (i, daemon) in daemons.iter().enumerate() {
                if daemon.bin.is_none() {
                    faults.add(&format!("{key}[{i}]"), "a sealing daemon needs `bin`: the worker has no program of that kind itself");
                }
            }
            out.daemons = check_children(key, daemons, self, &mut faults);
        }

        if faults.0.is_empty() {
            Ok(out)
        } else {
            Err(faults.0)
        }
    }

    /// Keys that upstream knew once and that mean nothing today; for a warning.
    pub fn retired_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for (stage, section) in self.sections() {
            for (i, child) in section.iter().flatten().enumerate() {
                if child.weight.is_some() {
                    keys.push(format!("processors.{stage}[{i}].weight"));
                }
            }
        }
        if self.limit.is_some()
            && self
                .limitation
                .as_ref()
                .is_some_and(|l| l.concurrent.is_some())
        {
            keys.push("processors.limit".to_owned());
        }
        keys
    }
}

fn canonical_file(path: &Path) -> Result<PathBuf, String> {
    let full = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if full.is_file() {
        Ok(full)
    } else {
        Err(format!("{} is not a file", path.display()))
    }
}

fn check_children(
    key: &str,
    children: &[RawProcessor],
    all: &RawProcessors,
    faults: &mut Faults,
) -> Vec<ChildConfig> {
    if children.is_empty() {
        faults.add(
            key,
            "the list is empty, so nothing could ever run; add an entry or leave the key out",
        );
    }
    children
        .iter()
        .enumerate()
        .map(|(i, raw)| check_child(&format!("{key}[{i}]"), raw, all, faults))
        .collect()
}

fn check_child(
    key: &str,
    raw: &RawProcessor,
    all: &RawProcessors,
    faults: &mut Faults,
) -> ChildConfig {
    let RawProcessor {
        bin,
        args,
        stable_wait,
        cgroup,
        envs,
        numa_preferred,
        concurrent,
        locks,
        auto_restart,
        inherit_envs,
        longest,
        silent,
        kernel,
        weight: _,
    } = raw;

    let stable_wait = stable_wait
        .as_deref()
        .and_then(|text| faults.duration(&format!("{key}.stable_wait"), text))
        .unwrap_or(DEFAULT_STABLE_WAIT);
    let mut time = |name: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        faults.duration(&format!("{key}.{name}"), text)
    };
    let (longest, silent) = (time("longest", longest), time("silent", silent));
    if longest.is_some_and(|time| time.is_zero()) {
        faults.add(
            &format!("{key}.longest"),
            "no task could ever end in no time; leave the key out for no limit",
        );
    }
    let cgroup = cgroup.as_ref().and_then(|group| {
        let cpuset = group.cpuset.as_deref()?;
        match cpuset.parse::<CpuSet>() {
            Ok(cpuset) => Some(CgroupConfig {
                group_name: group
                    .group_name
                    .clone()
                    .unwrap_or_else(|| DEFAULT_CGROUP.to_owned()),
                cpuset,
            }),
            Err(error) => {
                faults.add(&format!("{key}.cgroup.cpuset"), error);
                None
            }
        }
    });
    let numa_preferred = numa_preferred.and_then(|node| {
        let node_ok = u32::try_from(node).ok();
        if node_ok.is_none() {
            faults.add(
                &format!("{key}.numa_preferred"),
                format!("{node} is not a NUMA node number"),
            );
        }
        node_ok
    });
    let concurrent = concurrent.and_then(|n| faults.count(&format!("{key}.concurrent"), n));
    let mut held: Vec<String> = Vec::new();
    for lock in locks.iter().flatten() {
        let lock_key = format!("{key}.locks");
        if !all
            .ext_locks
            .as_ref()
            .is_some_and(|known| known.contains_key(lock))
        {
            let known: Vec<_> = all
                .ext_locks
                .iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            faults.add(
                &lock_key,
                format!("{lock:?} is not declared in processors.ext_locks (declared: {known}), so it would lock nothing"),
            );
        } else if held.contains(lock) {
            faults.add(
                &lock_key,
                format!("{lock:?} is named twice; a task holds a lock once"),
            );
        } else {
            held.push(lock.clone());
        }
    }

    let kernel = kernel
        .as_deref()
        .and_then(|word| check_kernel(key, word, raw, faults))
        .unwrap_or_default();

    ChildConfig {
        bin: bin.clone(),
        args: args.clone(),
        stable_wait,
        cgroup,
        envs: envs.clone().unwrap_or_default(),
        numa_preferred,
        concurrent,
        locks: held,
        auto_restart: auto_restart.unwrap_or(true),
        inherit_envs: inherit_envs.unwrap_or(true),
        kernel,
        longest,
        silent,
    }
}

/// The choice goes into the arguments that we make ourselves; where the operator says what is
/// started, it would silently do nothing.
fn check_kernel(
    key: &str,
    word: &str,
    raw: &RawProcessor,
    faults: &mut Faults,
) -> Option<KernelChoice> {
    let key = format!("{key}.kernel");
    let set = [("bin", raw.bin.is_some()), ("args", raw.args.is_some())];
    if let Some((name, _)) = set.iter().find(|(_, set)| *set) {
        faults.add(
            &key,
            format!("it has no effect beside `{name}`, which says what is started; leave it out, and give our own program the arguments \"--kernel\", \"{word}\""),
        );
    }
    match word.parse() {
        Ok(choice) => Some(choice),
        Err(error) => {
            faults.add(&key, error);
            None
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
