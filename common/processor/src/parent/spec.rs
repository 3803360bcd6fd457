//! How a child is started and kept: what the pool has made of its config.

use crate::{
    config::{ChildConfig, Processors},
    kernel::KernelChoice,
    kind::Stage,
    parent::{
        cancel::Cancel,
        child::Kill,
        dump::Dump,
        limits::{Limits, LimitsBySize},
        placement::{self, Environment},
        slots::ChildSlots,
    },
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the pool needs to know besides the config.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The program that `processor <stage>` is a command of: the daemon's own executable.
    pub program: PathBuf,
    /// What that program is called in lists of processes, when not by its path.
    pub called: Option<PathBuf>,
    /// A default child without work for that long is ended.
    pub idle: Duration,
    /// Called off, it ends the start of children that are not ready yet.
    pub stop: Cancel,
}

impl StartOptions {
    /// The running executable, and one minute. It is started by the kernel's own link to it,
    /// so that a file that was replaced or removed meanwhile does not matter: parent and
    /// child are always of one version.
    pub fn own_executable() -> std::io::Result<Self> {
        const LINK: &str = "/proc/self/exe";
        let path = std::env::current_exe()?;
        Ok(if Path::new(LINK).exists() {
            Self {
                called: Some(path),
                ..Self::of(LINK)
            }
        } else {
            Self::of(path)
        })
    }

    /// Any program that has the command, and one minute.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            called: None,
            idle: Duration::from_secs(60),
            stop: Cancel::new(),
        }
    }
}

/// How a child is started and kept.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Stage name, as in the ready line.
    pub stage: String,
    /// For people: `pc1-0`.
    pub name: String,
    pub program: PathBuf,
    /// Its name in lists of processes and in errors, when not its path.
    pub called: Option<PathBuf>,
    pub args: Vec<OsString>,
    pub environment: Environment,
    pub stable_wait: Duration,
    pub auto_restart: bool,
    /// Started by the first request, ended after this long without work.
    pub on_demand: Option<Duration>,
    /// Its cgroup, removed after its end.
    pub cgroup: Option<String>,
    pub limits: LimitsBySize,
    /// Where its bad answers are kept, over all of its processes.
    pub dump: Dump,
    pub(super) kill: Kill,
}

impl ChildSpec {
    /// A child without place or limits, which is started at once and, when it dies, again.
    pub fn new(stage: &str, name: &str, program: impl Into<PathBuf>, args: &[&str]) -> Self {
        Self {
            stage: stage.to_owned(),
            name: name.to_owned(),
            program: program.into(),
            called: None,
            args: args.iter().map(Into::into).collect(),
            environment: Environment {
                inherit: true,
                ..Environment::default()
            },
            stable_wait: Duration::from_secs(60),
            auto_restart: true,
            on_demand: None,
            cgroup: None,
            limits: LimitsBySize::default(),
            dump: Dump::default(),
            kill: Kill::default(),
        }
    }

    /// A shell that plays a child of PC2.
    #[cfg(test)]
    pub(super) fn shell(script: &str) -> Self {
        Self::new("pc2", "pc2-0", "/bin/sh", &["-c", script])
    }
}

/// The children of a stage as they are to be started and as the scheduler sees them.
pub(super) fn plan(
    stage: Stage,
    config: &Processors,
    locks: &[String],
    options: &StartOptions,
) -> Vec<(ChildSpec, ChildSlots)> {
    let configured = config
        .stages
        .get(&stage)
        .map(|s| s.children.as_slice())
        .unwrap_or_default();
    let fallback = [ChildConfig::default()];
    let (children, on_demand) = match configured {
        [] => (&fallback[..], Some(options.idle)),
        children => (children, None),
    };
    let stage_config = config.stages.get(&stage);
    let of_all = stage_config.map(|s| &s.envs);
    let pid = std::process::id();
    let one = |(index, child): (usize, &ChildConfig)| {
        let name = format!("{stage}-{index}");
        let mut child = child.clone();
        for (name, value) in of_all.into_iter().flatten() {
            let set = child.envs.entry(name.clone());
            set.or_insert_with(|| value.clone());
        }
        let limits = LimitsBySize::of(|size| Limits {
            longest: child.longest(stage, stage_config, size),
            silent: child.silence(stage, stage_config, size),
        });
        let args = child
            .args
            .clone()
            .unwrap_or_else(|| own_args(stage, child.kernel));
        let spec = ChildSpec {
            stage: stage.name().to_owned(),
            name: name.clone(),
            program: child.bin.clone().unwrap_or_else(|| options.program.clone()),
            called: child
                .bin
                .is_none()
                .then(|| options.called.clone())
                .flatten(),
            args: args.into_iter().map(Into::into).collect(),
            environment: placement::environment(&child, stage.name(), pid, index),
            stable_wait: child.stable_wait,
            auto_restart: child.auto_restart,
            on_demand,
            cgroup: placement::cgroup_name(&child, stage.name(), pid, index),
            limits,
            dump: Dump::default(),
            kill: Kill::default(),
        };
        let slots = ChildSlots {
            name,
            capacity: child.concurrent.map(|n| n.get()),
            // an undeclared lock does not get through the config check
            locks: child
                .locks
                .iter()
                .filter_map(|lock| locks.iter().position(|l| l == lock))
                .collect(),
        };
        (spec, slots)
    };
    children.iter().enumerate().map(one).collect()
}

/// The arguments of our own program. The default is left unsaid, so that upstream's program
/// and older ones of ours understand them.
fn own_args(stage: Stage, kernel: KernelChoice) -> Vec<String> {
    let mut args = vec!["processor".to_owned(), stage.name().to_owned()];
    if kernel != KernelChoice::default() {
        args.extend(["--kernel".to_owned(), kernel.name().to_owned()]);
    }
    args
}

/// Upstream gives these the stage name `EMPTY`.
pub(super) fn daemon_spec(daemon: &ChildConfig, index: usize, options: &StartOptions) -> ChildSpec {
    let pid = std::process::id();
    ChildSpec {
        stage: "EMPTY".to_owned(),
        name: format!("sealing_daemon-{index}"),
        program: daemon
            .bin
            .clone()
            .unwrap_or_else(|| options.program.clone()),
        called: None,
        args: daemon
            .args
            .clone()
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        environment: placement::environment(daemon, "sealing_daemon", pid, index),
        stable_wait: daemon.stable_wait,
        auto_restart: daemon.auto_restart,
        on_demand: None,
        cgroup: placement::cgroup_name(daemon, "sealing_daemon", pid, index),
        limits: LimitsBySize::default(),
        dump: Dump::default(),
        kill: Kill::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StageConfig;

    #[test]
    fn the_kernel_goes_along_as_an_argument_and_the_default_unsaid() {
        let options = StartOptions::of("/opt/worker");
        let child = |kernel| ChildConfig {
            kernel,
            ..ChildConfig::default()
        };
        let config = Processors {
            stages: [(
                Stage::Pc2,
                StageConfig {
                    children: vec![
                        child(KernelChoice::Auto),
                        child(KernelChoice::FilecoinProofs),
                    ],
                    ..StageConfig::default()
                },
            )]
            .into(),
            ..Processors::default()
        };
        let args: Vec<_> = plan(Stage::Pc2, &config, &[], &options)
            .into_iter()
            .map(|(spec, _)| spec.args)
            .collect();
        assert_eq!(args[0], ["processor", "pc2"]);
        assert_eq!(args[1], ["processor", "pc2", "--kernel", "filecoin-proofs"]);
    }

    #[test]
    fn what_is_given_to_a_stage_reaches_its_default_child_and_the_operators_word_wins() {
        let options = StartOptions::of("/opt/worker");
        let set = |children: Vec<ChildConfig>| {
            let stage = StageConfig {
                children,
                envs: [("TOKEN".to_owned(), "given".into())].into(),
                ..StageConfig::default()
            };
            let config = Processors {
                stages: [(Stage::AddPieces, stage)].into(),
                ..Processors::default()
            };
            let (spec, _) = plan(Stage::AddPieces, &config, &[], &options).remove(0);
            (spec.environment.set["TOKEN"].clone(), spec.on_demand)
        };
        assert_eq!(set(Vec::new()), ("given".to_owned(), Some(options.idle)));
        let own = ChildConfig {
            envs: [("TOKEN".to_owned(), "own".into())].into(),
            ..ChildConfig::default()
        };
        assert_eq!(set(vec![own]), ("own".to_owned(), None));
    }
}
