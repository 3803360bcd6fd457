//! What came of a campaign, for people and for whoever compares.

use super::ledger::Ledger;
use anyhow::{Context, Result, ensure};
use damocles_e2e::peers::report::write;
use fvm_shared::bigint::BigInt;
use serde::Serialize;
use std::{collections::BTreeSet, path::Path};

/// As `report.json` has it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) periods: u64,
    /// Windows in which something was due.
    pub(crate) deadlines: usize,
    /// Those of which the chain lacks a proof.
    pub(crate) missed: usize,
    /// Messages that proved what was proven.
    pub(crate) duplicates: usize,
    pub(crate) kills: u64,
    pub(crate) faults: BTreeSet<String>,
    pub(crate) expected_faults: BTreeSet<String>,
    /// Of the faulty sectors, those that are healthy at the end.
    pub(crate) recovered: usize,
    /// What was paid beyond the daily fees.
    pub(crate) penalty_atto: u128,
}

impl Report {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write(path, self)
    }

    /// For people.
    pub(crate) fn told(&self, ledger: &Ledger, failed: usize) -> String {
        let mut took: Vec<_> = ledger.closed.iter().filter_map(|c| c.took).collect();
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).copied();
        let shown = |epochs: Option<i64>| epochs.map_or("-".into(), |n| n.to_string());
        let names = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(" ");
        format!(
            "seed {}, {} proving periods, {} kills\n\
             {} deadlines, of which {} were missed\n\
             proofs on chain after {} epochs (median), {} (95 of 100), {} (last)\n\
             {} messages failed on chain and were followed by better ones; {} proved what was proven\n\
             faulty: {}; expected: {}; recovered: {}\n\
             penalties: {} attoFIL",
            self.seed,
            self.periods,
            self.kills,
            self.deadlines,
            self.missed,
            shown(at(50)),
            shown(at(95)),
            shown(took.last().copied()),
            failed,
            self.duplicates,
            names(&self.faults),
            names(&self.expected_faults),
            self.recovered,
            self.penalty_atto,
        )
    }

    /// What must hold.
    pub(crate) fn judge(&self, ledger: &Ledger, duplicates: &[String]) -> Result<()> {
        ensure!(self.deadlines > 0, "no deadline was looked at");
        let missed = ledger.missed();
        ensure!(missed.is_empty(), "missed: {missed:#?}");
        ensure!(duplicates.is_empty(), "sent twice: {duplicates:#?}");
        ensure!(
            self.faults == self.expected_faults,
            "faulty {:?} instead of {:?}",
            self.faults,
            self.expected_faults
        );
        ensure!(
            self.recovered == self.expected_faults.len(),
            "{} of {:?} recovered",
            self.recovered,
            self.expected_faults
        );
        let penalties = ledger.penalties();
        ensure!(
            penalties.len() == ledger.with_faults(),
            "{} windows with a faulty sector cost {penalties:?}",
            ledger.with_faults()
        );
        let mut each: BTreeSet<BigInt> = BTreeSet::new();
        for (sectors, paid) in &penalties {
            ensure!(!sectors.is_empty(), "{paid} attoFIL for no faulty sector");
            let theirs = sectors
                .iter()
                .all(|s| self.expected_faults.contains(&s.to_string()));
            ensure!(theirs, "a penalty for {sectors:?}");
            each.insert(paid / sectors.len());
        }
        ensure!(each.len() <= 1, "penalties per sector: {each:?}");
        Ok(())
    }
}

/// What was paid in all.
pub(crate) fn sum(penalties: &[(BTreeSet<damocles_types::SectorId>, BigInt)]) -> Result<u128> {
    let sum: BigInt = penalties.iter().map(|(_, paid)| paid).sum();
    u128::try_from(sum).ok().context("penalties are no debts")
}
