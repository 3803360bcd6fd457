//! The house rules that a program can check: files, slope, doors, laws and their guards, and that
//! what people are told (a command, a key, a path, an arrow in a drawing) exists.

mod circles;
mod commands;
mod dependencies;
mod doors;
mod files;
mod keys;
mod laws;
mod metrics;
mod mutants;
mod paths;
mod picture;
mod policy;
mod slope;
mod text;
mod units;

use proc_macro2::TokenStream;
use std::{
    fs,
    path::{Path, PathBuf},
};

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
