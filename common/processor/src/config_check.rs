//! Checks the image of `[processors]`: all faults at once, each with its key. Starts nothing.

use crate::{
    config::{
        CgroupConfig, ChildConfig, ConfigFault, DEFAULT_CGROUP, DEFAULT_STABLE_WAIT, GPU_ENVS,
        GPU_LOCK, Processors, RawCgroup, RawProcessor, RawProcessors,
    },
    cpus::CpuSet,
    kernel::KernelChoice,
    kind::Stage,
    pin::GroupLimits,
};
use damocles_types::{ByteSize, SectorSize};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

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
            Ok(stage) if !Stage::INTERNAL.contains(&stage) => Some(stage),
            _ => {
                let list = Stage::ALL.map(Stage::name).join(", ");
                self.add(
                    key,
                    format!("{name:?} is not a stage; the stages are {list}"),
                );
                None
            }
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
        for (word, table) in [
            ("longest", &limitation.longest),
            ("silent", &limitation.silent),
        ] {
            for (name, text) in table.iter().flatten() {
                let key = format!("processors.limitation.{word}.{name}");
                let (stage, time) = (faults.stage(&key, name), faults.duration(&key, text));
                if let (Some(stage), Some(time)) = (stage, time) {
                    let stage = out.stages.entry(stage).or_default();
                    let place = match word {
                        "longest" => &mut stage.longest,
                        _ => &mut stage.silent,
                    };
                    *place = Some(time);
                }
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
        let all = out.stages.values().flat_map(|stage| &stage.children);
        let gpus = all.flat_map(|child| child.gpus.iter());
        let gpus = gpus.map(|gpu| format!("{GPU_LOCK}{gpu}"));
        // one task at a time, unless the operator says how many
        for lock in gpus.collect::<Vec<_>>() {
            out.locks.entry(lock).or_insert(NonZeroU32::MIN);
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
        gpus,
        auto_restart,
        inherit_envs,
        longest,
        silent,
        kernel,
        extend: _,
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
    let cgroup = cgroup
        .as_ref()
        .and_then(|group| check_group(key, group, faults));
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

    let gpus = check_gpus(key, gpus.as_deref().unwrap_or_default(), raw, faults);
    for gpu in &gpus {
        let lock = format!("{GPU_LOCK}{gpu}");
        if !held.contains(&lock) {
            held.push(lock);
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
        gpus,
        auto_restart: auto_restart.unwrap_or(true),
        inherit_envs: inherit_envs.unwrap_or(true),
        kernel,
        longest,
        silent,
    }
}

/// None: the child needs no group of its own.
fn check_group(key: &str, raw: &RawCgroup, faults: &mut Faults) -> Option<CgroupConfig> {
    let RawCgroup {
        group_name,
        cpuset,
        memory_max,
        cpu_weight,
    } = raw;
    let mut limits = GroupLimits::default();
    if let Some(text) = cpuset {
        match text.parse::<CpuSet>() {
            Ok(cpuset) => limits.cpuset = Some(cpuset),
            Err(error) => faults.add(&format!("{key}.cgroup.cpuset"), error),
        }
    }
    if let Some(ByteSize(bytes)) = memory_max {
        match bytes {
            0 => faults.add(
                &format!("{key}.cgroup.memory_max"),
                "nothing runs in no memory; leave the key out for no limit",
            ),
            bytes => limits.memory_max = Some(*bytes),
        }
    }
    if let Some(weight) = cpu_weight {
        match u32::try_from(*weight) {
            Ok(weight @ 1..=10_000) => limits.cpu_weight = Some(weight),
            _ => faults.add(
                &format!("{key}.cgroup.cpu_weight"),
                format!("{weight} is not a weight; the kernel takes 1 to 10000"),
            ),
        }
    }
    (limits != GroupLimits::default()).then(|| CgroupConfig {
        group_name: group_name
            .clone()
            .unwrap_or_else(|| DEFAULT_CGROUP.to_owned()),
        limits,
    })
}

/// The numbers go into variables; beside one that the operator writes, one of both would not hold.
fn check_gpus(key: &str, gpus: &[i64], raw: &RawProcessor, faults: &mut Faults) -> Vec<u32> {
    let key = format!("{key}.gpus");
    let written = raw.envs.iter().flatten().map(|(name, _)| name.as_str());
    if let Some(name) = written.into_iter().find(|name| GPU_ENVS.contains(name))
        && !gpus.is_empty()
    {
        faults.add(
            &key,
            format!("`envs` sets {name} as well; leave one of them out"),
        );
    }
    let mut found = Vec::new();
    for gpu in gpus {
        match u32::try_from(*gpu) {
            Ok(number) if !found.contains(&number) => found.push(number),
            Ok(number) => faults.add(&key, format!("{number} is named twice")),
            Err(_) => faults.add(&key, format!("{gpu} is not the number of a GPU")),
        }
    }
    found
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
