//! The house rules that a program can check: the slope inside each crate, one door each, file
//! headers and sizes, and that every law of docs/ARCHITECTURE.md names a test that exists.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

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

/// Where children may be spawned, with the reason. Tests may start the program under test.
const SPAWNERS: [(&str, &str); 2] = [
    ("common/processor/src/parent/child.rs", "the one door"),
    ("tests/e2e/", "starts the daemons under test"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Folders of the workspace's crates, as the root manifest lists them.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| member.as_str().unwrap().to_owned())
        .collect()
}

/// A source file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn tokens(&self) -> TokenStream {
        self.text
            .parse()
            .unwrap_or_else(|e| panic!("{}: {e}", self.path))
    }
}

/// Every Rust file of a crate.
fn sources(member: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(member)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push(Source {
                    path: path.to_owned(),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{member} has no sources");
    found
}

fn all_sources() -> Vec<Source> {
    crates().iter().flat_map(|member| sources(member)).collect()
}

/// Fails with every fault at once.
#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

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

#[test]
fn water_runs_downhill() {
    let mut faults = Vec::new();
    for member in crates() {
        let Ok(lib) = fs::read_to_string(root().join(&member).join("src/lib.rs")) else {
            continue;
        };
        let lib: TokenStream = lib.parse().unwrap();
        let floors = modules(lib.clone());
        let exported = exports(lib);
        let floor = |name: &str| {
            let module = exported.get(name).map_or(name, String::as_str);
            floors.iter().position(|known| known == module)
        };
        for source in sources(&member) {
            let prefix = format!("{member}/src/");
            let Some(inside) = source.path.strip_prefix(&prefix) else {
                continue;
            };
            let mut path: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
            if path.last() == Some(&"mod") {
                path.pop();
            }
            // test modules in files of their own may look anywhere, like inline ones
            if path.last().is_some_and(|name| name.ends_with("tests")) {
                continue;
            }
            let Some(here) = floor(path[0]) else { continue };
            let mut used = BTreeSet::new();
            mentions(source.tokens(), path.len(), &mut used);
            for name in used {
                if floor(&name).is_some_and(|there| there > here) {
                    faults.push(format!(
                        "{}: uses crate::{name}, which {member}/src/lib.rs lists above `{}`'s floor",
                        source.path, path[0]
                    ));
                }
            }
        }
    }
    none(faults);
}

/// Modules in the order in which a file declares them.
fn modules(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens
        .windows(2)
        .filter_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect()
}

/// What `pub use module::{…}` makes known under the crate's root: name → module.
fn exports(tokens: TokenStream) -> BTreeMap<String, String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut known = BTreeMap::new();
    for at in 0..tokens.len() {
        let [TokenTree::Ident(word), TokenTree::Ident(module)] =
            &tokens[at..(at + 2).min(tokens.len())]
        else {
            continue;
        };
        if word == "use" && is_path(&tokens, at + 2) {
            let mut names = BTreeSet::new();
            first_names(tokens.get(at + 4), &mut names);
            known.extend(names.into_iter().map(|name| (name, module.to_string())));
        }
    }
    known
}

/// Collects what stands after `crate::`, or after enough `super::` to mean the same, in code
/// that is not for tests only. `depth`: how deep the module lies under the crate's root.
fn mentions(tokens: TokenStream, depth: usize, used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(hash) if hash.as_char() == '#' && is_test_only(tokens.get(at + 1)) => {
                at = after_item(&tokens, at);
                continue;
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                    mentions(body.stream(), depth + 1, used);
                    at += 3;
                    continue;
                }
            }
            TokenTree::Ident(word) if word == "crate" && is_path(&tokens, at + 1) => {
                first_names(tokens.get(at + 3), used);
                at += 3;
                continue;
            }
            TokenTree::Ident(word) if word == "super" && is_path(&tokens, at + 1) => {
                let mut up = 1;
                at += 3;
                while matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "super")
                    && is_path(&tokens, at + 1)
                {
                    up += 1;
                    at += 3;
                }
                if up >= depth {
                    first_names(tokens.get(at), used);
                }
                continue;
            }
            TokenTree::Group(group) => mentions(group.stream(), depth, used),
            _ => {}
        }
        at += 1;
    }
}

/// `::` at that place.
fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// `[cfg(test)]` after a `#`.
fn is_test_only(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group))
        if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The place after the item whose first attribute is at `at`.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(end) if end.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}

/// The first name of a path, or of each path in `{…}`.
fn first_names(token: Option<&TokenTree>, used: &mut BTreeSet<String>) {
    match token {
        Some(TokenTree::Ident(name)) => {
            used.insert(name.to_string());
        }
        Some(TokenTree::Group(group)) => {
            let mut begins = true;
            for token in group.stream() {
                match &token {
                    TokenTree::Ident(name) if begins => {
                        used.insert(name.to_string());
                        begins = false;
                    }
                    TokenTree::Punct(comma) if comma.as_char() == ',' => begins = true,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_slope_is_read_as_the_compiler_reads_it() {
    let text = r#"
        //! crate::in_a_comment
        use crate::{alpha::A, beta};
        fn f() { let s = "crate::in_text"; super::gamma::g(); super::super::delta::d() }
        mod inner { use super::super::super::epsilon; use super::near; }
        pub(crate) struct S;
        #[cfg(test)]
        mod tests { use crate::only_in_tests; }
        use crate::zeta;
    "#;
    let mut used = BTreeSet::new();
    mentions(text.parse().unwrap(), 2, &mut used);
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, ["alpha", "beta", "delta", "epsilon", "zeta"]);
    let floors = "#![x] pub mod b; mod a; pub use a::mod_of;"
        .parse()
        .unwrap();
    assert_eq!(modules(floors), ["b", "a"]);
    let known = exports("pub use b::{C, d}; pub use a::E;".parse().unwrap());
    assert_eq!(known["C"], "b");
    assert_eq!(known["d"], "b");
    assert_eq!(known["E"], "a");
}

/// Whether the words stand next to each other somewhere, `::` between them left out.
fn has_path(tokens: TokenStream, words: &[&str]) -> bool {
    let tokens: Vec<TokenTree> = tokens
        .into_iter()
        .filter(|token| !matches!(token, TokenTree::Punct(p) if p.as_char() == ':'))
        .collect();
    let here = tokens.windows(words.len()).any(|window| {
        window
            .iter()
            .zip(words)
            .all(|(token, word)| matches!(token, TokenTree::Ident(name) if name == word))
    });
    here || tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_path(group.stream(), words),
        _ => false,
    })
}

#[test]
fn one_file_spawns_processes() {
    let spawners = all_sources().into_iter().filter_map(|source| {
        let in_tests = source.path.contains("/tests/") || source.path.ends_with("tests.rs");
        let allowed = in_tests
            || SPAWNERS
                .iter()
                .any(|(path, _)| source.path.starts_with(path));
        let spawns = !allowed && has_path(source.tokens(), &["Command", "new"]);
        spawns.then(|| format!("{}: only {} spawns processes", source.path, SPAWNERS[0].0))
    });
    none(spawners.collect());
    assert!(
        root().join(SPAWNERS[0].0).is_file(),
        "{} has moved",
        SPAWNERS[0].0
    );
}

#[test]
fn one_crate_names_the_database() {
    let mut faults = Vec::new();
    // unify has no code; it lists every dependency so that all builds agree on features
    let may = ["common/kv", "common/unify"];
    for member in crates()
        .iter()
        .filter(|member| !may.contains(&member.as_str()))
    {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        if manifest.lines().any(|line| line.starts_with("rocksdb")) {
            faults.push(format!("{member} depends on rocksdb"));
        }
        for source in sources(member) {
            if uses_crate(source.tokens(), "rocksdb") {
                faults.push(format!("{} names rocksdb", source.path));
            }
        }
    }
    none(faults);
}

/// Whether a path starts with that crate's name.
fn uses_crate(tokens: TokenStream, name: &str) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Ident(word) => word == name && is_path(&tokens, at + 1),
        TokenTree::Group(group) => uses_crate(group.stream(), name),
        _ => false,
    })
}

#[test]
fn one_adapter_speaks_to_the_node() {
    let speakers = sources("damocles-manager")
        .into_iter()
        .filter_map(|source| {
            let allowed = source.path.starts_with("damocles-manager/src/chain/")
                || source.path.starts_with("damocles-manager/tests/");
            let speaks = !allowed && source.text.contains("\"Filecoin.");
            speaks.then(|| format!("{}: only src/chain/ names node methods", source.path))
        });
    none(speakers.collect());
}

#[test]
fn the_flow_tables_do_no_io() {
    let manifest = fs::read_to_string(root().join("common/flow/Cargo.toml")).unwrap();
    let mut faults: Vec<String> = ["tokio", "reqwest", "jsonrpsee", "rustix", "libc", "tracing"]
        .into_iter()
        .filter(|name| manifest.lines().any(|line| line.starts_with(name)))
        .map(|name| format!("common/flow depends on {name}"))
        .collect();
    for source in sources("common/flow") {
        if !source.path.starts_with("common/flow/src/") {
            continue; // the tests read docs/flows
        }
        for part in ["fs", "net", "process", "io", "time", "env", "thread"] {
            if has_path(source.tokens(), &["std", part]) {
                faults.push(format!("{} uses std::{part}", source.path));
            }
        }
    }
    none(faults);
}

#[test]
fn daemons_do_not_prove() {
    // what computes for minutes; verification is short and may stay in the process
    let computes = [
        "seal_pre_commit_phase1",
        "seal_pre_commit_phase2",
        "seal_commit_phase1",
        "seal_commit_phase2",
        "generate_window_post",
        "generate_winning_post",
        "generate_synth_proofs",
        "encode_into",
        "generate_empty_sector_update_proof",
        "unseal_range",
    ];
    let mut faults = Vec::new();
    for member in ["damocles-manager", "damocles-worker"] {
        for source in sources(member) {
            for name in computes {
                if has_path(source.tokens(), &[name]) {
                    faults.push(format!(
                        "{}: {name} belongs into a child process",
                        source.path
                    ));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn every_law_names_a_test_that_exists() {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut guards: BTreeMap<u32, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut law = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("**Law ") {
            law = title
                .split('.')
                .next()
                .and_then(|number| number.parse().ok());
        }
        let Some(rest) = line.trim_start().strip_prefix("Guard: ") else {
            continue;
        };
        let Some(number) = law else {
            faults.push(format!("a guard without a law: {line}"));
            continue;
        };
        let quoted: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let [path, tests @ ..] = quoted.as_slice() else {
            faults.push(format!("law {number}: no path in {line:?}"));
            continue;
        };
        let Ok(source) = fs::read_to_string(root().join(path)) else {
            faults.push(format!("law {number}: {path} does not exist"));
            continue;
        };
        if tests.is_empty() {
            faults.push(format!("law {number}: no test named for {path}"));
        }
        for test in tests {
            if is_test(&source, test) {
                *guards.entry(number).or_default() += 1;
            } else {
                faults.push(format!("law {number}: {path} has no test {test}"));
            }
        }
    }
    for number in 1..=12 {
        if !guards.contains_key(&number) {
            faults.push(format!("law {number} has no test that guards it"));
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
