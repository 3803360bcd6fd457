//! Cores that processors are pinned to, against those that there are.

use super::{
    sums::{CpuSum, Finding},
    words,
};
use crate::{config::Resource, hardware::Hardware};
use damocles_processor::{Processors, config::ChildConfig, cpus::CpuSet};
use std::collections::{BTreeMap, BTreeSet};

/// A pinned child.
struct Pinned<'a> {
    name: String,
    child: &'a ChildConfig,
    cpus: &'a CpuSet,
}

/// The sum. Children that share a lock for one count once, as the largest of them.
pub(super) fn sum(
    processors: &Processors,
    machine: &Hardware,
    findings: &mut Vec<Finding>,
) -> CpuSum {
    let all: Vec<Pinned<'_>> = pinned(processors).collect();
    let exclusive = |child: &ChildConfig| -> Vec<String> {
        let one = |lock: &&String| processors.locks.get(*lock).is_some_and(|n| n.get() == 1);
        child.locks.iter().filter(one).cloned().collect()
    };
    let mut under_lock: BTreeMap<String, usize> = BTreeMap::new();
    let mut pinned = 0;
    for one in &all {
        match exclusive(one.child).into_iter().next() {
            Some(lock) => {
                let most = under_lock.entry(lock).or_default();
                *most = (*most).max(one.cpus.count());
            }
            None => pinned += one.cpus.count(),
        }
    }
    pinned += under_lock.values().sum::<usize>();
    for (i, one) in all.iter().enumerate() {
        for other in all.iter().skip(i + 1) {
            let locks = exclusive(other.child);
            let never_both = exclusive(one.child).iter().any(|lock| locks.contains(lock));
            let there: BTreeSet<usize> = other.cpus.cpus().collect();
            let common = CpuSet::of(one.cpus.cpus().filter(|cpu| there.contains(cpu)));
            if let Some(common) = common.filter(|_| !never_both) {
                findings.push(Finding::warning(words::overlap(
                    &one.name,
                    &other.name,
                    &common,
                )));
            }
        }
    }
    let sum = CpuSum {
        have: machine.cpus.count(),
        pinned,
        children: all
            .iter()
            .map(|one| (one.name.clone(), one.cpus.to_string()))
            .collect(),
    };
    if sum.pinned > sum.have {
        findings.push(Finding::over(Resource::Cpu, words::cpus(&sum)));
    }
    for one in &all {
        findings.extend(far_node(one, machine));
    }
    sum
}

fn pinned(processors: &Processors) -> impl Iterator<Item = Pinned<'_>> {
    processors.children().filter_map(|(name, _, child)| {
        let cpus = child.cpuset()?;
        Some(Pinned { name, child, cpus })
    })
}

/// Memory of one node and CPUs of another: every access goes from one to the other.
fn far_node(one: &Pinned<'_>, machine: &Hardware) -> Option<Finding> {
    let number = one.child.numa_preferred?;
    let node = machine.nodes.iter().find(|node| node.number == number)?;
    let of_node: BTreeSet<usize> = node.cpus.as_ref()?.cpus().collect();
    let away = CpuSet::of(one.cpus.cpus().filter(|cpu| !of_node.contains(cpu)))?;
    Some(Finding::warning(format!(
        "{}: its CPUs {away} are not of the NUMA node {number}, whose memory it prefers",
        one.name
    )))
}
