//! The store in memory: the twin of RocksDB for tests.

use crate::{Batch, KvError, Table, batch::Change, health::Trouble};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, ops::ControlFlow};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug)]
pub(crate) struct Mem {
    tables: RwLock<BTreeMap<Table, Rows>>,
    /// What a test has every write fail with.
    broken: Mutex<Option<String>>,
    trouble: Mutex<Option<Trouble>>,
}

impl Mem {
    pub(crate) fn new(tables: impl IntoIterator<Item = Table>) -> Self {
        Self {
            tables: RwLock::new(tables.into_iter().map(|t| (t, Rows::new())).collect()),
            broken: Mutex::new(None),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) fn fail_writes(&self, reason: Option<&str>) {
        *self.broken.lock() = reason.map(str::to_owned);
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let all = self.tables.read();
        let rows = all.get(&table).ok_or(KvError::UnknownTable(table.0))?;
        Ok(rows.get(key).cloned())
    }

    /// A copy of the rows under a prefix, so that the reader may write meanwhile.
    fn rows(&self, table: Table, prefix: &[u8], from: &[u8]) -> Result<Rows, KvError> {
        let all = self.tables.read();
        let rows = all.get(&table).ok_or(KvError::UnknownTable(table.0))?;
        let start = from.max(prefix).to_vec();
        Ok(rows
            .range(start..)
            .take_while(|(k, _)| k.starts_with(prefix))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    pub(crate) fn walk(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        mut see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        for (key, value) in self.rows(table, prefix, from)? {
            if see(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn walk_back(
        &self,
        table: Table,
        prefix: &[u8],
        mut see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        for (key, value) in self.rows(table, prefix, prefix)?.into_iter().rev() {
            if see(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, batch: Batch) -> Result<(), KvError> {
        let mut all = self.tables.write();
        for change in &batch.changes {
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
            if !all.contains_key(table) {
                return Err(KvError::UnknownTable(table.0));
            }
        }
        for change in batch.changes {
            match change {
                Change::Put(table, key, value) => {
                    all.entry(table).or_default().insert(key, value);
                }
                Change::Delete(table, key) => {
                    all.entry(table).or_default().remove(&key);
                }
            }
        }
        *self.trouble.lock() = None;
        Ok(())
    }
}
