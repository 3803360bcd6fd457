//! Directories that must lie apart. What lies in a sealing store is cleared after every sector,
//! so nothing that is to last may lie in it, nor may it lie in anything that does.

use super::Config;
use crate::stores::AttachedStores;
use damocles_daemon::config::Report;
use std::path::{Path, PathBuf};

/// How one directory lies to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Apart,
    Same,
    /// Within the other.
    Inside,
    /// Around the other.
    Above,
}

/// Both paths without links. Pure.
fn lies(this: &Path, other: &Path) -> Lies {
    match (this.starts_with(other), other.starts_with(this)) {
        (true, true) => Lies::Same,
        (true, false) => Lies::Inside,
        (false, true) => Lies::Above,
        (false, false) => Lies::Apart,
    }
}

/// The path without links and dots, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        if let (Ok(mut real), Ok(rest)) = (there.canonicalize(), path.strip_prefix(there)) {
            real.extend(rest);
            return real;
        }
    }
    path
}

/// A fault for every store and every sealing thread that lies in a sealing thread's directory
/// or around it. `attached`: what the configuration opens, if it can.
pub(super) fn check(config: &Config, attached: Option<&AttachedStores>, report: &mut Report) {
    let threads: Vec<_> = config
        .threads
        .iter()
        .map(|thread| (thread.index, real(&thread.location)))
        .collect();
    let mut check = |key: String, path: &Path, before: usize| {
        for (index, location) in threads.iter().filter(|(index, _)| *index < before) {
            if let Some(fault) = fault(path, *index, location) {
                report.fault(&key, fault);
            }
        }
    };
    for (index, location) in &threads {
        check(
            format!("sealing_thread[{index}].location"),
            location,
            *index,
        );
    }
    let mut named = Vec::new();
    for store in &config.attached {
        let path = real(&store.location);
        check(
            format!("attached[{}].location", store.index),
            &path,
            usize::MAX,
        );
        named.push(path);
    }
    let scanned = attached.into_iter().flat_map(AttachedStores::iter);
    for store in scanned.filter(|store| !named.contains(&store.root)) {
        check(
            "worker.scan_persist_stores".to_owned(),
            &store.root,
            usize::MAX,
        );
    }
}

fn fault(path: &Path, thread: usize, location: &Path) -> Option<String> {
    let how = match lies(path, location) {
        Lies::Apart => return None,
        Lies::Same => "is",
        Lies::Inside => "lies in",
        Lies::Above => "holds",
    };
    let (path, location) = (path.display(), location.display());
    Some(format!(
        "{path} {how} the directory of sealing thread {thread} ({location}), which is cleared after every sector; \
         choose a directory apart from it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_their_parts() {
        let lie = |a: &str, b: &str| lies(Path::new(a), Path::new(b));
        assert_eq!(lie("/mnt/a", "/mnt/a/"), Lies::Same);
        assert_eq!(lie("/mnt/a/b", "/mnt/a"), Lies::Inside);
        assert_eq!(lie("/mnt", "/mnt/a"), Lies::Above);
        assert_eq!(lie("/mnt/ab", "/mnt/a"), Lies::Apart);
    }

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("disk")).unwrap();
        std::os::unix::fs::symlink(root.join("disk"), root.join("link")).unwrap();
        assert_eq!(real(&root.join("link/t0/x")), root.join("disk/t0/x"));
        assert_eq!(real(&root.join("disk/../link")), root.join("disk"));
    }
}
