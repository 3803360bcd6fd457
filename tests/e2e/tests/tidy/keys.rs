//! Every `[Section] Key` that people are told exists in the configurations' declarations, as
//! the generated reference pages print them.

use crate::{
    none,
    text::{Run, read, told},
};
use std::collections::BTreeMap;

const PAGES: [&str; 2] = ["docs/config-manager.md", "docs/config-worker.md"];

/// Sections and their keys. `<stage>` and the like stand for any word.
struct Keys(BTreeMap<String, Vec<String>>);

impl Keys {
    fn parse<'a>(pages: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut here = None;
        for line in pages.into_iter().flat_map(str::lines) {
            let first = line.split('`').nth(1).unwrap_or_default();
            if line.starts_with("## ") {
                here = first
                    .starts_with('[')
                    .then(|| first.trim_matches(['[', ']']).to_owned());
                if let Some(section) = &here {
                    sections.entry(section.clone()).or_default();
                }
            } else if line.starts_with("| `") {
                match &here {
                    Some(section) => sections.get_mut(section).unwrap().push(first.to_owned()),
                    // upstream's keys that load without effect, by their whole path
                    None => {
                        if let Some((section, key)) = first.rsplit_once('.') {
                            let keys = sections.entry(section.to_owned()).or_default();
                            keys.push(key.to_owned());
                        }
                    }
                }
            }
        }
        Self(sections)
    }

    fn roots(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|s| s.split('.').next().unwrap())
    }

    /// Whether it is a section, or the way to one.
    fn section(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('.').collect();
        let leads = |known: &str| {
            let known: Vec<&str> = known.split('.').collect();
            path.len() <= known.len() && path.iter().zip(&known).all(|(p, k)| same(p, k))
        };
        self.0.iter().any(|(section, keys)| {
            leads(section)
                || keys.iter().any(|key| {
                    let part = key.rsplit_once('.').map_or("", |(part, _)| part);
                    let whole = format!("{section}.{key}");
                    leads(&format!("{section}.{part}")) || whole == path.join(".")
                })
        })
    }

    /// Whether the section, or one of its part that is written with dots, has the key.
    fn key(&self, section: &str, key: &str) -> bool {
        let whole = format!("{section}.{key}");
        // a whole table of upstream's that loads without effect
        let without_effect = section.rsplit_once('.').is_some_and(|(s, k)| {
            self.0
                .get(s)
                .is_some_and(|keys| keys.iter().any(|n| n == k))
        });
        without_effect
            || self.section(&whole)
            || self.0.iter().any(|(known, keys)| {
                keys.iter().any(|k| {
                    let known = format!("{known}.{k}");
                    let known: Vec<&str> = known.split('.').collect();
                    let whole: Vec<&str> = whole.split('.').collect();
                    known.len() == whole.len() && whole.iter().zip(&known).all(|(w, k)| same(w, k))
                })
            })
    }

    /// What is wrong with the keys that a text names.
    fn faults(&self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, _) in text.match_indices('[') {
            if text[..at].ends_with('[') {
                continue;
            }
            let rest = text[at..].trim_start_matches('[');
            let Some(end) = rest.find(']') else { continue };
            let section = &rest[..end];
            if !self
                .roots()
                .any(|root| section.split('.').next() == Some(root))
            {
                continue;
            }
            if !self.section(section) {
                faults.push(format!("no section [{section}]"));
                continue;
            }
            // [Section] Key
            let after = rest[end..].trim_start_matches([']', '`']);
            if let Some(word) = after.strip_prefix(' ').and_then(|a| a.split(' ').next()) {
                let word = word.trim_matches(['`', '.', ',', ';', ':', ')', '(']);
                if is_key(word) && !self.key(section, word) {
                    faults.push(format!("[{section}] has no key {word}"));
                }
            }
            // Key of [Section]
            let before = text[..at].trim_end_matches(['[', '`']);
            if let Some(word) = before
                .strip_suffix(" of ")
                .and_then(|b| b.rsplit(' ').next())
            {
                let word = word.trim_matches(['`', '(']);
                if is_key(word) && !self.key(section, word) {
                    faults.push(format!("[{section}] has no key {word}"));
                }
            }
        }
        // Common.API.Chain, Miners.PoSt.Sender
        for word in text.split(|c: char| !c.is_alphanumeric() && !"._[".contains(c)) {
            let word = word.trim_matches('.');
            if word.contains('[') {
                continue; // looked at above
            }
            let mut parts = word.split('.');
            let manager = matches!(parts.next(), Some("Common" | "Miners"));
            if manager
                && parts.next().is_some()
                && let Some((section, key)) = word.rsplit_once('.')
                && !self.key(section, key)
            {
                faults.push(format!("no key {word}"));
            }
        }
        faults
    }
}

/// Whether a word can only be a key: no plain word of a sentence looks so.
fn is_key(word: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let inner_capital = word.chars().skip(1).any(|c| c.is_ascii_uppercase());
    !word.is_empty() && word.chars().all(letters) && (word.contains(['_', '.']) || inner_capital)
}

/// A part of a path against one of a declaration.
fn same(word: &str, known: &str) -> bool {
    known.starts_with('<') || word == "…" || word.starts_with(['<', '{']) || word == known
}

fn declared() -> Keys {
    let pages: Vec<String> = PAGES.iter().map(|page| read(page)).collect();
    Keys::parse(pages.iter().map(String::as_str))
}

#[test]
fn every_key_that_people_are_told_exists() {
    let keys = declared();
    let mut all = Vec::new();
    for Run { place, text } in told() {
        for fault in keys.faults(&text) {
            all.push(format!("{place}: {fault}: {text}"));
        }
    }
    none(all);
}

#[test]
fn keys_are_found_in_sentences() {
    let keys = Keys::parse([
        "## `[worker]`\n| `name` |\n## `[worker.rpc_server]`\n| `token_secret_file` |\n## `[[processors.<stage>]]`\n| `bin` |\n| `cgroup.cpuset` |\n",
        "## `[[Miners]]`\n## `[Miners.Sealing]`\n| `UseSyntheticPoRep` |\n## Keys of upstream\n| `Common.API.Messager` |\n",
    ]);
    for right in [
        "[worker] rpc_server.token_secret_file",
        "UseSyntheticPoRep of [Miners.Sealing] at the manager",
        "set kernel in [[processors.pc1]] and [[processors.{stage}]] cgroup.cpuset",
        "Common.API.Messager does nothing",
        "[worker] of this host; x[i] and [T]",
    ] {
        assert_eq!(keys.faults(right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "UseSyntheticPoRep of [Miners.Sector] at the manager",
        "[worker] token_secret_file",
        "[[processors.pc1]] cgroup.cpus",
        "set Common.API.Chian",
        "[worker.rpc]",
    ] {
        assert_eq!(keys.faults(wrong).len(), 1, "{wrong}");
    }
}
