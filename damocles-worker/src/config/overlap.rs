//! Directories that must lie apart. What lies in a sealing store is cleared after every sector,
//! so nothing that is to last may lie in it, nor may it lie in anything that does.

use super::Config;
use crate::stores::{AttachedStores, look};
use damocles_daemon::config::Report;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// A directory of the config; links are followed.
struct Place {
    key: String,
    path: PathBuf,
    /// The sealing thread whose directory it is.
    thread: Option<usize>,
}

/// Pairs of places, by position, of which the first lies in the second or is the same. One walk
/// up from each place, so that a thousand of them take no million comparisons. Pure.
fn nested(paths: &[&Path]) -> Vec<(usize, usize)> {
    let mut by_path: HashMap<&Path, Vec<usize>> = HashMap::new();
    for (at, path) in paths.iter().enumerate() {
        by_path.entry(path).or_default().push(at);
    }
    let mut pairs = Vec::new();
    for (inner, path) in paths.iter().enumerate() {
        for around in path.ancestors() {
            let outers = by_path.get(around).into_iter().flatten();
            // of two that are the same, the later one lies in the earlier one
            let outers = outers.filter(|&&outer| outer < inner || around != *path);
            pairs.extend(outers.map(|&outer| (inner, outer)));
        }
    }
    pairs
}

/// A fault for every store and every sealing thread that lies in a sealing thread's directory
/// or around it. `attached`: what the configuration opens, if it can.
pub(super) fn check(config: &Config, attached: Option<&AttachedStores>, report: &mut Report) {
    let mut places: Vec<Place> = Vec::new();
    for thread in &config.threads {
        places.push(Place {
            key: format!("sealing_thread[{}].location", thread.index),
            path: look::real(&thread.location),
            thread: Some(thread.index),
        });
    }
    let threads = places.len();
    for store in &config.attached {
        places.push(Place {
            key: format!("attached[{}].location", store.index),
            path: look::real(&store.location),
            thread: None,
        });
    }
    let named: HashSet<PathBuf> = places
        .iter()
        .skip(threads)
        .map(|p| p.path.clone())
        .collect();
    let scanned = attached.into_iter().flat_map(AttachedStores::iter);
    for store in scanned.filter(|store| !named.contains(&store.root)) {
        places.push(Place {
            key: super::SCAN.to_owned(),
            path: store.root.clone(),
            thread: None,
        });
    }
    let paths: Vec<&Path> = places.iter().map(|p| p.path.as_path()).collect();
    let mut found: Vec<_> = nested(&paths)
        .into_iter()
        .filter_map(|pair| told_of(pair, &places))
        .collect();
    // of each place, the first thread
    found.sort_unstable();
    for (this, other, how) in found {
        let (Some(this), Some(other)) = (places.get(this), places.get(other)) else {
            continue;
        };
        let how = if this.path == other.path { "is" } else { how };
        let thread = other.thread.unwrap_or_default();
        let (path, location) = (this.path.display(), other.path.display());
        report.fault(
            &this.key,
            format!(
                "{path} {how} the directory of sealing thread {thread} ({location}), which is cleared after every sector; \
                 choose a directory apart from it"
            ),
        );
    }
}

/// Of which place the fault is told (the store, or the later one of two threads), which thread it
/// is at odds with, and how.
fn told_of(
    (inner, outer): (usize, usize),
    places: &[Place],
) -> Option<(usize, usize, &'static str)> {
    match (places.get(inner)?.thread, places.get(outer)?.thread) {
        (None, None) => None,
        (Some(thread), Some(before)) if thread < before => Some((outer, inner, "holds")),
        (_, Some(_)) => Some((inner, outer, "lies in")),
        (Some(_), None) => Some((outer, inner, "holds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_their_parts() {
        let of = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(Path::new).collect();
            nested(&paths)
        };
        assert_eq!(of(&["/mnt/a", "/mnt/a/"]), [(1, 0)]);
        assert_eq!(of(&["/mnt/a/b", "/mnt/a"]), [(0, 1)]);
        assert_eq!(of(&["/mnt", "/mnt/x/a"]), [(1, 0)]);
        assert_eq!(of(&["/mnt/ab", "/mnt/a"]), []);
        assert_eq!(of(&["/a", "/b", "/a/c", "/a"]), [(2, 0), (2, 3), (3, 0)]);
    }
}
