//! Files on huge pages that PC1 uses as memory, a set of them per NUMA node. The operator
//! makes them once (`store hugepage-file-init`); each holds a layer of one sector, or of sixteen.

use crate::{disk::at, pin};
use damocles_types::ByteSize;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

/// Where the node's number goes in a pattern (upstream's word).
pub const NODE: &str = "$NUMA_NODE_INDEX";

/// Where the memory files of every node are: a path with one place for the node's number,
/// whose last part may contain `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFiles {
    pattern: String,
}

/// A hugetlbfs, as `statfs` tells it.
const HUGETLBFS: rustix::fs::FsWord = 0x9584_58f6;

/// A pattern that names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {0:?} does not contain {NODE}, so all NUMA nodes would share their files")]
pub struct NoNode(pub String);

impl MemoryFiles {
    /// All files in the directories `numa_<node>` of `dir`.
    pub fn in_directory(dir: &Path) -> Self {
        Self {
            pattern: format!("{}/numa_{NODE}", dir.display()),
        }
    }

    /// Files by a pattern such as `/mnt/huge/numa_$NUMA_NODE_INDEX/64GiB_*`. A pattern that
    /// names a directory means all files in it.
    pub fn by_pattern(pattern: &str) -> Result<Self, NoNode> {
        if !pattern.contains(NODE) {
            return Err(NoNode(pattern.to_owned()));
        }
        Ok(Self {
            pattern: pattern.to_owned(),
        })
    }

    /// The path or pattern of one node.
    pub fn of_node(&self, node: u32) -> PathBuf {
        self.pattern.replacen(NODE, &node.to_string(), 1).into()
    }

    /// Makes `count` files of `size` for a node, their memory taken from that node. When one
    /// cannot be made, those before it are removed again.
    pub fn make(&self, node: u32, size: ByteSize, count: usize) -> io::Result<Vec<PathBuf>> {
        let path = self.of_node(node);
        let dir = match path.file_name() {
            Some(name) if name.to_string_lossy().contains('*') => path.parent().unwrap_or(&path),
            _ => &path,
        };
        // in a thread of its own, whose memory policy ends with it
        let work = || {
            pin::bind_memory(node)?;
            fs::create_dir_all(dir).map_err(at(dir))?;
            let mut made = Vec::new();
            for index in 0..count {
                if let Err(error) = make_file(dir, size, index, &mut made) {
                    for path in &made {
                        // best effort: the first error is the one to be told
                        let _ = fs::remove_file(path);
                    }
                    return Err(error);
                }
            }
            Ok(made)
        };
        thread::scope(|scope| {
            let worker = thread::Builder::new().spawn_scoped(scope, work)?;
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("making the memory files panicked")))
        })
    }

    /// Whether the files of a node are on huge pages; elsewhere they are ordinary memory, or
    /// even a disk.
    pub fn on_huge_pages(&self, node: u32) -> bool {
        let path = self.of_node(node);
        let there = path.ancestors().find(|path| path.exists());
        there
            .and_then(|path| rustix::fs::statfs(path).ok())
            .is_some_and(|fs| fs.f_type == HUGETLBFS)
    }

    /// The files of one node, in the order of their names; empty when the node has none.
    pub fn list(&self, node: u32) -> io::Result<Vec<PathBuf>> {
        let path = self.of_node(node);
        let (dir, name) = if path.is_dir() {
            (path.as_path(), "*")
        } else {
            let name = path.file_name().and_then(|name| name.to_str());
            let whole = io::Error::other(format!("{} names no file", path.display()));
            (
                path.parent().ok_or(io::ErrorKind::NotFound)?,
                name.ok_or(whole)?,
            )
        };
        let entries = match dir.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let fits = entry.file_name().to_str().is_some_and(|n| matches(name, n));
            if fits && entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

fn make_file(dir: &Path, size: ByteSize, index: usize, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let fs = rustix::fs::statfs(dir).map_err(|error| at(dir)(error.into()))?;
    let page = fs.f_bsize as u64;
    if fs.f_type == HUGETLBFS && !size.0.is_multiple_of(page) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{size} is no multiple of the pages of {}, which have {}",
                dir.display(),
                ByteSize(page)
            ),
        ));
    }
    let path = dir.join(format!("{}_{index}", size_in_words(size)));
    let file = File::create_new(&path).map_err(at(&path))?;
    made.push(path.clone());
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.0)
        .map_err(|error| at(&path)(error.into()))
}

/// As upstream names its files: `32.0_GiB`.
fn size_in_words(size: ByteSize) -> String {
    let mut value = size.0 as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "B" => format!("{}_B", size.0),
        _ => format!("{value:.1}_{unit}"),
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_node() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("numa_1/below")).unwrap();
        for name in ["numa_1/32.0_GiB_1", "numa_1/32.0_GiB_0", "numa_1/other"] {
            fs::write(at(name), "").unwrap();
        }
        let all = MemoryFiles::in_directory(dir.path());
        assert_eq!(
            all.list(1).unwrap(),
            ["numa_1/32.0_GiB_0", "numa_1/32.0_GiB_1", "numa_1/other"].map(at)
        );
        assert!(all.list(0).unwrap().is_empty());
        let some = format!("{}/numa_{NODE}/32*GiB_*", dir.path().display());
        let some = MemoryFiles::by_pattern(&some).unwrap();
        assert_eq!(
            some.list(1).unwrap(),
            ["numa_1/32.0_GiB_0", "numa_1/32.0_GiB_1"].map(at)
        );
        for files in [&all, &some] {
            assert!(!files.on_huge_pages(1));
        }
        let error = MemoryFiles::by_pattern("/mnt/huge/*").unwrap_err();
        assert!(error.to_string().contains(NODE), "{error}");
    }

    #[test]
    fn files_are_made_whole_and_all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = MemoryFiles::in_directory(dir.path());
        let size = ByteSize(64 << 10);
        let made = files.make(0, size, 2).unwrap();
        let names = ["numa_0/64.0_KiB_0", "numa_0/64.0_KiB_1"];
        assert_eq!(made, names.map(|name| dir.path().join(name)));
        assert_eq!(files.list(0).unwrap(), made);
        for path in &made {
            assert_eq!(fs::metadata(path).unwrap().len(), size.0);
        }

        // the second one is in the way: the first is taken back, what was there stays
        fs::remove_file(&made[0]).unwrap();
        let error = files.make(0, size, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files.list(0).unwrap(), made[1..]);

        let error = files.make(1000, size, 1).unwrap_err();
        assert!(error.to_string().contains("1000"), "{error}");
    }

    #[test]
    fn sizes_are_named_as_upstream_names_them() {
        for (bytes, name) in [
            (100, "100_B"),
            (2 << 10, "2.0_KiB"),
            (32 << 30, "32.0_GiB"),
            (1536 << 20, "1.5_GiB"),
        ] {
            assert_eq!(size_in_words(ByteSize(bytes)), name);
        }
    }
}
