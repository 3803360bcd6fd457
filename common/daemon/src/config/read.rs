//! Reads a file in rounds: each round stops at the first value that does not fit, notes it,
//! and the next round leaves it out; so all faults are found.

use super::{
    fault::{Fault, Faults, Report},
    rules::{Lines, Reader, Rules, join},
    tree::At,
};
use crate::exit::{Exit, Fatal};
use serde::de::DeserializeOwned;
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Reads and checks a file.
///
/// # Errors
/// [`Exit::Config`] when the file cannot be read at all; faults inside are in the [`Report`].
pub fn parse_file<T: DeserializeOwned>(
    path: &Path,
    rules: &Rules,
) -> Result<(Option<T>, Report), Fatal> {
    Ok(parse(path, &text_of(path)?, rules))
}

/// The text of a configuration file.
///
/// # Errors
/// [`Exit::Config`] when it cannot be read.
pub fn text_of(path: &Path) -> Result<String, Fatal> {
    // a pipe or a device may give nothing for ever, or never end
    if std::fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        let what = format!("the configuration {} is not a file", path.display());
        return Err(Fatal::new(Exit::Config, what)
            .hint("give the path of a file; what a program prints must be put into one first"));
    }
    std::fs::read_to_string(path).map_err(|e| {
        let fatal = Fatal::new(
            Exit::Config,
            format!(
                "the configuration file {} cannot be read: {e}",
                path.display()
            ),
        );
        match e.kind() {
            std::io::ErrorKind::NotFound => {
                fatal.hint("give its path; config-examples/ has files to start from, and `damocles-manager daemon init` writes a commented one for the manager")
            }
            _ => fatal.hint("let the daemon's user read it"),
        }
    })
}

/// Checks a file's text. The value is there when the text could be read as `T` at all, with
/// faulty keys left out; whoever uses it must first look whether the report has faults.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str, rules: &Rules) -> (Option<T>, Report) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text);
    let mut faults = Faults::new(path.to_owned());
    for error in &errors {
        faults.push(Fault {
            line: error.span().map(|s| lines.of(s.start)),
            key: String::new(),
            message: format!("not TOML: {}", error.message()),
        });
    }
    let mut report = Report {
        faults,
        notices: Vec::new(),
        lines: BTreeMap::new(),
        under: None,
    };
    if !errors.is_empty() {
        return (None, report);
    }
    let span = root.span();
    let mut root = root.into_inner();
    if rules.fold_case {
        merge_by_case(&mut root, "", &mut |key: &Spanned<_>, path| {
            report.faults.push(Fault {
                line: Some(lines.of(key.span().start)),
                key: path,
                message: "given twice".to_owned(),
            });
        });
    }
    let root = Spanned::new(span, DeValue::Table(root));
    let reader = Reader {
        rules,
        lines: &lines,
        found: RefCell::new(report.clone()),
        skip: RefCell::new(BTreeSet::new()),
    };
    // Each round stops at the first value that does not fit; it is left out of the next one.
    let value = loop {
        let at = At {
            reader: &reader,
            node: &root,
            path: String::new(),
        };
        match T::deserialize(at) {
            Ok(value) => break Some(value),
            Err(error) => {
                let (key, line) = error.place.unwrap_or_default();
                reader.found.borrow_mut().faults.push(Fault {
                    line: Some(line).filter(|l| *l > 0),
                    key: key.clone(),
                    message: error.message,
                });
                if key.is_empty() || !reader.skip.borrow_mut().insert(key) {
                    break None;
                }
            }
        }
    };
    report = reader.found.into_inner();
    report.notices.sort_by_key(|n| n.line);
    report.notices.dedup();
    (value, report)
}

/// Makes one table of those whose names differ in case only, as `[Common.API]` and
/// `[[common.PersistStores]]` have it; a key that stands in both is a fault.
fn merge_by_case<'a>(
    table: &mut DeTable<'a>,
    path: &str,
    twice: &mut impl FnMut(&Spanned<Cow<'a, str>>, String),
) {
    let mut entries: Vec<_> = std::mem::take(table).into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut firsts: BTreeMap<String, Spanned<Cow<'a, str>>> = BTreeMap::new();
    for (key, mut node) in entries {
        let full = join(path, key.get_ref());
        let first = firsts
            .entry(key.get_ref().to_ascii_lowercase())
            .or_insert_with(|| key.clone());
        let same = table
            .get_mut(first.get_ref().as_ref())
            .map(Spanned::get_mut);
        match (same, node.get_mut()) {
            (Some(DeValue::Table(into)), DeValue::Table(from)) => {
                for (key, node) in std::mem::take(from) {
                    if into.contains_key(key.get_ref().as_ref()) {
                        twice(&key, join(&full, key.get_ref()));
                    } else {
                        into.insert(key, node);
                    }
                }
            }
            // two values: both stay, for the struct's reader to complain with both lines
            _ => {
                table.insert(key, node);
            }
        }
    }
    for (key, node) in table.iter_mut() {
        let full = join(path, key.get_ref());
        match node.get_mut() {
            DeValue::Table(inner) => merge_by_case(inner, &full, twice),
            DeValue::Array(list) => {
                for inner in list.iter_mut().filter_map(|v| match v.get_mut() {
                    DeValue::Table(inner) => Some(inner),
                    _ => None,
                }) {
                    merge_by_case(inner, &full, twice);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
