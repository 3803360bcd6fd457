//! Whether a machine has what a configuration plans for: disk for every sealing thread, cores
//! for every processor, memory for the stages that may run at once, GPUs.
//!
//! `sums` is what a plan comes to; `needs` is what plans take, `disks`, `cpus`, `memory` and `gpus` hold the sums against the
//! machine and are pure; `missing` looks for what the configuration names on this host; `words`
//! puts all of it into sentences.

mod sums;
mod words;
mod needs;
mod disks;
mod cpus;
mod memory;
mod gpus;
mod missing;

pub use missing::missing;
pub use sums::{
    CpuSum, DiskSum, DiskThread, Finding, GpuSum, MemorySum, Plan, StageSum, Thread, Weight,
};
pub use words::{json, refusal, text};

use crate::{
    config::{Config, Loaded, Resource, ThreadPlan, ThreadSettings},
    hardware::Hardware,
    stores::look,
};
use damocles_processor::Stage;
use damocles_types::SectorSize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

impl Plan {
    /// Holds a configuration against a machine. Pure.
    pub fn of(config: &Config, threads: &[Thread], machine: &Hardware, synthetic: bool) -> Self {
        let mut findings = Vec::new();
        for fault in config.processors.check_machine(&machine.machine()) {
            findings.push(Finding::fault(fault.to_string()));
        }
        for thread in threads.iter().filter(|thread| thread.sizes.is_empty()) {
            findings.push(Finding::warning(format!(
                "sealing thread {} may get sectors of any size, so nothing can be planned for it; name them in allowed_sizes",
                thread.index
            )));
        }
        let static_trees: Vec<SectorSize> =
            config.processors.static_tree_d.keys().copied().collect();
        let disks = disks::sums(threads, machine, synthetic, &static_trees, &mut findings);
        let cpus = cpus::sum(&config.processors, machine, &mut findings);
        let memory = memory::sum(
            &config.processors,
            threads,
            machine,
            synthetic,
            &mut findings,
        );
        let gpus = gpus::sums(&config.processors, machine, &mut findings);
        Self {
            disks,
            cpus,
            memory,
            gpus,
            findings,
        }
    }

    /// What keeps the worker from starting.
    pub fn faults<'a>(
        &'a self,
        allowed: &'a BTreeSet<Resource>,
    ) -> impl Iterator<Item = &'a Finding> {
        let refuses = move |finding: &&Finding| finding.refuses(allowed);
        self.findings.iter().filter(refuses)
    }
}

/// Bytes that a sector of this size needs while it is sealed.
pub fn sector_bytes(size: SectorSize) -> u64 {
    needs::bytes(ThreadPlan::Sealer, size, false, false)
}

/// The plan of a configuration for this host, with what is missing on it.
pub fn here(loaded: &Loaded, machine: &Hardware) -> Plan {
    let threads = threads(loaded, machine, look::real);
    let synthetic = synthetic(&loaded.config);
    let mut plan = Plan::of(&loaded.config, &threads, machine, synthetic);
    let lacking = missing(&loaded.config, &threads, synthetic);
    plan.findings.extend(lacking);
    plan
}

/// The threads of a configuration. `real` follows links; what a thread may get whose sizes are
/// not named, is what the machine has parameters for.
pub fn threads(
    loaded: &Loaded,
    machine: &Hardware,
    real: impl Fn(&Path) -> PathBuf,
) -> Vec<Thread> {
    let of = |thread: &crate::config::ThreadConfig| {
        let ThreadSettings { plan, sealing } = loaded.settings(thread);
        let sizes = match sealing.allowed_sizes.as_slice() {
            [] => machine.parameters.clone().unwrap_or_default(),
            sizes => sizes.to_vec(),
        };
        Thread {
            index: thread.index,
            location: thread.location.clone(),
            real: real(&thread.location),
            plan: *plan,
            sizes,
            deals: sealing.enable_deals,
            away: loaded.is_away(thread),
        }
    };
    loaded.config.threads.iter().map(of).collect()
}

/// Whether synthetic proofs are made: where the configuration says what makes them.
pub fn synthetic(config: &Config) -> bool {
    let stage = config.processors.stages.get(&Stage::SynthProof);
    stage.is_some_and(|stage| !stage.children.is_empty())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod example_tests;
