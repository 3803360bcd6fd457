//! Bytes that sealing threads need, against the file systems that they lie on.

use super::{
    needs,
    sums::{DiskSum, DiskThread, Finding, Thread},
    words,
};
use crate::{config::Resource, hardware::Hardware};
use damocles_types::SectorSize;
use std::collections::BTreeMap;

/// The sums, in the order of the mount points.
pub(super) fn sums(
    threads: &[Thread],
    machine: &Hardware,
    synthetic: bool,
    static_trees: &[SectorSize],
    findings: &mut Vec<Finding>,
) -> Vec<DiskSum> {
    let mut by_device: BTreeMap<&str, DiskSum> = BTreeMap::new();
    for thread in threads.iter().filter(|thread| !thread.away) {
        let need = |size: SectorSize| {
            let linked = !thread.deals && static_trees.contains(&size);
            needs::bytes(thread.plan, size, synthetic, linked)
        };
        let sizes = thread.sizes.iter().copied();
        let Some((need, size)) = sizes.map(|size| (need(size), size)).max() else {
            continue;
        };
        if need == 0 {
            continue;
        }
        let Some(disk) = machine.disk_of(&thread.real) else {
            let location = thread.location.display();
            findings.push(Finding::fault(format!(
                "sealing thread {}: no disk of the machine holds {location}",
                thread.index
            )));
            continue;
        };
        let sum = by_device.entry(&disk.device).or_insert_with(|| DiskSum {
            mount: disk.mount.clone(),
            size: disk.size,
            room: disk.room,
            need: 0,
            threads: Vec::new(),
        });
        sum.need = sum.need.saturating_add(need);
        sum.threads.push(DiskThread {
            index: thread.index,
            location: thread.location.clone(),
            size,
            need,
            fits: sum.need <= sum.room,
        });
    }
    let sums: Vec<DiskSum> = by_device.into_values().collect();
    for sum in sums.iter().filter(|sum| sum.need > sum.room) {
        findings.push(Finding::over(Resource::Disk, words::disk(sum)));
    }
    sums
}
