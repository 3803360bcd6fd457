//! What a machine has that sealing takes: CPUs and how they hang together, memory, disks, GPUs,
//! proof parameters. Looked for on this host (`look`), or described in a file, so that a
//! configuration for another host can be held against it.

mod look;
mod show;

pub use look::Roots;
pub use show::text;

use damocles_daemon::{
    config::{Kind, Report, Rules, Value, parse},
    exit::{Exit, Fatal},
    section,
};
use damocles_processor::{Machine, cpus::CpuSet};
use damocles_types::{ByteSize, SectorSize};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    pub cpus: CpuSet,
    /// CPUs that share a third-level cache, in the order of their first CPU.
    pub caches: Vec<CpuSet>,
    pub nodes: Vec<Node>,
    /// Bytes that the processes of this daemon may have together.
    pub memory: u64,
    /// Of that, bytes that are set aside as huge pages.
    pub huge_pages: u64,
    pub disks: Vec<Disk>,
    /// By their number, as CUDA_VISIBLE_DEVICES counts.
    pub gpus: Vec<String>,
    /// Sizes whose PoRep parameters are here. None: nobody has looked.
    pub parameters: Option<Vec<SectorSize>>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub number: u32,
    pub cpus: Option<CpuSet>,
    /// Bytes.
    pub memory: u64,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub mount: PathBuf,
    /// The same for every mount of one file system.
    pub device: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that sealing may take: what is free, and what sealing stores hold already.
    pub room: u64,
}

impl Hardware {
    /// The part by which placements are checked.
    pub fn machine(&self) -> Machine {
        Machine {
            cpus: self.cpus.clone(),
            nodes: self.nodes.iter().map(|node| node.number).collect(),
        }
    }

    /// The file system on which a path lies: the one with the longest mount point above it.
    pub fn disk_of(&self, path: &Path) -> Option<&Disk> {
        let above = self.disks.iter().filter(|d| path.starts_with(&d.mount));
        above.max_by_key(|disk| disk.mount.components().count())
    }

    /// Reads a description.
    ///
    /// # Errors
    /// [`Exit::Config`], naming every fault with its line.
    pub fn described(path: &Path) -> Result<Self, Fatal> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fatal::new(
                Exit::Config,
                format!("the description of a machine {} cannot be read: {e}", path.display()),
            )
            .hint("`damocles-worker hwinfo --toml` prints this machine's in that form; config-examples/machines has others")
        })?;
        Self::from_toml(path, &text)
    }

    /// The same from a text; `path` is for messages.
    ///
    /// # Errors
    /// Every fault with its line.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, Fatal> {
        let (raw, mut report) = parse::<Described>(path, text, &RULES);
        let checked = check(&raw.unwrap_or_default(), &mut report);
        report.finish()?;
        checked.ok_or_else(|| Fatal::new(Exit::Config, format!("{}: no CPUs", path.display())))
    }

    /// The description that [`Self::from_toml`] reads as this machine.
    pub fn to_toml(&self) -> String {
        let described = Described {
            cpus: Some(self.cpus.to_string()),
            caches: self.caches.iter().map(ToString::to_string).collect(),
            memory: Some(Size(ByteSize(self.memory))),
            huge_pages: Size(ByteSize(self.huge_pages)),
            gpus: self.gpus.clone(),
            parameters: self
                .parameters
                .as_ref()
                .map(|sizes| sizes.iter().map(ToString::to_string).collect()),
            node: self.nodes.iter().map(described_node).collect(),
            disk: self.disks.iter().map(described_disk).collect(),
        };
        // a description holds only what TOML can say
        toml::to_string(&described).unwrap_or_default()
    }
}

/// Bytes in a description: exact where the text of a size would be rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
struct Size(ByteSize);

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = self.0.to_string();
        match text.parse::<ByteSize>() {
            Ok(same) if same == self.0 => s.serialize_str(&text),
            _ => s.serialize_u64(self.0.0),
        }
    }
}

impl Value for Size {
    fn kind() -> Kind {
        Kind::Leaf("size, such as \"512GiB\"".to_owned())
    }
}

section! {
    /// A NUMA node.
    struct DescribedNode {
        /// Its number.
        "number" number: u32 = 0;
        /// Its CPUs.
        "cpus" cpus: Option<String> = None;
        /// Its memory.
        "memory" memory: Option<Size> = None;
    }
}

section! {
    /// A file system.
    struct DescribedDisk {
        /// Where it is mounted.
        "mount" mount: Option<PathBuf> = None;
        /// How large it is.
        "size" size: Option<Size> = None;
        /// What of it sealing may take; all of it when left out.
        "room" room: Option<Size> = None;
        /// The same word for every mount of one file system; the mount point when left out.
        "device" device: Option<String> = None;
    }
}

section! {
    /// A machine.
    struct Described {
        /// Its CPUs, such as "0-63".
        "cpus" cpus: Option<String> = None;
        /// CPUs that share a third-level cache, one text for each cache.
        "caches" caches: Vec<String> = Vec::new();
        /// Its memory.
        "memory" memory: Option<Size> = None;
        /// What of it is set aside as huge pages.
        "huge_pages" huge_pages: Size = Size::default();
        /// Its GPUs by name, in the order of their numbers.
        "gpus" gpus: Vec<String> = Vec::new();
        /// Sector sizes whose PoRep parameters are there; not asked for when left out.
        "parameters" parameters: Option<Vec<String>> = None;
        "node" node: Vec<DescribedNode> = Vec::new();
        "disk" disk: Vec<DescribedDisk> = Vec::new();
    }
}

const RULES: Rules = Rules {
    fold_case: false,
    legacy: &[],
};

fn described_node(node: &Node) -> DescribedNode {
    DescribedNode {
        number: node.number,
        cpus: node.cpus.as_ref().map(ToString::to_string),
        memory: Some(Size(ByteSize(node.memory))),
    }
}

fn described_disk(disk: &Disk) -> DescribedDisk {
    DescribedDisk {
        mount: Some(disk.mount.clone()),
        size: Some(Size(ByteSize(disk.size))),
        room: Some(Size(ByteSize(disk.room))),
        device: Some(disk.device.clone()),
    }
}

fn cpu_set(key: &str, text: &str, report: &mut Report) -> Option<CpuSet> {
    match text.parse() {
        Ok(set) => Some(set),
        Err(error) => {
            report.fault(key, error);
            None
        }
    }
}

/// None where a fault leaves nothing to go by.
fn check(raw: &Described, report: &mut Report) -> Option<Hardware> {
    let Described {
        cpus,
        caches,
        memory,
        huge_pages,
        gpus,
        parameters,
        node,
        disk,
    } = raw;
    let all = match cpus {
        Some(text) => cpu_set("cpus", text, report),
        None => {
            report.fault("cpus", "is missing; write for example \"0-63\"");
            None
        }
    };
    let caches = caches.iter().enumerate();
    let caches = caches.filter_map(|(i, text)| cpu_set(&format!("caches[{i}]"), text, report));
    let caches: Vec<CpuSet> = caches.collect();
    if memory.is_none() {
        report.fault("memory", "is missing; write for example \"512GiB\"");
    }
    let mut nodes = Vec::new();
    let mut numbers = BTreeSet::new();
    for (i, node) in node.iter().enumerate() {
        let key = format!("node[{i}]");
        if !numbers.insert(node.number) {
            report.fault(&format!("{key}.number"), "stands twice");
        }
        let text = node.cpus.as_deref();
        nodes.push(Node {
            number: node.number,
            cpus: text.and_then(|text| cpu_set(&format!("{key}.cpus"), text, report)),
            memory: node.memory.map_or(0, |size| size.0.0),
        });
    }
    let mut disks = Vec::new();
    for (i, disk) in disk.iter().enumerate() {
        let key = format!("disk[{i}]");
        let (Some(mount), Some(size)) = (&disk.mount, disk.size) else {
            report.fault(&key, "needs `mount` and `size`");
            continue;
        };
        disks.push(Disk {
            mount: mount.clone(),
            device: (disk.device.clone()).unwrap_or_else(|| mount.display().to_string()),
            size: size.0.0,
            room: disk.room.unwrap_or(size).0.0,
        });
    }
    let mut sizes = Vec::new();
    for (i, text) in parameters.iter().flatten().enumerate() {
        match text.parse() {
            Ok(size) => sizes.push(size),
            Err(error) => report.fault(&format!("parameters[{i}]"), error),
        }
    }
    Some(Hardware {
        cpus: all?,
        caches,
        nodes,
        memory: memory.map_or(0, |size| size.0.0),
        huge_pages: huge_pages.0.0,
        disks,
        gpus: gpus.clone(),
        parameters: parameters.is_some().then_some(sizes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back_and_faults_have_their_line() {
        let text = "cpus = \"0-7\"\nmemory = \"64GiB\"\ngpus = [\"A\"]\nparameters = [\"32GiB\"]\n\
             [[node]]\nnumber = 0\ncpus = \"0-7\"\nmemory = \"64GiB\"\n\
             [[disk]]\nmount = \"/mnt/a\"\nsize = \"2000GB\"\n[[disk]]\nmount = \"/mnt/a/b\"\nsize = 10000000007\n";
        let machine = Hardware::from_toml(Path::new("m.toml"), text).unwrap();
        let again = Hardware::from_toml(Path::new("m.toml"), &machine.to_toml()).unwrap();
        assert_eq!(again, machine);
        assert_eq!(
            machine.disk_of(Path::new("/mnt/a/x")).unwrap().size,
            2_000_000_000_000
        );
        assert_eq!(
            machine.disk_of(Path::new("/mnt/a/b/x")).unwrap().room,
            10_000_000_007
        );
        assert_eq!(machine.disk_of(Path::new("/mnt/ab")), None);

        let bad = "cpus = \"7-0\"\nmemery = \"1GiB\"\n[[disk]]\nsize = \"1GB\"\n";
        let told = Hardware::from_toml(Path::new("m.toml"), bad)
            .unwrap_err()
            .to_string();
        for part in [
            "m.toml:1: cpus: \"7-0\" is not a CPU set",
            "did you mean \"memory\"?",
            "disk[0]: needs `mount` and `size`",
            "memory: is missing",
        ] {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
    }
}
