//! A configuration to begin with, made for a machine from what it has. Pure.

use crate::{hardware::Hardware, resources};
use damocles_processor::{Stage, cpus::CpuSet, footprint};
use damocles_types::{ByteSize, SectorSize};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Below this nobody is pinned: there is nothing to divide.
const FEW_CPUS: usize = 4;
/// Tasks at a time of stages that are short and small.
const FEW: u64 = 2;
/// Parts of memory that are left to the system and to what is not counted.
const SPARED: u64 = 16;

/// A disk and how many sectors it carries.
struct Place<'a> {
    mount: &'a Path,
    threads: u64,
}

/// How many tasks of each stage fit into memory at once.
struct Tasks {
    pc1: u64,
    /// False: not even one C2 fits.
    c2_fits: bool,
}

/// The commented file. `manager`: where it is.
pub fn draft(machine: &Hardware, size: SectorSize, manager: &str) -> String {
    let need = resources::sector_bytes(size);
    let places = places(machine, need);
    let threads: u64 = places.iter().map(|place| place.threads).sum();
    let tasks = tasks(machine, size, threads);
    let mut out = format!(
        "# Made by `damocles-worker config init` for sectors of {size}, for this machine:\n{}\n#\n\
         # Fill in what says CHANGE-ME, then: damocles-worker config check -c FILE\n\
         # All keys: docs/config-worker.md\n\n",
        commented(&crate::hardware::text(machine)),
    );
    // writing to a String cannot fail
    let _ = write!(
        out,
        "[sector_manager]\nrpc_client.addr = {manager:?}\n\
         # The manager's token: damocles-manager util auth create-token --perm write\n\
         #rpc_client.token_file = \"/etc/damocles/manager-token\"\n\n\
         [sealing]\nallowed_sizes = [\"{size}\"]\n\n"
    );
    if !tasks.c2_fits {
        let c2 = ByteSize(footprint::memory(Stage::C2, size).next_multiple_of(1 << 30));
        let _ = write!(
            out,
            "# C2 of {size} holds {c2}, more than this machine has: let another program make it ([[processors.c2]] bin),\n\
             # or give the machine swap space and accept that it is slow.\n\
             [worker]\nallow_oversubscription = [\"memory\"]\n\n"
        );
    }
    sealing_threads(&mut out, &places, need);
    out.push_str(
        "# Where finished sectors go; the manager knows the store by the same name. Mark it with\n\
         #   damocles-worker store file-init -l DIR --name NAME\n\
         [[attached]]\nname = \"CHANGE-ME\"\nlocation = \"/mnt/CHANGE-ME\"\n\n",
    );
    processors(&mut out, machine, &tasks);
    out
}

fn commented(text: &str) -> String {
    let line = |line: &str| format!("#   {line}");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Disks that carry a sector at least; the system's own only where there is no other.
fn places(machine: &Hardware, need: u64) -> Vec<Place<'_>> {
    let mut devices = BTreeSet::new();
    let mut found: Vec<Place<'_>> = Vec::new();
    for disk in &machine.disks {
        let threads = disk.room / need.max(1);
        if threads > 0 && devices.insert(&disk.device) {
            let mount = disk.mount.as_path();
            found.push(Place { mount, threads });
        }
    }
    let system = |place: &Place<'_>| place.mount == Path::new("/");
    if found.iter().any(|place| !system(place)) {
        found.retain(|place| !system(place));
    }
    // small sectors would make thousands, and more than one a core computes no faster
    let most = machine.cpus.count().div_ceil(found.len().max(1)).max(1);
    for place in &mut found {
        place.threads = place.threads.min(most as u64);
    }
    found
}

fn tasks(machine: &Hardware, size: SectorSize, threads: u64) -> Tasks {
    let have = machine.memory.saturating_sub(machine.huge_pages);
    let have = have - have / SPARED;
    let of = |stage| footprint::memory(stage, size);
    let few = (of(Stage::AddPieces) + of(Stage::C1)) * FEW;
    let beside = of(Stage::Pc2) + of(Stage::TreeD) + few;
    let left = have.saturating_sub(beside + of(Stage::C2));
    let c2_fits = have >= beside + of(Stage::C2) && left >= of(Stage::Pc1);
    let for_pc1 = if c2_fits {
        left
    } else {
        have.saturating_sub(beside)
    };
    Tasks {
        pc1: (for_pc1 / of(Stage::Pc1)).clamp(1, threads.max(1)),
        c2_fits,
    }
}

fn sealing_threads(out: &mut String, places: &[Place<'_>], need: u64) {
    let gb = need.div_ceil(1_000_000_000);
    let each = match gb {
        0 | 1 => ByteSize(need).to_string(),
        gb => format!("{gb} GB"),
    };
    if places.is_empty() {
        let _ = write!(
            out,
            "# No disk of this machine has room for a sector ({each}).\n\
             [[sealing_thread]]\nlocation = \"/mnt/CHANGE-ME/sealing-0\"\n\n"
        );
        return;
    }
    let mut number = 0;
    for place in places {
        let mount = place.mount.display();
        let _ = writeln!(
            out,
            "# {mount} carries {} sectors of {each} at a time. Make their directories with\n#   damocles-worker store sealing-init -l DIR",
            place.threads
        );
        for _ in 0..place.threads {
            let location: PathBuf = place.mount.join(format!("sealing-{number}"));
            let _ = writeln!(
                out,
                "[[sealing_thread]]\nlocation = {:?}",
                location.display().to_string()
            );
            number += 1;
        }
        out.push('\n');
    }
}

/// PC1 on three quarters of each node's cores, its caches kept whole; the proofs on the rest.
fn processors(out: &mut String, machine: &Hardware, tasks: &Tasks) {
    let _ = write!(
        out,
        "[processors.limitation.concurrent]\n\
         add_pieces = {FEW}\ntree_d = 1\npc1 = {}\npc2 = 1\nc1 = {FEW}\nc2 = 1\n\n",
        tasks.pc1
    );
    let nodes: Vec<(Option<u32>, &CpuSet)> = match machine.nodes.as_slice() {
        [] | [_] => vec![(None, &machine.cpus)],
        nodes => nodes
            .iter()
            .filter_map(|node| Some((Some(node.number), node.cpus.as_ref()?)))
            .collect(),
    };
    let divided: Vec<(Option<u32>, (CpuSet, CpuSet))> = nodes
        .iter()
        .filter_map(|(node, cpus)| Some((*node, divide(cpus, &machine.caches)?)))
        .collect();
    if machine.cpus.count() < FEW_CPUS || divided.len() != nodes.len() {
        out.push_str("# Too few CPUs to divide them: nothing is pinned.\n");
        gpus(out, machine, "");
        return;
    }
    let share = tasks.pc1.div_ceil(divided.len() as u64);
    for (node, (labels, _)) in &divided {
        let _ = writeln!(
            out,
            "[[processors.pc1]]\ncgroup.cpuset = \"{labels}\"\nconcurrent = {share}"
        );
        if let Some(node) = node {
            let _ = writeln!(out, "numa_preferred = {node}");
        }
        out.push('\n');
    }
    let rest = divided.iter().flat_map(|(_, (_, rest))| rest.cpus());
    let Some(rest) = CpuSet::of(rest) else { return };
    out.push_str(
        "# PC2 and C2 take turns on the other cores.\n[processors.ext_locks]\nproofs = 1\n\n",
    );
    let pinned = format!("cgroup.cpuset = \"{rest}\"\nlocks = [\"proofs\"]\n");
    gpus(out, machine, &pinned);
}

fn gpus(out: &mut String, machine: &Hardware, pinned: &str) {
    let list: Vec<String> = (0..machine.gpus.len()).map(|n| n.to_string()).collect();
    for stage in ["pc2", "c2"] {
        let _ = write!(out, "[[processors.{stage}]]\n{pinned}");
        if !list.is_empty() {
            let _ = writeln!(
                out,
                "# For a program that computes on GPUs ({}):\n#gpus = [{}]",
                machine.gpus.join(", "),
                list.join(", ")
            );
        }
        out.push('\n');
    }
}

/// Three quarters of some CPUs and the rest, both at least one; caches stay whole where they can.
fn divide(cpus: &CpuSet, caches: &[CpuSet]) -> Option<(CpuSet, CpuSet)> {
    let here: BTreeSet<usize> = cpus.cpus().collect();
    let groups: Vec<Vec<usize>> = caches
        .iter()
        .map(|cache| cache.cpus().filter(|cpu| here.contains(cpu)).collect())
        .filter(|group: &Vec<usize>| !group.is_empty())
        .collect();
    let groups = match groups.len() {
        0 | 1 => here.iter().map(|cpu| vec![*cpu]).collect(),
        _ => groups,
    };
    let first = (groups.len() * 3 / 4).max(1);
    let (labels, rest) = groups.split_at(first.min(groups.len()));
    let set = |groups: &[Vec<usize>]| CpuSet::of(groups.iter().flatten().copied());
    Some((set(labels)?, set(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_by_whole_caches() {
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        let parts = |cpus: &str, caches: &[&str]| {
            let caches: Vec<CpuSet> = caches.iter().map(|c| set(c)).collect();
            divide(&set(cpus), &caches).map(|(a, b)| (a.to_string(), b.to_string()))
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parts("0-7", &[]), pair("0-5", "6-7"));
        assert_eq!(
            parts("0-15", &["0-3", "4-7", "8-11", "12-15"]),
            pair("0-11", "12-15")
        );
        // caches of another node do not count, and one cache is none to keep whole
        assert_eq!(parts("0-7", &["0-7", "8-15"]), pair("0-5", "6-7"));
        assert_eq!(parts("0-1", &[]), pair("0", "1"));
        assert_eq!(parts("0", &[]), None);
    }
}
