//! A guard is proven by a mutant: for every law there are small changes that break it, kept under
//! tests/mutants, each with the test that must fail under it. `make mutants` runs them; what can
//! be checked without a build is checked here.

use crate::{
    laws::{guards, laws},
    none, root,
    text::{files, read},
};
use std::{collections::BTreeSet, process::Command};

const FOLDER: &str = "tests/mutants";

/// What a patch says of itself before its first hunk.
fn header(text: &str, name: &str) -> Option<String> {
    text.lines()
        .take_while(|line| line.starts_with('#') || line.is_empty())
        .find_map(|line| line.strip_prefix(&format!("# {name}: ")))
        .map(|value| value.trim().to_owned())
}

/// `cargo test -p CRATE [--lib|--test NAME] TEST`: crate and test.
fn guard(command: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = command.split(' ').collect();
    let place = |words: &[&str]| matches!(words, [] | ["--lib"] | ["--test", _]);
    match words.as_slice() {
        ["cargo", "test", "-p", krate, rest @ .., test] if place(rest) => Some((krate, test)),
        _ => None,
    }
}

#[test]
fn every_law_has_a_mutant_and_every_mutant_names_its_guard() {
    let guards = guards();
    let mut broken = BTreeSet::new();
    let mut faults = Vec::new();
    for patch in files(FOLDER, &[".patch"]) {
        let text = read(&patch);
        let law = header(&text, "law").and_then(|law| law.parse::<u32>().ok());
        let command = header(&text, "guard");
        if header(&text, "what").is_none() {
            faults.push(format!("{patch}: no `# what: sentence`"));
        }
        let (Some(law), Some(command)) = (law, command) else {
            faults.push(format!(
                "{patch}: `# law: N` and `# guard: cargo test …` are needed"
            ));
            continue;
        };
        let Some((_, test)) = guard(&command) else {
            faults.push(format!("{patch}: not a guard: {command}"));
            continue;
        };
        let name = test.rsplit("::").next().unwrap();
        if guards
            .iter()
            .any(|guard| guard.law == law && guard.test == name)
        {
            broken.insert(law);
        } else {
            faults.push(format!("{patch}: law {law} does not name the guard {name}"));
        }
    }
    for law in laws() {
        if !broken.contains(&law) {
            faults.push(format!("law {law} has no mutant in {FOLDER}"));
        }
    }
    none(faults);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "git is asked; nothing here runs inside a daemon"
)]
fn every_mutant_still_applies() {
    let mut faults = Vec::new();
    for patch in files(FOLDER, &[".patch"]) {
        let tried = Command::new("git")
            .args(["apply", "--check", &patch])
            .current_dir(root())
            .output()
            .expect("git is there");
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr);
            faults.push(format!("{patch} does not apply any more: {}", said.trim()));
        }
    }
    none(faults);
}

#[test]
fn headers_and_guards_are_read() {
    let text = "# law: 3\n# what: x y\n# guard: cargo test -p a --lib b::c\n\n--- a/x\n# law: 4\n";
    assert_eq!(header(text, "law").as_deref(), Some("3"));
    assert_eq!(header(text, "why"), None);
    assert_eq!(guard("cargo test -p a --lib b::c"), Some(("a", "b::c")));
    assert_eq!(guard("cargo test -p a --test it c"), Some(("a", "c")));
    assert_eq!(guard("cargo test -p a c"), Some(("a", "c")));
    assert_eq!(guard("cargo build -p a"), None);
}
