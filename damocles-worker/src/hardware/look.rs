//! What this host shows of itself. Only looks, and waits for no disk that hangs.

use super::{Disk, Hardware, Node};
use crate::stores::look;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{Machine, Stage, cpus::CpuSet, params, pin::cgroup};
use damocles_types::SectorSize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// Deeper than any sealing store is.
const DEEPEST: usize = 8;

/// Where Linux shows what there is.
#[derive(Clone, Debug)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

impl Hardware {
    /// What this host has, for a command that needs to know; `stores` as in [`Self::look`], `hint`:
    /// what to do where it does not show itself.
    ///
    /// # Errors
    /// [`Exit::NotFound`] when it shows no CPUs or no memory.
    pub fn here(stores: Option<&[PathBuf]>, hint: &str) -> Result<Self, Fatal> {
        Self::look(&Roots::default(), stores).map_err(|e| {
            let what = format!("this system does not show its hardware: {e}");
            Fatal::new(Exit::NotFound, what).hint(hint)
        })
    }

    /// What the host has. `stores`: directories of sealing threads; what lies in them counts as
    /// room, since it is sealing's own, and no other disks are looked at. None: all disks.
    ///
    /// # Errors
    /// The system shows no CPUs or no memory; then nothing can be said about a plan.
    pub fn look(roots: &Roots, stores: Option<&[PathBuf]>) -> io::Result<Self> {
        let cpus = Machine::look(&roots.sys)?.cpus;
        let memory = fs::read_to_string(roots.proc.join("meminfo"))?;
        let total = kib(&memory, "MemTotal:").ok_or_else(|| io::Error::other("no MemTotal"))?;
        let all = stores.is_none();
        let stores = stores.into_iter().flatten();
        let stores: Vec<PathBuf> = stores.map(|store| look::real(store)).collect();
        Ok(Self {
            caches: caches(&roots.sys, &cpus),
            nodes: nodes(&roots.sys),
            memory: allowed(roots).map_or(total, |limit| limit.min(total)),
            huge_pages: kib(&memory, "Hugetlb:").unwrap_or(0).min(total),
            disks: disks(roots, &stores, all),
            gpus: gpus(roots),
            parameters: Some(parameters()),
            cpus,
        })
    }
}

/// Bytes of a line of meminfo.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// The least limit of the cgroups that this process is in (second version).
fn allowed(roots: &Roots) -> Option<u64> {
    let own = cgroup::own(&roots.proc)?;
    let root = roots.sys.join("fs/cgroup");
    let group = root.join(own.strip_prefix('/')?);
    let groups = group.ancestors().take_while(|dir| dir.starts_with(&root));
    let limits = groups.filter_map(|dir| {
        let limit = fs::read_to_string(dir.join("memory.max")).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    limits.min()
}

fn caches(sys: &Path, cpus: &CpuSet) -> Vec<CpuSet> {
    let mut found: Vec<CpuSet> = Vec::new();
    for cpu in cpus.cpus() {
        let file = format!("devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_list");
        let shared = fs::read_to_string(sys.join(file)).ok();
        let shared = shared.and_then(|text| text.trim().parse::<CpuSet>().ok());
        found.extend(shared.filter(|set| !found.contains(set)));
    }
    found
}

fn nodes(sys: &Path) -> Vec<Node> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(sys.join("devices/system/node"));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        let Some(number) = number.and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // Node 0 MemTotal:  1000 kB
        let memory = read("meminfo");
        let total = memory.lines().find_map(|line| {
            let (_, rest) = line.split_once("MemTotal:")?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        });
        let node = Node {
            number,
            cpus: read("cpulist").trim().parse().ok(),
            memory: total.unwrap_or(0) * 1024,
        };
        found.insert(number, node);
    }
    found.into_values().collect()
}

/// NVIDIA's as their driver counts them, else AMD's as the kernel does.
fn gpus(roots: &Roots) -> Vec<String> {
    let mut cards = BTreeMap::new();
    let entries = fs::read_dir(roots.proc.join("driver/nvidia/gpus"));
    for entry in entries.into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("information")).unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
        let model = model.map_or("NVIDIA GPU", str::trim).to_owned();
        cards.insert(entry.file_name(), model);
    }
    if !cards.is_empty() {
        return cards.into_values().collect();
    }
    // in a container the driver may show its devices only
    let entries = fs::read_dir(&roots.dev).into_iter().flatten().flatten();
    let devices = entries.filter(|entry| {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("nvidia"));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    let devices = devices.count();
    if devices > 0 {
        return vec!["NVIDIA GPU".to_owned(); devices];
    }
    let mut cards = BTreeMap::new();
    let entries = fs::read_dir(roots.sys.join("class/kfd/kfd/topology/nodes"));
    for entry in entries.into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("properties")).unwrap_or_default();
        let units = text
            .lines()
            .find_map(|line| line.strip_prefix("simd_count "));
        let number = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok());
        if let (Some(number), Some(1..)) = (number, units.and_then(|n| n.parse::<u32>().ok())) {
            cards.insert(number, "AMD GPU".to_owned());
        }
    }
    cards.into_values().collect()
}

/// Sizes whose PoRep parameters lie where this process's proofs library looks.
fn parameters() -> Vec<SectorSize> {
    let here = |size: &SectorSize| params::require(Stage::C2, *size).is_ok();
    SectorSize::ALL.into_iter().filter(here).collect()
}

/// A line of mountinfo.
struct Mount {
    point: PathBuf,
    /// Major and minor number.
    device: String,
    /// Whether it is a file system of its own and nothing that the kernel shows.
    real: bool,
}

/// The file systems of this host that hold a store; of `all` those that lie on devices or servers, too.
fn disks(roots: &Roots, stores: &[PathBuf], all: bool) -> Vec<Disk> {
    let text = fs::read_to_string(roots.proc.join("self/mountinfo")).unwrap_or_default();
    let mounts: Vec<Mount> = text.lines().filter_map(mount).collect();
    let above = |store: &PathBuf| {
        let above = mounts.iter().filter(|m| store.starts_with(&m.point));
        // of two at one point, the later one hides the earlier one
        let found = above.max_by_key(|m| m.point.components().count());
        found.map(|m| (m.point.clone(), store.clone()))
    };
    let mut held: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for (point, store) in stores.iter().filter_map(above) {
        held.entry(point).or_default().push(store);
    }
    let wanted = mounts
        .iter()
        .filter(|m| all && m.real || held.contains_key(&m.point));
    let mut seen = BTreeSet::new();
    let mut found: Vec<Disk> = Vec::new();
    for m in wanted {
        let Ok(Ok(space)) = look::within(look::LIMIT, &m.point, {
            let point = m.point.clone();
            move || rustix::fs::statvfs(&point)
        }) else {
            continue;
        };
        let stores = held.get(&m.point).cloned().unwrap_or_default();
        // a file system that is shown at several places is told of once, unless stores lie there
        if !seen.insert(m.device.clone()) && stores.is_empty() || space.f_blocks == 0 {
            continue;
        }
        let own = look::within(look::LIMIT, &m.point.join("."), move || {
            stores
                .iter()
                .map(|store| held_in(store, DEEPEST))
                .sum::<u64>()
        });
        found.retain(|disk| disk.mount != m.point);
        found.push(Disk {
            mount: m.point.clone(),
            device: m.device.clone(),
            size: space.f_blocks * space.f_frsize,
            room: space.f_bavail * space.f_frsize + own.unwrap_or(0),
        });
    }
    found
}

/// `36 27 259:1 / /mnt/a rw,relatime shared:1 - ext4 /dev/nvme0n1 rw`, with blanks as `\040`.
fn mount(line: &str) -> Option<Mount> {
    let (place, source) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let device = place.next()?.to_owned();
    let point = unescaped(place.nth(1)?);
    let mut source = source.split(' ');
    let kind = source.next()?;
    let from = source.next()?;
    let shared = [
        "zfs",
        "btrfs",
        "nfs",
        "nfs4",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
    ];
    Some(Mount {
        point,
        device,
        real: from.starts_with("/dev/") && kind != "squashfs" || shared.contains(&kind),
    })
}

fn unescaped(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let number = digits.and_then(|d| std::str::from_utf8(d).ok());
        match number.and_then(|n| u8::from_str_radix(n, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                at += 4;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Bytes that lie in a directory and below it. Links are not followed.
fn held_in(dir: &Path, deepest: usize) -> u64 {
    let Some(below) = deepest.checked_sub(1) else {
        return 0;
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => held_in(&entry.path(), below),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with two sockets and a card, as its files show it.
    fn host(dir: &Path) -> Roots {
        let roots = Roots {
            sys: dir.join("sys"),
            proc: dir.join("proc"),
            dev: dir.join("dev"),
        };
        let put = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let system = roots.sys.join("devices/system");
        put(system.join("cpu/online"), "0-3\n");
        for (cpu, shared) in [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")] {
            let file = format!("cpu/cpu{cpu}/cache/index3/shared_cpu_list");
            put(system.join(file), shared);
        }
        for (node, cpus) in [(0, "0-1"), (1, "2-3")] {
            let at = system.join(format!("node/node{node}"));
            put(at.join("cpulist"), cpus);
            put(
                at.join("meminfo"),
                &format!("Node {node} MemTotal:       2048 kB\n"),
            );
        }
        put(
            roots.proc.join("meminfo"),
            "MemTotal:       4096 kB\nHugetlb:           1024 kB\n",
        );
        put(
            roots.proc.join("self/cgroup"),
            "0::/system.slice/worker.service\n",
        );
        let group = roots.sys.join("fs/cgroup/system.slice");
        put(group.join("memory.max"), "3145728\n");
        put(group.join("worker.service/memory.max"), "max\n");
        let card = roots
            .proc
            .join("driver/nvidia/gpus/0000:01:00.0/information");
        put(card, "Model: \t\t NVIDIA X\nIRQ: 1\n");
        let store = dir.join("disk one/t0");
        put(store.join("data/cache/layer"), &"x".repeat(8192));
        let mounts = format!(
            "1 0 0:5 / /proc rw - proc proc rw\n2 0 8:1 / {}/disk\\040one rw - ext4 /dev/sda1 rw\n",
            dir.display()
        );
        put(roots.proc.join("self/mountinfo"), &mounts);
        roots
    }

    #[test]
    fn a_host_is_read_from_what_the_kernel_shows() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let roots = host(&root);
        let store = root.join("disk one/t0");
        let found = Hardware::look(&roots, Some(std::slice::from_ref(&store))).unwrap();
        assert_eq!(found.cpus.count(), 4);
        let caches: Vec<String> = found.caches.iter().map(ToString::to_string).collect();
        assert_eq!(caches, ["0-1", "2-3"]);
        assert_eq!(found.nodes.len(), 2);
        assert_eq!(found.nodes[1].memory, 2 << 20);
        assert_eq!(found.memory, 3 << 20, "a group around this one has less");
        assert_eq!(found.huge_pages, 1 << 20);
        assert_eq!(found.gpus, ["NVIDIA X"]);
        assert_eq!(found.disks.len(), 1);
        let disk = found.disk_of(&store).unwrap();
        assert_eq!(disk.device, "8:1");
        // what the store holds is room: other files come and go on this disk meanwhile
        assert_eq!(held_in(&store, DEEPEST), 8192);
        assert!(disk.room >= 8192 && disk.size > 0);

        let all = Hardware::look(&roots, None).unwrap();
        assert_eq!(all.disks.len(), 1, "what the kernel shows is no disk");

        fs::remove_file(roots.sys.join("devices/system/cpu/online")).unwrap();
        assert!(Hardware::look(&roots, None).is_err());
    }

    #[test]
    fn cards_are_counted_where_only_their_devices_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots {
            sys: dir.path().join("sys"),
            proc: dir.path().join("proc"),
            dev: dir.path().join("dev"),
        };
        assert_eq!(gpus(&roots), [""; 0]);
        for (node, units) in [(0, 0), (1, 220)] {
            let node = roots
                .sys
                .join(format!("class/kfd/kfd/topology/nodes/{node}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("properties"), format!("simd_count {units}\n")).unwrap();
        }
        assert_eq!(gpus(&roots), ["AMD GPU"]);
        fs::create_dir_all(&roots.dev).unwrap();
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"] {
            fs::write(roots.dev.join(name), "").unwrap();
        }
        assert_eq!(gpus(&roots).len(), 2);
    }
}
