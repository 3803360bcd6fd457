//! One door each: who may spawn, name the database, speak to the node, do IO or prove.

use crate::{all_sources, crates, none, root, slope::is_path, sources};
use proc_macro2::{TokenStream, TokenTree};
use std::fs;

/// Where children may be spawned, with the reason. Tests may start the program under test.
const SPAWNERS: [(&str, &str); 3] = [
    ("common/processor/src/parent/child.rs", "the one door"),
    ("tests/e2e/", "starts the daemons under test"),
    ("tests/postgres/", "starts a database server for tests"),
];

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
    for member in crates().iter().filter(|member| *member != "common/kv") {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        for database in ["rocksdb", "tokio-postgres"] {
            if manifest.lines().any(|line| line.starts_with(database)) {
                faults.push(format!("{member} depends on {database}"));
            }
        }
        for source in sources(member) {
            for database in ["rocksdb", "tokio_postgres"] {
                if uses_crate(source.tokens(), database) {
                    faults.push(format!("{} names {database}", source.path));
                }
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

/// Where chains of causes are walked, with the reason.
const WALKERS: [(&str, &str); 2] = [
    ("common/types/src/chain.rs", "the one printer"),
    (
        "damocles-manager/src/chain/endpoint.rs",
        "takes the innermost words of a transport error",
    ),
];

#[test]
fn one_printer_of_error_chains() {
    let walkers = all_sources().into_iter().filter_map(|source| {
        let allowed = WALKERS.iter().any(|(path, _)| *path == source.path);
        let walks = !allowed && calls(source.tokens(), "source");
        walks.then(|| {
            let (door, _) = WALKERS[0];
            format!("{}: only {door} walks down a chain of causes", source.path)
        })
    });
    none(walkers.collect());
}

/// Whether a method of that name is called without arguments.
fn calls(tokens: TokenStream, method: &str) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let here = tokens.windows(3).any(|window| {
        matches!(window, [TokenTree::Punct(dot), TokenTree::Ident(name), TokenTree::Group(of)]
            if dot.as_char() == '.' && name == method && of.stream().is_empty())
    });
    here || tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => calls(group.stream(), method),
        _ => false,
    })
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
        "aggregate_seal_commit_proofs",
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
