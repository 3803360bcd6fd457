//! The picture of docs/ARCHITECTURE.md: its arrows between crates are the dependencies that the
//! manifests declare, all of them and no other.

use crate::{crates, none, text::read};
use std::collections::{BTreeMap, BTreeSet};

type Arrows = BTreeSet<(String, String)>;

/// `a ◄ b · c`: b stands on a, c alone. From the line of the picture that begins with `common/*:`.
fn drawn(text: &str) -> (BTreeSet<String>, Arrows) {
    let line = text
        .lines()
        .find_map(|line| line.split_once("common/*:"))
        .expect("the picture has a line of common/*")
        .1;
    let line = line.split("  ").next().unwrap();
    let (mut names, mut arrows) = (BTreeSet::new(), BTreeSet::new());
    for chain in line.split('·') {
        let chain: Vec<&str> = chain.split('◄').map(str::trim).collect();
        names.extend(chain.iter().map(|&name| name.to_owned()));
        arrows.extend(
            chain
                .windows(2)
                .map(|pair| (pair[1].to_owned(), pair[0].to_owned())),
        );
    }
    (names, arrows)
}

/// Who of common/ depends on whom of common/.
fn declared() -> (BTreeSet<String>, Arrows) {
    let (mut names, mut arrows) = (BTreeSet::new(), BTreeSet::new());
    for member in crates() {
        let Some(name) = member.strip_prefix("common/") else {
            continue;
        };
        names.insert(name.to_owned());
        for other in dependencies(&member).keys() {
            if let Some(other) = other.strip_prefix("damocles-") {
                arrows.insert((name.to_owned(), other.to_owned()));
            }
        }
    }
    (names, arrows)
}

fn dependencies(member: &str) -> BTreeMap<String, toml::Value> {
    let manifest: toml::Table = read(&format!("{member}/Cargo.toml")).parse().unwrap();
    manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[test]
fn every_arrow_of_the_picture_is_a_dependency_and_every_dependency_is_drawn() {
    let text = read("docs/ARCHITECTURE.md");
    let ((drawn_names, drawn), (names, declared)) = (drawn(&text), declared());
    let mut faults: Vec<String> = names
        .symmetric_difference(&drawn_names)
        .map(|name| format!("{name} is a crate of common/ or drawn as one, not both"))
        .collect();
    for (from, to) in drawn.difference(&declared) {
        faults.push(format!(
            "the picture draws {to} ◄ {from}; common/{from}/Cargo.toml has no damocles-{to}"
        ));
    }
    for (from, to) in declared.difference(&drawn) {
        faults.push(format!(
            "common/{from}/Cargo.toml has damocles-{to}; the picture lacks {to} ◄ {from}"
        ));
    }
    none(faults);
}

#[test]
fn a_picture_is_read_arrow_by_arrow() {
    let (names, arrows) = drawn("x\n 0  common/*: a ◄ b ◄ c · d · a ◄ e   ← words\n");
    assert_eq!(Vec::from_iter(names), ["a", "b", "c", "d", "e"]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        Vec::from_iter(arrows),
        [pair("b", "a"), pair("c", "b"), pair("e", "a")]
    );
}
