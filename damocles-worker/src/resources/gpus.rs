//! GPUs that processors name, against those that there are, and whether whoever shares one waits
//! for the other.

use super::{
    sums::{Finding, GpuSum},
    words,
};
use crate::{config::Resource, hardware::Hardware};
use damocles_processor::{
    Processors,
    config::{ChildConfig, GPU_ENVS},
};

/// One entry for each GPU that is there or named.
pub(super) fn sums(
    processors: &Processors,
    machine: &Hardware,
    findings: &mut Vec<Finding>,
) -> Vec<GpuSum> {
    let mut users: Vec<(String, &ChildConfig, Vec<u32>)> = Vec::new();
    for (key, stage, child) in processors.children() {
        if stage.is_some() {
            users.push((key, child, seen(child)));
        }
    }
    let there = u32::try_from(machine.gpus.len()).unwrap_or(u32::MAX);
    let named = users.iter().flat_map(|(_, _, gpus)| gpus.iter().copied());
    let last = named.map(|gpu| gpu + 1).max().unwrap_or(0).max(there);
    let mut sums = Vec::new();
    for number in 0..last {
        let on: Vec<_> = users
            .iter()
            .filter(|(_, _, gpus)| gpus.contains(&number))
            .collect();
        let name = usize::try_from(number).ok();
        let name = name.and_then(|n| machine.gpus.get(n)).cloned();
        if name.is_none() && on.is_empty() {
            continue;
        }
        let children: Vec<String> = on.iter().map(|(child, ..)| child.clone()).collect();
        if name.is_none() {
            let message = words::no_gpu(number, &children, machine.gpus.len());
            findings.push(Finding::over(Resource::Gpu, message));
        }
        for (i, (one, a, _)) in on.iter().enumerate() {
            for (other, b, _) in on.iter().skip(i + 1) {
                if !a.locks.iter().any(|lock| b.locks.contains(lock)) {
                    let message = words::shared_gpu(number, one, other);
                    findings.push(Finding::over(Resource::Gpu, message));
                }
            }
        }
        sums.push(GpuSum {
            number,
            name,
            children,
        });
    }
    sums
}

/// By its key, or by a variable that the operator wrote. A variable may name cards by other
/// words than numbers; of those nothing is known.
fn seen(child: &ChildConfig) -> Vec<u32> {
    if !child.gpus.is_empty() {
        return child.gpus.clone();
    }
    let written = GPU_ENVS.iter().find_map(|name| child.envs.get(*name));
    let list = written.map_or("", |value| value.0.as_str()).split(',');
    list.filter_map(|word| word.trim().parse().ok()).collect()
}
