//! Sealing threads as the code works with them: where, for what, and by which settings, with the
//! thread's own file laid on top.

use super::sealing::{Sealing, sealing};
use crate::stores::look;
use damocles_daemon::config::{Faults, Report, parse};
use damocles_flow::PlanName;
use damocles_worker_config::raw::{HOT_RULES, HotSection, SealingSection, ThreadSection};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use strum::IntoEnumIterator as _;

/// What a thread is for, as the file names it: every plan that there is, also those that this
/// version cannot carry out, so that a file made for another one loads.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
)]
#[strum(serialize_all = "lowercase")]
pub enum ThreadPlan {
    #[default]
    Sealer,
    SnapUp,
    Rebuild,
    Unseal,
    WdPost,
    NiPoRep,
}

impl ThreadPlan {
    /// Whether it proves WindowPoSts for the manager, and seals nothing.
    pub fn proves(self) -> bool {
        self == Self::WdPost
    }

    /// The plan that takes its sectors from state to state. None: it has no sectors, or this version
    /// has none, and the thread waits.
    pub fn runs(self) -> Option<PlanName> {
        match self {
            Self::Sealer => Some(PlanName::Sealer),
            Self::SnapUp | Self::Rebuild | Self::Unseal | Self::WdPost | Self::NiPoRep => None,
        }
    }

    /// Why a thread of this plan does nothing.
    pub fn waits(self) -> String {
        format!("the plan \"{self}\" is not in this version of the worker yet")
    }

    /// Whether it works without a directory.
    fn needs_no_location(self) -> bool {
        self.proves()
    }
}

/// A thread of a plan that needs no directory, and has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacelessThread {
    /// Position in the file.
    pub index: usize,
    pub plan: ThreadPlan,
    pub sealing: Sealing,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads {
    /// `[sealing]`, over which each lays its own.
    pub(super) global: Sealing,
    pub(super) placed: Vec<ThreadConfig>,
    pub(super) placeless: Vec<PlacelessThread>,
}

/// One sealing thread as the main file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadConfig {
    /// Position in the file.
    pub index: usize,
    pub location: PathBuf,
    pub settings: ThreadSettings,
    /// The raw values, for merging with the thread's own file.
    raw: Layers,
}

#[derive(Clone, Debug, PartialEq)]
struct Layers {
    global: SealingSection,
    thread: SealingSection,
    plan: Option<String>,
}

/// What may change between two sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSettings {
    pub plan: ThreadPlan,
    pub sealing: Sealing,
}

/// A thread's own file (`<location>/config.toml`), as it was read.
#[derive(Clone, Debug)]
pub struct OwnFile {
    /// What holds with it.
    pub settings: ThreadSettings,
    /// Where its keys stand.
    pub places: Report,
}

pub(super) fn check_threads(
    raw: Option<&[ThreadSection]>,
    global: &SealingSection,
    report: &mut Report,
) -> Threads {
    let Some(raw) = raw else {
        report.fault(
            "sealing_thread",
            "no sealing thread; add a [[sealing_thread]] with location = \"/a/directory/on/a/fast/disk\"",
        );
        return Threads::default();
    };
    let mut threads = Threads {
        global: sealing(&[(global, "sealing")], report),
        ..Threads::default()
    };
    let mut places = BTreeMap::new();
    for (index, thread) in raw.iter().enumerate() {
        let key = format!("sealing_thread[{index}]");
        let ThreadSection {
            location,
            plan,
            extend: _,
            sealing: own,
        } = thread;
        let plan_key = format!("{key}.plan");
        let own_key = format!("{key}.sealing");
        let named = check_plan(plan.as_deref(), &plan_key, report);
        if named.runs().is_none() && !named.proves() {
            report.notice(
                &plan_key,
                format!("means that sealing thread {index} waits: {}", named.waits()),
            );
        }
        let merged = sealing(&[(global, "sealing"), (own, &own_key)], report);
        let seals = named == ThreadPlan::Sealer;
        if seals && merged.disable_cc && !merged.enable_deals {
            let key = match own.disable_cc {
                Some(_) => own_key.as_str(),
                None => "sealing",
            };
            report.notice(
                &format!("{key}.disable_cc"),
                format!(
                    "is set and enable_deals is not, so sealing thread {index} has nothing to seal"
                ),
            );
        }
        let Some(location) = location else {
            if named.needs_no_location() {
                threads.placeless.push(PlacelessThread {
                    index,
                    plan: named,
                    sealing: merged,
                });
                continue;
            }
            report.fault(
                &format!("{key}.location"),
                "is missing: a sealing thread is a directory",
            );
            continue;
        };
        // each place is looked at once
        let first = *places.entry(look::real(location)).or_insert(index);
        if first != index {
            report.fault(
                &format!("{key}.location"),
                format!(
                    "{} is the location of sealing thread {first} already; a directory holds one sector at a time",
                    location.display(),
                ),
            );
            continue;
        }
        threads.placed.push(ThreadConfig {
            index,
            location: location.clone(),
            settings: ThreadSettings {
                plan: named,
                sealing: merged,
            },
            raw: Layers {
                global: global.clone(),
                thread: own.clone(),
                plan: plan.clone(),
            },
        });
    }
    threads
}

fn check_plan(name: Option<&str>, key: &str, report: &mut Report) -> ThreadPlan {
    let Some(name) = name else {
        return ThreadPlan::default();
    };
    name.parse().unwrap_or_else(|_| {
        let all: Vec<String> = ThreadPlan::iter().map(|plan| plan.to_string()).collect();
        let all = all.join(", ");
        report.fault(key, format!("{name:?} is not a plan; the plans are {all}"));
        ThreadPlan::default()
    })
}

impl ThreadConfig {
    /// The settings with the thread's own file (`<location>/config.toml`) laid on top.
    pub fn with_hot_file(&self, path: &Path, text: &str) -> Result<OwnFile, Faults> {
        let (hot, mut report) = parse::<HotSection>(path, text, &HOT_RULES);
        let hot = hot.unwrap_or_default();
        let plan = hot.plan.as_ref().or(self.raw.plan.as_ref());
        let settings = ThreadSettings {
            plan: check_plan(plan.map(String::as_str), "plan", &mut report),
            sealing: sealing(
                &[
                    (&self.raw.global, "sealing"),
                    (&self.raw.thread, "sealing"),
                    (&hot.sealing, "sealing"),
                ],
                &mut report,
            ),
        };
        let places = report.clone();
        report.finish().map(|_| OwnFile { settings, places })
    }
}
