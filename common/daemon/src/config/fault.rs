//! What is wrong with a configuration file, gathered and shown together.

use crate::exit::{Exit, Fatal};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// One fault: where, what, and what the operator probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line in the file, from 1; None when it is about something that is not there.
    pub line: Option<usize>,
    /// Dotted path of the key, `Miners[0].Actor`; empty for the file as such.
    pub key: String,
    pub message: String,
}

/// Something ignored that the operator should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub line: usize,
    pub key: String,
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} {}", self.line, self.key, self.message)
    }
}

/// All faults of one file, in the order of its lines.
#[derive(Clone, Debug)]
pub struct Faults {
    pub file: PathBuf,
    found: BTreeMap<(usize, String), Fault>,
}

impl Faults {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            found: BTreeMap::new(),
        }
    }

    /// Notes a fault; the first one of a key at a line is kept, later ones are mostly its echo.
    pub fn push(&mut self, fault: Fault) {
        let place = fault.line.unwrap_or(usize::MAX);
        self.found
            .entry((place, fault.key.clone()))
            .or_insert(fault);
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.found.values()
    }

    pub(super) fn about(&self, key: &str) -> bool {
        self.found.values().any(|f| f.key == key)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.found.len() > 1 {
            write!(f, "{} faults in {file}", self.found.len())?;
        }
        for fault in self.found.values() {
            if self.found.len() > 1 {
                f.write_str("\n  ")?;
            }
            match fault.line {
                Some(line) => write!(f, "{file}:{line}: ")?,
                None => write!(f, "{file}: ")?,
            }
            if !fault.key.is_empty() {
                write!(f, "{}: ", fault.key)?;
            }
            f.write_str(&fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl From<Faults> for Fatal {
    fn from(faults: Faults) -> Self {
        let hint = format!(
            "correct the file, then check it with --config-check; nothing was started ({})",
            if faults.found.len() > 1 {
                "all faults are listed"
            } else {
                "it is the only fault"
            },
        );
        Fatal::new(Exit::Config, faults).hint(hint)
    }
}

/// What reading a file brought to light, and where its keys stand, so that later checks can
/// name the line too.
#[derive(Clone, Debug)]
pub struct Report {
    pub faults: Faults,
    pub notices: Vec<Notice>,
    pub(super) lines: BTreeMap<String, usize>,
    /// The file that this one is laid over.
    pub(super) under: Option<Under>,
}

/// A file under another one.
#[derive(Clone, Debug)]
pub(super) struct Under {
    /// What it is called: `the profile "epyc"`.
    name: String,
    lines: BTreeMap<String, usize>,
}

/// The key's line, or that of the nearest table around it, with how much of the key it is of.
fn nearest(lines: &BTreeMap<String, usize>, key: &str) -> Option<(usize, usize)> {
    let mut key = key;
    loop {
        if let Some(line) = lines.get(key) {
            return Some((key.len(), *line));
        }
        key = &key[..key.rfind(['.', '['])?];
    }
}

impl Report {
    /// Notes a fault about a key (`Miners[0].PoSt.Confidence`). Its line is the key's, or the
    /// nearest enclosing table's. Nothing is added when the key has a fault already.
    pub fn fault(&mut self, key: &str, message: impl fmt::Display) {
        if !self.faults.about(key) {
            let (line, message) = match self.of_under(key) {
                Some((name, line)) => (None, format!("{message} ({name}, line {line})")),
                None => (self.line(key), message.to_string()),
            };
            self.faults.push(Fault {
                line,
                key: key.to_owned(),
                message,
            });
        }
    }

    /// Where a key stands that only the file below has.
    fn of_under(&self, key: &str) -> Option<(&str, usize)> {
        let under = self.under.as_ref()?;
        let (depth, line) = nearest(&under.lines, key)?;
        let own = nearest(&self.lines, key).map_or(0, |(depth, _)| depth);
        (depth > own).then_some((under.name.as_str(), line))
    }

    /// This file laid over another one. `moved` says under which key one of this file stands then,
    /// `keeps` whether one of the other still does; what is wrong with the other is told as well,
    /// with its name before the key.
    pub fn laid_over(
        mut self,
        under: Self,
        name: &str,
        moved: impl Fn(&str) -> String,
        keeps: impl Fn(&str) -> bool,
    ) -> Self {
        for fault in under.faults.iter() {
            let line = fault
                .line
                .map_or_else(String::new, |n| format!(", line {n}"));
            self.faults.push(Fault {
                line: None,
                key: format!("{name}{line}: {}", fault.key),
                message: fault.message.clone(),
            });
        }
        for notice in under.notices {
            self.notices.push(Notice {
                key: format!("{}, {name}:", notice.key),
                ..notice
            });
        }
        let lines = std::mem::take(&mut self.lines);
        self.lines = lines.into_iter().map(|(key, n)| (moved(&key), n)).collect();
        let mut lines = under.lines;
        lines.retain(|key, _| keeps(key));
        self.under = Some(Under {
            name: name.to_owned(),
            lines,
        });
        self
    }

    /// Notes that something about a key is left out.
    pub fn notice(&mut self, key: &str, message: impl fmt::Display) {
        self.notices.push(Notice {
            line: self.line(key).unwrap_or(0),
            key: key.to_owned(),
            message: message.to_string(),
        });
    }

    /// The line on which a key stands, or the nearest table around it.
    pub fn line(&self, key: &str) -> Option<usize> {
        nearest(&self.lines, key).map(|(_, line)| line)
    }

    /// The line of a key in this file, if it stands there itself.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }

    /// The same in the file below.
    pub fn line_under(&self, key: &str) -> Option<usize> {
        self.under.as_ref()?.lines.get(key).copied()
    }

    /// Ends the check: all faults, or nothing.
    pub fn finish(self) -> Result<Vec<Notice>, Faults> {
        if self.faults.is_empty() {
            Ok(self.notices)
        } else {
            Err(self.faults)
        }
    }
}
