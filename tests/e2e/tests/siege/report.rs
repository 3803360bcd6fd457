//! What came of each case, as a table for people and as JSON for whoever compares.

use crate::witness::{Asked, Most};
use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::{fs, path::PathBuf, time::Duration};

/// One case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// The daemon that was attacked.
    pub(crate) of: &'static str,
    /// Questions of the well-behaved, and how many had no answer.
    pub(crate) asked: usize,
    pub(crate) failed: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) peak_mib: u64,
    pub(crate) after_mib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Numbers handed out meanwhile.
    pub(crate) numbers: usize,
    pub(crate) what: String,
}

impl Row {
    pub(crate) fn new(case: &str, of: &'static str, asked: &[Asked], most: Most) -> Self {
        let mut took: Vec<Duration> = asked.iter().map(|asked| asked.took).collect();
        took.sort();
        let ms = |share: f64| {
            let at = (took.len() as f64 * share) as usize;
            let took = took.get(at.min(took.len().saturating_sub(1)));
            took.map_or(0.0, |took| (took.as_secs_f64() * 1e4).round() / 10.0)
        };
        Self {
            case: case.to_owned(),
            of,
            asked: asked.len(),
            failed: asked.iter().filter(|asked| asked.failed.is_some()).count(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            max_ms: ms(1.0),
            peak_mib: most.rss >> 20,
            after_mib: 0,
            descriptors: most.descriptors,
            threads: most.threads,
            numbers: 0,
            what: String::new(),
        }
    }
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) cases: Vec<Row>,
    /// Files that were damaged before a start, and what the daemon said.
    pub(crate) damages: Vec<(String, String)>,
    /// Windows in which a WindowPoSt of the proven sector was due, and came.
    pub(crate) windows: usize,
    pub(crate) numbers: usize,
    pub(crate) faults: Vec<String>,
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header([
            "case",
            "of",
            "asked",
            "failed",
            "p50 ms",
            "p99 ms",
            "max ms",
            "peak MiB",
            "after MiB",
            "fds",
            "threads",
            "numbers",
            "what was done",
        ]);
        for row in &self.cases {
            table.add_row([
                row.case.clone(),
                row.of.to_owned(),
                row.asked.to_string(),
                row.failed.to_string(),
                row.p50_ms.to_string(),
                row.p99_ms.to_string(),
                row.max_ms.to_string(),
                row.peak_mib.to_string(),
                row.after_mib.to_string(),
                row.descriptors.to_string(),
                row.threads.to_string(),
                row.numbers.to_string(),
                row.what.clone(),
            ]);
        }
        let mut text = format!("{}\n\n{table}\n", self.machine);
        if !self.damages.is_empty() {
            let mut table = Table::new();
            table
                .load_preset(presets::ASCII_MARKDOWN)
                .set_header(["damage before a start", "outcome"]);
            for (damage, outcome) in &self.damages {
                table.add_row([damage, outcome]);
            }
            text.push_str(&format!("\n{table}\n"));
        }
        let (numbers, windows) = (self.numbers, self.windows);
        text.push_str(&format!(
            "\n{numbers} numbers handed out; {windows} windows of the proven sector, a WindowPoSt in each\n"
        ));
        for fault in &self.faults {
            text.push_str(&format!("FAULT: {fault}\n"));
        }
        text
    }

    /// Writes `siege/report.json` into the target directory that this program lies in.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(3).context("a target directory")?;
        let dir = target.join("siege");
        fs::create_dir_all(&dir)?;
        let path = dir.join("report.json");
        fs::write(&path, serde_json::to_string_pretty(self)?)?;
        Ok(path)
    }
}

/// Cores and their kind.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} cores, {}; load at the begin {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        model.map_or("of an unknown kind", |(_, model)| model),
        load.split(' ').next().unwrap_or_default(),
    )
}
