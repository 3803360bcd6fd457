//! Files on huge pages that PC1 uses as memory, a set of them per NUMA node. The operator
//! makes them once (`store hugepage-file-init`); each holds one sector's layer.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Where the node's number goes in a pattern (upstream's word).
pub const NODE: &str = "$NUMA_NODE_INDEX";

/// Where the memory files of every node are: a path with one place for the node's number,
/// whose last part may contain `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFiles {
    pattern: String,
}

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
    use std::fs;

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
        let error = MemoryFiles::by_pattern("/mnt/huge/*").unwrap_err();
        assert!(error.to_string().contains(NODE), "{error}");
    }
}
