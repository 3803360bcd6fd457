//! Every path that a document names exists, every link leads somewhere, and the code map of
//! docs/ARCHITECTURE.md has the rooms that there are.

use crate::{
    none, root, slope,
    text::{documents, read},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Folders at the top that hold sources and documents.
const TOPS: [&str; 9] = [
    "common/",
    "damocles-manager/",
    "damocles-worker/",
    "tests/",
    "docs/",
    "config-examples/",
    "scripts/",
    ".ci/",
    ".github/",
];

/// Where a path of a document may begin: at the root, in `common/`, or in the sources of both daemons.
const BEGINNINGS: [&str; 4] = ["", "common", "damocles-manager/src", "damocles-worker/src"];

/// What a running house has, no file of the repository.
const AT_RUN_TIME: [&str; 5] = [
    "sector-manager.cfg",
    "config.toml",
    "worker.toml",
    "summary.json",
    "ext-prover.cfg",
];

/// Whether back-quoted text is the path of a file of ours.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.is_empty() || !text.chars().all(plain) || text.starts_with(['/', '-']) {
        return false;
    }
    let ending = [".rs", ".md", ".toml", ".cfg", ".sh", ".service", ".patch"]
        .iter()
        .any(|end| text.ends_with(end) && text.len() > end.len());
    TOPS.iter().any(|top| text.starts_with(top))
        || ending && !AT_RUN_TIME.contains(&text) && !text.starts_with('.')
}

fn exists(document: &str, path: &str) -> bool {
    let beside = Path::new(document).parent().unwrap_or(Path::new(""));
    let beside = root().join(beside).join(path);
    beside.exists()
        || BEGINNINGS
            .iter()
            .any(|begin| root().join(begin).join(path).exists())
}

#[test]
fn every_path_in_a_document_exists() {
    let mut faults = Vec::new();
    let mut found = 0;
    for document in documents() {
        let text = read(&document);
        for quoted in text.split('`').skip(1).step_by(2) {
            if is_path(quoted) {
                found += 1;
                if !exists(&document, quoted) {
                    faults.push(format!("{document}: {quoted} does not exist"));
                }
            }
        }
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let link = &rest[..rest.find(')').unwrap_or(0)];
            let path = link.split('#').next().unwrap();
            let beside = root().join(Path::new(&document).parent().unwrap());
            if !path.is_empty() && !path.contains("://") && !beside.join(path).exists() {
                faults.push(format!("{document}: the link {link} leads nowhere"));
            }
        }
    }
    assert!(found > 50, "only {found} paths found");
    none(faults);
}

#[test]
fn paths_are_told_from_other_words() {
    for path in [
        "common/flow/src/seal.rs",
        "config/raw.rs",
        "docs/run.md",
        ".ci/run",
    ] {
        assert!(is_path(path), "{path}");
    }
    for other in [
        "/rpc/v0",
        "worker.toml",
        "a b/c.rs",
        "<home>/api",
        ".toml",
        "tokio",
    ] {
        assert!(!is_path(other), "{other}");
    }
    assert!(exists("docs/ARCHITECTURE.md", "kernels.md"));
    assert!(exists("docs/ARCHITECTURE.md", "config/raw.rs"));
    assert!(!exists("docs/ARCHITECTURE.md", "config/cooked.rs"));
}

/// The part of the code map under a heading: what is back-quoted there.
fn mapped(text: &str, heading: &str) -> BTreeSet<String> {
    let at = text
        .find(heading)
        .unwrap_or_else(|| panic!("no {heading} in the code map"));
    let rest = &text[at + heading.len()..];
    let end = rest.find("\n\n").unwrap_or(rest.len());
    rest[..end]
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_code_map_has_the_rooms_that_there_are() {
    let text = read("docs/ARCHITECTURE.md");
    let mut faults = Vec::new();
    for program in ["damocles-manager", "damocles-worker"] {
        let src: PathBuf = root().join(program).join("src");
        let named = mapped(&text, &format!("**`{program}/src/`**"));
        for name in &named {
            let there = src.join(name).exists() || src.join(format!("{name}.rs")).exists();
            if !there {
                faults.push(format!(
                    "the map of {program} names {name}, which does not exist"
                ));
            }
        }
        let lib = read(&format!("{program}/src/lib.rs"));
        for room in slope::modules(lib.parse().unwrap()) {
            let known = named
                .iter()
                .any(|name| name.trim_end_matches('/').trim_end_matches(".rs") == room);
            if !known {
                faults.push(format!("the map of {program} lacks the room {room}"));
            }
        }
    }
    none(faults);
}
