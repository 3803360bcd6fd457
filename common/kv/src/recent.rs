//! Which records were written lately: by this it is told whether what a transaction has read is
//! still true.

use crate::{Durability, Table, transaction::Range};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

/// So many changes are remembered at most. Older transactions than these are taken for
/// overtaken: memory is bounded, whatever a slow one does.
const MOST: usize = 200_000;

/// A record's table and key.
pub(crate) type Place = (Table, Vec<u8>);

/// What a transaction has read.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    pub(crate) keys: Vec<Place>,
    pub(crate) ranges: Vec<(Table, Range)>,
}

impl Footprint {
    /// A scan of the range found these records, and as many as its limit allowed.
    pub(crate) fn saw<T>(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
        found: &[(Vec<u8>, T)],
    ) {
        let seen = range.looked_at(backwards, limit, found);
        self.ranges.push((table, seen));
    }
}

/// When a record was written last.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    any: u64,
    /// By a commit that is to be on the disk before anybody hears of it.
    synced: u64,
}

/// Commits are counted; the number of a commit is when it happened.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    last: BTreeMap<Table, BTreeMap<Vec<u8>, Last>>,
    commits: VecDeque<(u64, Vec<Place>)>,
    changes: usize,
    /// Nothing is known of commits up to this one.
    floor: u64,
}

impl Recent {
    /// Of a store with so many commits.
    pub(crate) fn since(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    pub(crate) fn note(&mut self, at: u64, keys: Vec<Place>, durability: Durability) {
        for (table, key) in &keys {
            let rows = self.last.entry(*table).or_default();
            let last = rows.entry(key.clone()).or_default();
            last.any = at;
            if durability == Durability::Synced {
                last.synced = at;
            }
        }
        self.changes += keys.len();
        self.commits.push_back((at, keys));
        while self.changes > MOST {
            self.forget_oldest();
        }
    }

    /// Whether any of it was written after that commit, or may have been.
    pub(crate) fn touched(&self, after: u64, read: &Footprint) -> bool {
        self.any(after, read, |last| last.any)
    }

    /// The same of commits that are to be on the disk.
    pub(crate) fn owed(&self, after: u64, read: &Footprint) -> bool {
        self.any(after, read, |last| last.synced)
    }

    fn any(&self, after: u64, read: &Footprint, of: impl Fn(&Last) -> u64) -> bool {
        if after < self.floor {
            return true;
        }
        let written = |last: &Last| of(last) > after;
        let key = |(table, key): &Place| {
            let rows = self.last.get(table);
            rows.and_then(|rows| rows.get(key)).is_some_and(written)
        };
        let range = |(table, range): &(Table, Range)| {
            self.last
                .get(table)
                .is_some_and(|rows| within(rows, range).any(written))
        };
        read.keys.iter().any(key) || read.ranges.iter().any(range)
    }

    /// Forgets commits up to this one: nobody asks for them any more.
    pub(crate) fn forget(&mut self, upto: u64) {
        while self.commits.front().is_some_and(|(at, _)| *at <= upto) {
            self.forget_oldest();
        }
    }

    /// Forgets all: whoever began before or at this commit has to begin anew.
    pub(crate) fn forget_all(&mut self, upto: u64) {
        *self = Self::since(upto);
    }

    fn forget_oldest(&mut self) {
        let Some((at, keys)) = self.commits.pop_front() else {
            return;
        };
        self.floor = at;
        self.changes -= keys.len();
        for (table, key) in keys {
            let Some(rows) = self.last.get_mut(&table) else {
                continue;
            };
            if rows.get(&key).is_some_and(|last| last.any == at) {
                rows.remove(&key);
            }
        }
    }
}

fn within<'a>(
    rows: &'a BTreeMap<Vec<u8>, Last>,
    range: &Range,
) -> impl Iterator<Item = &'a Last> + use<'a> {
    let high = match &range.high {
        Some(high) if *high <= range.low => Bound::Excluded(range.low.clone()),
        Some(high) => Bound::Excluded(high.clone()),
        None => Bound::Unbounded,
    };
    let rows = rows.range((Bound::Included(range.low.clone()), high));
    rows.map(|(_, last)| last)
}
