//! The figures, as a table and as JSON.

use super::{Wish, load::Load};
use comfy_table::Table;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub engine: &'static str,
    /// Finished sectors with their history.
    pub sectors: u64,
    pub threads: u64,
    /// As many were asked for, and as many were answered.
    pub asked_per_s: u64,
    pub calls_per_s: f64,
    pub p50_ms: BTreeMap<&'static str, f64>,
    pub p99_ms: BTreeMap<&'static str, f64>,
    /// A page of 100 finished sectors: median of some in a row.
    pub page_ms: f64,
    pub start_s: f64,
    pub rss_mib: f64,
    /// The first report of every thread after a restart.
    pub burst_s: f64,
    pub import_s: f64,
}

fn at(sorted: &[Duration], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1)) as f64 * share;
    let found = sorted.get(place.round() as usize).copied();
    found.unwrap_or_default().as_secs_f64() * 1000.0
}

impl Report {
    pub(super) fn new(
        wish: &Wish,
        load: &Load,
        page_ms: f64,
        start_s: f64,
        rss: u64,
        import_s: f64,
        burst_s: f64,
    ) -> Self {
        let (mut p50_ms, mut p99_ms) = (BTreeMap::new(), BTreeMap::new());
        let mut calls = 0;
        for (method, took) in &load.took {
            let mut sorted = took.clone();
            sorted.sort();
            calls += sorted.len();
            p50_ms.insert(*method, at(&sorted, 0.5));
            p99_ms.insert(*method, at(&sorted, 0.99));
        }
        Self {
            engine: if wish.dsn.is_some() {
                "postgres"
            } else {
                "rocksdb"
            },
            sectors: wish.sectors,
            threads: wish.threads,
            asked_per_s: wish.pace,
            calls_per_s: calls as f64 / load.lasted.as_secs_f64(),
            p50_ms,
            p99_ms,
            page_ms,
            start_s,
            rss_mib: rss as f64 / f64::from(1 << 20),
            burst_s,
            import_s,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.set_header(["call", "p50, ms", "p99, ms"]);
        for (method, p50) in &self.p50_ms {
            let p99 = self.p99_ms.get(method).copied().unwrap_or_default();
            table.add_row([
                (*method).to_owned(),
                format!("{p50:.1}"),
                format!("{p99:.1}"),
            ]);
        }
        writeln!(
            f,
            "{}: {} finished sectors, {} threads, {:.0} of {} calls a second answered\n{table}",
            self.engine, self.sectors, self.threads, self.calls_per_s, self.asked_per_s
        )?;
        write!(
            f,
            "page of 100: {:.1} ms · start: {:.1} s · memory: {:.0} MiB · {} first reports: {:.1} s · import: {:.0} s",
            self.page_ms, self.start_s, self.rss_mib, self.threads, self.burst_s, self.import_s
        )
    }
}
