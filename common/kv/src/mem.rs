//! The store in memory: the twin of RocksDB for tests. Records keep what they were as long as a
//! transaction runs that may look at it.

use crate::{
    Durability, KvError, Table,
    change::Change,
    health::Trouble,
    ledger::{Commit, Ledger},
    recent::Footprint,
    transaction::{Attempt, End, Engine, Failure, Range, Stored, Version, View},
};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, ops::Bound};

/// What a record was from each commit on; the oldest first.
type Past = Vec<(u64, Option<Stored>)>;
type Rows = BTreeMap<Vec<u8>, Past>;
type Tables = BTreeMap<Table, Rows>;

#[derive(Debug)]
pub(crate) struct Mem {
    tables: RwLock<Tables>,
    /// What a test has every write fail with.
    broken: Mutex<Option<String>>,
    trouble: Mutex<Option<Trouble>>,
    /// It stands for one that several processes have open.
    shared: bool,
    pub(crate) ledger: Ledger,
}

fn at(past: &Past, commit: u64) -> Option<&Stored> {
    let known = past.iter().rev().find(|(since, _)| *since <= commit);
    known.and_then(|(_, stored)| stored.as_ref())
}

fn rows(tables: &Tables, table: Table) -> Result<&Rows, KvError> {
    tables.get(&table).ok_or(KvError::UnknownTable(table.0))
}

impl Mem {
    pub(crate) fn new(tables: impl IntoIterator<Item = Table>) -> Self {
        Self {
            tables: RwLock::new(tables.into_iter().map(|t| (t, Rows::new())).collect()),
            broken: Mutex::new(None),
            trouble: Mutex::new(None),
            shared: false,
            ledger: Ledger::new(0),
        }
    }

    pub(crate) fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// False: what it has read was written since.
    fn commit(
        &self,
        began: u64,
        read: &Footprint,
        changes: &[Change],
        durability: Durability,
    ) -> Result<bool, KvError> {
        let commit = Commit {
            began,
            read,
            changes,
            durability,
            on_disk: u64::MAX,
        };
        let done = self.ledger.commit(&commit, |_, number, oldest| {
            self.apply(changes, number, oldest)
        })?;
        *self.trouble.lock() = None;
        if done.is_some() && durability == Durability::Synced {
            self.ledger.count_synced();
        }
        Ok(done.is_some())
    }

    fn apply(&self, changes: &[Change], number: u64, oldest: u64) -> Result<(), KvError> {
        let mut tables = self.tables.write();
        for change in changes {
            let (Change::Put(table, ..) | Change::Delete(table, _)) = change;
            if let Some(reason) = self.broken.lock().clone() {
                self.trouble
                    .lock()
                    .get_or_insert_with(|| Trouble::new(&reason));
                return Err(KvError::Storage {
                    doing: "writing",
                    table: table.0,
                    reason,
                });
            }
            rows(&tables, *table)?;
        }
        for change in changes {
            let (table, key, stored) = match change {
                Change::Put(table, key, value) => {
                    let version = Version(number);
                    let value = value.clone();
                    (table, key, Some(Stored { version, value }))
                }
                Change::Delete(table, key) => (table, key, None),
            };
            let rows = tables.entry(*table).or_default();
            let past = rows.entry(key.clone()).or_default();
            past.retain(|(since, _)| *since != number);
            past.push((number, stored));
            // of what was before the oldest transaction began, it sees the last
            let seen = past.partition_point(|(since, _)| *since <= oldest);
            past.drain(..seen.saturating_sub(1));
            if matches!(past.as_slice(), [(_, None)]) {
                rows.remove(key);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Moment<'a> {
    tables: &'a RwLock<Tables>,
    commit: u64,
    read: Footprint,
}

impl View for Moment<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        self.read.keys.push((table, key.to_vec()));
        let tables = self.tables.read();
        let past = rows(&tables, table)?.get(key);
        Ok(past.and_then(|past| at(past, self.commit)).cloned())
    }

    fn scan(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Stored)>, Failure> {
        let tables = self.tables.read();
        let high = match &range.high {
            Some(high) => Bound::Excluded(high.clone()),
            None => Bound::Unbounded,
        };
        let within = rows(&tables, table)?.range((Bound::Included(range.low.clone()), high));
        let present =
            |(key, past): (&Vec<u8>, &Past)| Some((key.clone(), at(past, self.commit)?.clone()));
        let found: Vec<_> = if backwards {
            within.rev().filter_map(present).take(limit).collect()
        } else {
            within.filter_map(present).take(limit).collect()
        };
        self.read.saw(table, range, backwards, limit, &found);
        Ok(found)
    }
}

impl Engine for Mem {
    fn attempt(
        &self,
        attempt: Attempt,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> Result<(), Failure> {
        let alone = self.ledger.alone_after(attempt.number);
        let running = self.ledger.begin();
        let mut view = Moment {
            tables: &self.tables,
            commit: running.began,
            read: Footprint::default(),
        };
        let changes = match body(&mut view) {
            End::Failed(failure) => return Err(failure),
            End::Refused => return Ok(()),
            End::Commit(changes) if changes.is_empty() => return Ok(()),
            End::Commit(changes) => changes,
        };
        let _alone = alone.unwrap_or_else(|| self.ledger.alone());
        if self.commit(running.began, &view.read, &changes, attempt.durability)? {
            Ok(())
        } else {
            Err(Failure::conflict())
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn synced_writes(&self) -> Option<u64> {
        Some(self.ledger.synced_writes())
    }

    fn fail_writes(&self, reason: Option<&str>) {
        *self.broken.lock() = reason.map(str::to_owned);
    }
}
