//! Every law of docs/ARCHITECTURE.md names tests that exist.

use crate::{none, root, text::read};
use std::fs;

/// A test that fails when a law is broken.
pub(crate) struct Guard {
    pub(crate) law: u32,
    pub(crate) path: String,
    pub(crate) test: String,
}

/// The number of a law's title line.
fn title(line: &str) -> Option<u32> {
    line.strip_prefix("**Law ")?.split('.').next()?.parse().ok()
}

/// The laws of docs/ARCHITECTURE.md, by number.
pub(crate) fn laws() -> Vec<u32> {
    read("docs/ARCHITECTURE.md")
        .lines()
        .filter_map(title)
        .collect()
}

/// Every test that a law names.
pub(crate) fn guards() -> Vec<Guard> {
    let mut found = Vec::new();
    let mut law = None;
    for line in read("docs/ARCHITECTURE.md").lines() {
        law = title(line).or(law);
        let Some(rest) = line.trim_start().strip_prefix("Guard: ") else {
            continue;
        };
        let quoted: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let (Some(law), [path, tests @ ..]) = (law, quoted.as_slice()) else {
            panic!("a guard without a law or a path: {line}");
        };
        assert!(!tests.is_empty(), "law {law}: no test named for {path}");
        found.extend(tests.iter().map(|test| Guard {
            law,
            path: (*path).to_owned(),
            test: (*test).to_owned(),
        }));
    }
    found
}

#[test]
fn every_law_names_a_test_that_exists() {
    let laws = laws();
    assert!(laws.len() >= 12);
    let counted: Vec<u32> = (1..).take(laws.len()).collect();
    assert_eq!(laws, counted, "laws are numbered without gaps");
    let guards = guards();
    let mut faults = Vec::new();
    for Guard { law, path, test } in &guards {
        match fs::read_to_string(root().join(path)) {
            Err(_) => faults.push(format!("law {law}: {path} does not exist")),
            Ok(source) if !is_test(&source, test) => {
                faults.push(format!("law {law}: {path} has no test {test}"));
            }
            Ok(_) => {}
        }
    }
    for law in laws {
        if !guards.iter().any(|guard| guard.law == law) {
            faults.push(format!("law {law} has no test that guards it"));
        }
    }
    none(faults);
}

/// Whether the text has a function of that name under a test attribute.
fn is_test(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else {
        return false;
    };
    // from the line before `fn` upwards, to the end of whatever stands before the item
    let above = text[..at].rfind('\n').map_or("", |end| &text[..end]);
    let head: String = above
        .lines()
        .rev()
        .take_while(|line| !line.trim_end().ends_with('}') && !line.trim().is_empty())
        .collect();
    head.contains("test]") || head.contains("::test(")
}

#[test]
fn a_named_test_must_be_one() {
    let text =
        "#[test]\nfn real() {}\n\nfn plain() {}\n\n    #[tokio::test]\n    async fn later() {}\n";
    assert!(is_test(text, "real"));
    assert!(is_test(text, "later"));
    assert!(!is_test(text, "plain"));
    assert!(!is_test(text, "absent"));
}
