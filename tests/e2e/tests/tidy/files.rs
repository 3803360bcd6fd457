//! Files open by saying what they are for, stay short, and are named after what they hold.

use crate::{all_sources, none};

/// No file is longer. Split it by what it knows, not by size.
const MAX_LINES: usize = 600;

/// Names that say nothing about what is in the file.
const BANNED: [&str; 8] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "errors",
    "misc",
    "constants",
    "impl",
];

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let silent = all_sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}: the first line must be a `//!` sentence", source.path));
    none(silent.collect());
}

#[test]
fn no_file_is_too_long() {
    let long = all_sources().into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > MAX_LINES)
            .then(|| format!("{}: {lines} lines, {MAX_LINES} are allowed", source.path))
    });
    none(long.collect());
}

#[test]
fn file_names_come_from_the_trade() {
    let nameless = all_sources().into_iter().filter_map(|source| {
        // the crates' own folders are the user's choice, what lies in them is ours
        let inside = source
            .path
            .split_once("/src/")
            .map_or("", |(_, inside)| inside);
        let bad = inside
            .split('/')
            .map(|part| part.trim_end_matches(".rs"))
            .find(|part| BANNED.contains(part))?;
        Some(format!(
            "{}: {bad:?} says nothing about what is inside",
            source.path
        ))
    });
    none(nameless.collect());
}
