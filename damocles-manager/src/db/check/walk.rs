//! Goes through tables whose keys mean the same, side by side: what each of them has under a key is
//! seen together, and so is what one of them lacks. Memory is that of a page of each.

use super::fault::{Change, Fault, Mend};
use crate::db::{Db, DbError};
use damocles_kv::{Durability, Record, Span, Table, Transaction};
use std::collections::BTreeMap;

/// So many records of each table are in memory.
const PAGE: usize = 200;

/// A table, or the part of it under a prefix: what follows that is the common key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane(pub(super) Table, pub(super) &'static [u8]);

/// What the lanes have under a key.
pub(super) struct Across<'a> {
    pub(super) key: &'a [u8],
    lanes: &'a [Option<Record>],
}

impl Across<'_> {
    /// What the lane has, in the order in which lanes are named.
    pub(super) fn get(&self, lane: usize) -> Option<&Record> {
        self.lanes.get(lane).and_then(Option::as_ref)
    }

    /// Everything that is there.
    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.lanes.iter().flatten()
    }
}

/// One page: what was found, how much was seen, and where the next one begins.
type Page = (Vec<Fault>, u64, Option<Vec<u8>>);

/// A way through the database.
pub(super) struct Walk<'a> {
    db: &'a Db,
    mend: Mend,
    found: &'a mut dyn FnMut(Fault),
    progress: &'a mut dyn FnMut(u64),
    records: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        db: &'a Db,
        mend: Mend,
        found: &'a mut dyn FnMut(Fault),
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            db,
            mend,
            found,
            progress,
            records: 0,
        }
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Tells faults that no page has shown, and mends them.
    pub(super) fn tell(&mut self, faults: Vec<Fault>) -> Result<(), DbError> {
        let faults = self.run(|t, mend| mended(t, mend, faults.clone()))?;
        for fault in faults {
            (self.found)(fault);
        }
        Ok(())
    }

    /// Shows every key once, with what the lanes have under it.
    pub(super) fn side_by_side(
        &mut self,
        lanes: &[Lane],
        look: impl Fn(&mut Transaction<'_>, &Across<'_>, &mut Vec<Fault>) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let from = after.as_deref();
            let (faults, seen, next) = self.run(|t, mend| page(t, lanes, from, mend, &look))?;
            self.records += seen;
            for fault in faults {
                (self.found)(fault);
            }
            (self.progress)(self.records);
            match next {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn run<T>(
        &self,
        mut body: impl FnMut(&mut Transaction<'_>, Mend) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        match self.mend {
            Mend::Nothing => self.db.read(|t| body(t, Mend::Nothing)),
            Mend::Lists => self.db.write(Durability::Synced, |t| body(t, Mend::Lists)),
        }
    }
}

fn page(
    t: &mut Transaction<'_>,
    lanes: &[Lane],
    after: Option<&[u8]>,
    mend: Mend,
    look: &impl Fn(&mut Transaction<'_>, &Across<'_>, &mut Vec<Fault>) -> Result<(), DbError>,
) -> Result<Page, DbError> {
    let mut rows: BTreeMap<Vec<u8>, Vec<Option<Record>>> = BTreeMap::new();
    // up to there every lane was read
    let mut end: Option<Vec<u8>> = None;
    for (at, Lane(table, prefix)) in lanes.iter().enumerate() {
        let mut span = Span::prefix(*prefix);
        if let Some(after) = after {
            span = span.after([prefix, after].concat());
        }
        let entries = t.scan(*table, &span, PAGE)?;
        let common = |entry: &Record| entry.key().get(prefix.len()..).map(<[u8]>::to_vec);
        if entries.len() == PAGE
            && let Some(last) = entries.last().and_then(common)
        {
            end = Some(end.map_or(last.clone(), |end| end.min(last)));
        }
        for entry in entries {
            let key = common(&entry).unwrap_or_default();
            let row = rows.entry(key).or_insert_with(|| vec![None; lanes.len()]);
            row[at] = Some(entry);
        }
    }
    if let Some(end) = &end {
        rows.retain(|key, _| key <= end);
    }
    let (mut faults, mut seen) = (Vec::new(), 0);
    for (key, lanes) in &rows {
        let row = Across { key, lanes };
        seen += row.all().count() as u64;
        look(t, &row, &mut faults)?;
    }
    Ok((mended(t, mend, faults)?, seen, end))
}

fn mended(
    t: &mut Transaction<'_>,
    mend: Mend,
    mut faults: Vec<Fault>,
) -> Result<Vec<Fault>, DbError> {
    if mend == Mend::Nothing {
        return Ok(faults);
    }
    for fault in &mut faults {
        let Some(Change { table, key, value }) = fault.mend.clone() else {
            continue;
        };
        match value {
            Some(value) => t.overwrite(table, key, value)?,
            None => t.erase(table, key)?,
        }
        fault.mended = true;
    }
    Ok(faults)
}
