//! What a manifest names is used: a dependency that nobody needs any more costs every build, and
//! brings its own licences and faults.

use crate::{crates, none, root, sources};
use proc_macro2::{TokenStream, TokenTree};
use std::{collections::BTreeSet, fs};

/// What no source names and what is needed all the same, with the reason.
const UNNAMED: [(&str, &str); 1] = [(
    "serde_tuple",
    "what the derive of `fvm_ipld_encoding::tuple` writes names it",
)];

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

fn names(table: Option<&toml::Value>) -> BTreeSet<String> {
    let table = table.and_then(toml::Value::as_table);
    table.into_iter().flat_map(|t| t.keys().cloned()).collect()
}

fn words(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => _ = found.insert(word.to_string()),
            TokenTree::Group(group) => words(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let mut faults = Vec::new();
    let mut wanted = BTreeSet::new();
    for member in crates() {
        let declared = manifest(&member);
        let (mut code, mut tests) = (BTreeSet::new(), BTreeSet::new());
        for source in sources(&member) {
            let inside = source.path.strip_prefix(&member).unwrap();
            let of = if inside.starts_with("/tests/") {
                &mut tests
            } else {
                &mut code
            };
            words(source.tokens(), of);
        }
        for (section, places) in [
            ("dependencies", vec![&code]),
            ("dev-dependencies", vec![&code, &tests]),
        ] {
            for name in names(declared.get(section)) {
                let word = name.replace('-', "_");
                let unnamed = UNNAMED.iter().any(|(known, _)| *known == name);
                if !unnamed && !places.iter().any(|words| words.contains(&word)) {
                    faults.push(format!("{member}: {section}: nothing names {name}"));
                }
                wanted.insert(name);
            }
        }
    }
    assert!(
        wanted.len() > 50,
        "only {} dependencies found",
        wanted.len()
    );
    let workspace = manifest("");
    let offered = names(workspace["workspace"].get("dependencies"));
    let unwanted = offered.difference(&wanted);
    faults.extend(unwanted.map(|name| format!("the workspace's table: no crate takes {name}")));
    none(faults);
}
