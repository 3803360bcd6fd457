//! Memory of the stages that may run at once, against what there is.

use super::{
    needs,
    sums::{Finding, MemorySum, StageSum, Thread},
    words,
};
use crate::{config::Resource, hardware::Hardware};
use damocles_processor::{Processors, Stage, config::ChildConfig, footprint};
use damocles_types::{ByteSize, SectorSize};
use std::collections::BTreeMap;

/// Variables of our own program that say how much it may take.
const PC2_MEMORY: &str = "DAMOCLES_PC2_MEMORY";
const PROOF_MEMORY: &str = "DAMOCLES_PROOF_MEMORY";
/// Sectors that our own prover takes.
const LARGEST_OF_OURS: SectorSize = SectorSize::MiB512;
/// Where PC1's memory files lie; they are made on huge pages.
const HUGE_PAGES: [&str; 2] = ["HUGEPAGE_FILES_PATH", "HUGEPAGE_FILES_PATH_PATTERN"];

/// What a child may have at work at once.
struct Worker<'a> {
    name: String,
    stage: Stage,
    child: &'a ChildConfig,
    /// Bytes of one task.
    task: u64,
    /// Bytes of all its tasks, where something holds it there.
    ceiling: Option<u64>,
    huge: bool,
}

/// The worst moment: of every thread one task, the largest first, as limits and locks allow.
pub(super) fn sum(
    processors: &Processors,
    threads: &[Thread],
    machine: &Hardware,
    synthetic: bool,
    findings: &mut Vec<Finding>,
) -> MemorySum {
    let fallback = ChildConfig::default();
    let mut workers = Vec::new();
    let mut unknown = Vec::new();
    let users = users(threads, synthetic);
    for (&stage, &(_, size)) in &users {
        let config = processors.stages.get(&stage);
        let configured = config.map_or(&[][..], |config| &config.children);
        let children = match configured {
            [] => std::slice::from_ref(&fallback),
            children => children,
        };
        for (i, child) in children.iter().enumerate() {
            let name = format!("{stage}[{i}]");
            match (&child.bin, child.memory_max()) {
                (None, _) => workers.push(worker(name, stage, child, size)),
                // what another program takes is known only where the kernel holds it there
                (Some(_), Some(most)) => workers.push(Worker {
                    name,
                    stage,
                    child,
                    task: most,
                    ceiling: Some(most),
                    huge: false,
                }),
                (Some(_), None) => unknown.push(name),
            }
        }
    }
    // of two that are as large, the one with fewer locks leaves more to the others
    workers.sort_by_key(|w| (std::cmp::Reverse(w.task), w.child.locks.len()));
    let mut free = u32::try_from(threads.len()).unwrap_or(u32::MAX);
    let mut of_stage: BTreeMap<Stage, u32> = users.iter().map(|(s, (n, _))| (*s, *n)).collect();
    for (stage, left) in &mut of_stage {
        let limit = processors.stages.get(stage).and_then(|s| s.concurrent);
        *left = limit.map_or(*left, |limit| limit.get().min(*left));
    }
    let mut locks: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, holders) in &processors.locks {
        locks.insert(name, holders.get());
    }
    let mut sum = MemorySum {
        have: machine.memory.saturating_sub(machine.huge_pages),
        huge_pages: machine.huge_pages,
        unknown,
        ..MemorySum::default()
    };
    for worker in workers {
        let own = worker.child.concurrent.map_or(u32::MAX, |n| n.get());
        let held = worker.child.locks.iter();
        let held = held.filter_map(|lock| locks.get(lock.as_str()).copied());
        let stage = of_stage.get(&worker.stage).copied().unwrap_or(0);
        let tasks = held.chain([own, stage, free]).min().unwrap_or(0);
        if tasks == 0 {
            continue;
        }
        free -= tasks;
        if let Some(left) = of_stage.get_mut(&worker.stage) {
            *left -= tasks;
        }
        for lock in &worker.child.locks {
            if let Some(left) = locks.get_mut(lock.as_str()) {
                *left -= tasks;
            }
        }
        let all = worker.task.saturating_mul(u64::from(tasks));
        let bytes = worker.ceiling.map_or(all, |ceiling| ceiling.min(all));
        match worker.huge {
            true => sum.need_huge += bytes,
            false => sum.need += bytes,
        }
        sum.stages.push(StageSum {
            child: worker.name,
            stage: worker.stage,
            tasks,
            bytes,
            huge: worker.huge,
        });
    }
    if sum.need > sum.have {
        findings.push(Finding::over(Resource::Memory, words::memory(&sum)));
    }
    if sum.need_huge > sum.huge_pages {
        findings.push(Finding::over(Resource::Memory, words::huge_pages(&sum)));
    }
    sum
}

/// Of each stage, how many threads may want it, and for how large a sector.
fn users(threads: &[Thread], synthetic: bool) -> BTreeMap<Stage, (u32, SectorSize)> {
    let mut users: BTreeMap<Stage, (u32, SectorSize)> = BTreeMap::new();
    for thread in threads {
        let Some(size) = thread.sizes.iter().copied().max() else {
            continue;
        };
        for stage in needs::stages(thread.plan, synthetic) {
            let (count, largest) = users.entry(stage).or_insert((0, size));
            (*count, *largest) = (*count + 1, (*largest).max(size));
        }
    }
    users
}

fn worker(name: String, stage: Stage, child: &ChildConfig, size: SectorSize) -> Worker<'_> {
    let set = |name: &str| {
        let value = child.envs.get(name)?;
        value.0.parse::<ByteSize>().ok().map(|bytes| bytes.0)
    };
    let task = footprint::memory(stage, size);
    let (task, ceiling) = match stage {
        Stage::Pc2 => (set(PC2_MEMORY).unwrap_or(task), None),
        Stage::C2 | Stage::SnapProve | Stage::WindowPost | Stage::WinningPost => {
            // the library, which proves larger ones, knows no ceiling
            let ours = size <= LARGEST_OF_OURS;
            (task, set(PROOF_MEMORY).filter(|_| ours))
        }
        _ => (task, None),
    };
    let ceiling = match (ceiling, child.memory_max()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let huge = stage == Stage::Pc1 && HUGE_PAGES.iter().any(|name| child.envs.contains_key(*name));
    Worker {
        name,
        stage,
        child,
        task,
        ceiling,
        huge,
    }
}
