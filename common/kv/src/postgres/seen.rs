//! What a transaction has read, record by record and span by span: what must still be so when it
//! is committed.

use crate::{
    Table,
    transaction::{Range, Stored},
};
use std::collections::BTreeMap;

/// Keys of a table with what was under them; None: nothing was.
type Records = BTreeMap<Vec<u8>, Option<Stored>>;

#[derive(Debug, Default)]
pub(super) struct Seen {
    records: BTreeMap<Table, Records>,
    spans: Vec<SeenSpan>,
}

/// All records of a span of keys.
#[derive(Debug)]
pub(super) struct SeenSpan {
    pub(super) table: Table,
    pub(super) range: Range,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) versions: Vec<i64>,
}

/// A version as the database has it. Those of records are never 0.
pub(super) fn version(stored: Option<&Stored>) -> i64 {
    // counted by 63 bits
    stored.map_or(0, |stored| stored.version.0.cast_signed())
}

impl Seen {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.spans.is_empty()
    }

    /// What this transaction knows of a key already.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<Stored>> {
        self.records.get(&table)?.get(key).cloned()
    }

    /// What was seen first stays: if it has changed since, the transaction is not to be applied.
    pub(super) fn saw(&mut self, table: Table, key: Vec<u8>, stored: Option<Stored>) {
        let records = self.records.entry(table).or_default();
        records.entry(key).or_insert(stored);
    }

    /// Of the keys that were asked for these were there.
    pub(super) fn saw_all(
        &mut self,
        table: Table,
        keys: &[Vec<u8>],
        found: Vec<(Vec<u8>, Stored)>,
    ) {
        for (key, stored) in found {
            self.saw(table, key, Some(stored));
        }
        for key in keys {
            self.saw(table, key.clone(), None);
        }
    }

    /// A scan of the range found these, and as many as its limit allowed.
    pub(super) fn saw_span(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
        found: &[(Vec<u8>, Stored)],
    ) {
        let mut all: Vec<_> = found.iter().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.spans.push(SeenSpan {
            table,
            range: range.looked_at(backwards, limit, found),
            keys: all.iter().map(|(key, _)| key.clone()).collect(),
            versions: all.iter().map(|(_, s)| version(Some(s))).collect(),
        });
    }

    /// The tables of which records were read by their keys.
    pub(super) fn tables(&self) -> impl Iterator<Item = Table> {
        self.records.keys().copied()
    }

    /// What was read by its key.
    pub(super) fn all(&self) -> impl Iterator<Item = (Table, &[u8], Option<&Stored>)> {
        self.records.iter().flat_map(|(table, records)| {
            let all = records.iter();
            all.map(|(key, stored)| (*table, key.as_slice(), stored.as_ref()))
        })
    }

    pub(super) fn spans(&self) -> &[SeenSpan] {
        &self.spans
    }
}
