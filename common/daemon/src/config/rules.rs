//! Which keys a file may have: the struct's own, those known from elsewhere, and what to say
//! about all others.

use super::fault::{Fault, Notice, Report};
use std::{cell::RefCell, collections::BTreeSet, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// What becomes of a key that is known by name but not acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Left out with a notice.
    Ignored,
    /// A fault when it is switched on (true, not zero, not empty): leaving it out would change
    /// what happens. A notice otherwise.
    RefusedWhenOn,
}

/// A key (or whole table) that was or will be known.
#[derive(Clone, Copy, Debug)]
pub struct Legacy {
    /// Dotted path without indices, `Miners.SnapUp.Enabled`; a table's entry covers all in it.
    pub path: &'static str,
    /// Reads after the key: "was retired in …", "is not supported by this version yet".
    pub note: &'static str,
    pub kept: Kept,
}

/// How a file's keys are matched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Keys match whatever their case (an exact match wins).
    pub fold_case: bool,
    pub legacy: &'static [Legacy],
}

impl Rules {
    pub(super) fn same(&self, a: &str, b: &str) -> bool {
        a == b || (self.fold_case && a.eq_ignore_ascii_case(b))
    }

    fn legacy(&self, path: &str) -> Option<&'static Legacy> {
        let path = without_indices(path);
        self.legacy.iter().find(|l| self.same(l.path, &path))
    }

    fn legacy_below(&self, path: &str) -> Vec<&'static str> {
        let path = without_indices(path);
        let below = |l: &&'static Legacy| {
            l.path.len() > path.len() + 1
                && l.path.as_bytes()[path.len()] == b'.'
                && self.same(&l.path[..path.len()], &path)
        };
        let next = |l: &'static Legacy| l.path[path.len() + 1..].split('.').next().unwrap_or("");
        self.legacy.iter().filter(below).map(next).collect()
    }
}

pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        Self(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(i, _)| i)
                .collect(),
        )
    }

    pub(super) fn of(&self, byte: usize) -> usize {
        self.0.partition_point(|newline| *newline < byte) + 1
    }
}

fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// ` (did you mean "X"?)` or the list of what there is.
pub(super) fn nearest(word: &str, known: &[&str]) -> String {
    let low = word.to_ascii_lowercase();
    let best = known
        .iter()
        .map(|k| (strsim::jaro_winkler(&low, &k.to_ascii_lowercase()), *k))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, key)) if likeness > 0.8 => format!("; did you mean {key:?}?"),
        _ if known.is_empty() => String::new(),
        _ => {
            let mut known: Vec<&str> = known.to_vec();
            known.dedup();
            format!("; known here: {}", known.join(", "))
        }
    }
}

pub(super) struct Reader<'r> {
    pub(super) rules: &'r Rules,
    pub(super) lines: &'r Lines,
    pub(super) found: RefCell<Report>,
    /// Paths whose values had a fault.
    pub(super) skip: RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    pub(super) fn fault(&self, span: &Range<usize>, key: &str, message: String) {
        self.found.borrow_mut().faults.push(Fault {
            line: Some(self.lines.of(span.start)),
            key: key.to_owned(),
            message,
        });
    }

    pub(super) fn place(&self, span: &Range<usize>, key: &str) {
        self.found
            .borrow_mut()
            .lines
            .insert(key.to_owned(), self.lines.of(span.start));
    }

    /// A key that the struct does not have: known from elsewhere, or a fault.
    pub(super) fn foreign(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        path: String,
        node: &Node<'_>,
        known: &[&str],
    ) {
        if let Some(legacy) = self.rules.legacy(&path) {
            let on = legacy.kept == Kept::RefusedWhenOn && is_on(node.get_ref());
            if on {
                self.fault(
                    &key.span(),
                    &path,
                    format!("this {}; switch it off or remove it", legacy.note),
                );
            } else {
                let notice = Notice {
                    line: self.lines.of(key.span().start),
                    key: path,
                    message: format!("{}, ignored", legacy.note),
                };
                self.found.borrow_mut().notices.push(notice);
            }
            return;
        }
        let below = self.rules.legacy_below(&path);
        if below.is_empty() {
            let message = format!("unknown key{}", nearest(key.get_ref(), known));
            self.fault(&key.span(), &path, message);
            return;
        }
        let tables: Vec<(String, &DeTable<'_>)> = match node.get_ref() {
            DeValue::Table(table) => vec![(path, table)],
            DeValue::Array(list) => list
                .iter()
                .enumerate()
                .filter_map(|(i, item)| Some((format!("{path}[{i}]"), item.get_ref().as_table()?)))
                .collect(),
            _ => {
                let message = format!("this is a table; write [{}]", without_indices(&path));
                self.fault(&key.span(), &path, message);
                return;
            }
        };
        for (path, table) in tables {
            for (key, node) in table {
                self.foreign(key, join(&path, key.get_ref()), node, &below);
            }
        }
    }
}

/// Whether a switch, number, text or list says anything but "off".
fn is_on(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Boolean(b) => *b,
        DeValue::Integer(n) => n.as_str() != "0",
        DeValue::Float(f) => f.as_str().parse::<f64>() != Ok(0.0),
        DeValue::String(s) => !s.is_empty(),
        DeValue::Array(list) => list.iter().any(|v| is_on(v.get_ref())),
        DeValue::Table(table) => table.values().any(|v| is_on(v.get_ref())),
        DeValue::Datetime(_) => true,
    }
}
