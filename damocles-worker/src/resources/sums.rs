//! What a plan comes to: the sums by kind, and what is found to be wrong with them.

use crate::config::{Resource, ThreadPlan};
use damocles_processor::Stage;
use damocles_types::SectorSize;
use std::{collections::BTreeSet, path::PathBuf};

/// A sealing thread as plans count it.
#[derive(Clone, Debug)]
pub struct Thread {
    pub index: usize,
    /// As it is configured.
    pub location: PathBuf,
    /// Without links.
    pub real: PathBuf,
    pub plan: ThreadPlan,
    /// Sizes that it may get.
    pub sizes: Vec<SectorSize>,
    /// Whether sectors may have deals.
    pub deals: bool,
    /// Its directory is not there now: its disk may be missing, and what lies below is another one.
    pub away: bool,
}

/// What a configuration plans for, with what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub disks: Vec<DiskSum>,
    pub cpus: CpuSum,
    pub memory: MemorySum,
    pub gpus: Vec<GpuSum>,
    pub findings: Vec<Finding>,
}

/// One thing that does not fit, or that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    pub message: String,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing starts.
    Fault,
    /// Nothing starts before proof parameters are there.
    Parameters,
    /// Nothing starts, unless the operator allows more than the machine has.
    Over(Resource),
    /// It is said.
    Warning,
}

impl Finding {
    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self {
            weight: Weight::Warning,
            message: message.into(),
        }
    }

    pub(super) fn over(of: Resource, message: impl Into<String>) -> Self {
        Self {
            weight: Weight::Over(of),
            message: message.into(),
        }
    }

    pub(super) fn fault(message: impl Into<String>) -> Self {
        Self {
            weight: Weight::Fault,
            message: message.into(),
        }
    }

    /// Whether nothing starts because of it.
    pub fn refuses(&self, allowed: &BTreeSet<Resource>) -> bool {
        match self.weight {
            Weight::Fault | Weight::Parameters => true,
            Weight::Over(of) => !allowed.contains(&of),
            Weight::Warning => false,
        }
    }
}

/// A file system and the threads on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSum {
    pub mount: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Bytes of it that sealing may take.
    pub room: u64,
    /// Bytes that its threads need together.
    pub need: u64,
    pub threads: Vec<DiskThread>,
}

/// A thread and the largest sector that it may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskThread {
    pub index: usize,
    pub location: PathBuf,
    pub size: SectorSize,
    /// Bytes.
    pub need: u64,
    /// Whether it fits, with those before it in the file.
    pub fits: bool,
}

/// Cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSum {
    pub have: usize,
    /// Of pinned children that may compute at the same time.
    pub pinned: usize,
    /// Children that are pinned, with their CPUs.
    pub children: Vec<(String, String)>,
}

/// Bytes at the worst moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySum {
    /// Without what is set aside as huge pages.
    pub have: u64,
    pub huge_pages: u64,
    pub need: u64,
    pub need_huge: u64,
    /// What it is made of.
    pub stages: Vec<StageSum>,
    /// Children of other programs: nobody knows what they take.
    pub unknown: Vec<String>,
}

/// Tasks of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSum {
    /// `pc1[0]`.
    pub child: String,
    pub stage: Stage,
    pub tasks: u32,
    /// Bytes of all of them.
    pub bytes: u64,
    /// On huge pages.
    pub huge: bool,
}

/// A GPU and who computes on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSum {
    pub number: u32,
    /// None: the machine has no such GPU.
    pub name: Option<String>,
    pub children: Vec<String>,
}
