//! What a closure reads and writes with: its own writes laid over what the engine reads.

use super::{
    End, Failure, View,
    error::StoreError,
    record::{Record, Stored, Version},
    span::Span,
};
use crate::{KvError, Table, change::Change, table::show};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Of a record that this transaction has written itself.
const OWN: Version = Version(0);

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// One run of a closure. It sees the records of one moment and its own writes.
///
/// There are three ways to write, so that a reader sees what is guarded:
/// * [`put`](Self::put) and [`delete`](Self::delete) take a [`Record`]: the caller has seen what
///   it replaces, and nobody has changed it since.
/// * [`insert`](Self::insert) makes a record that was not there.
/// * [`overwrite`](Self::overwrite) and [`erase`](Self::erase) do not look: for what follows from
///   another record that this transaction has read, such as an index.
pub struct Transaction<'a> {
    view: &'a mut dyn View,
    id: u64,
    read_only: bool,
    own: BTreeMap<Table, Writes>,
    /// A read failed in a way that a new attempt may cure; the closure's result means nothing.
    failed: Option<Failure>,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(view: &'a mut dyn View, read_only: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            view,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            read_only,
            own: BTreeMap::new(),
            failed: None,
        }
    }

    /// What is to be written, or why the run means nothing.
    pub(super) fn end(self) -> End {
        if let Some(failure) = self.failed {
            return End::Failed(failure);
        }
        let changes = self.own.into_iter().flat_map(|(table, writes)| {
            writes.into_iter().map(move |(key, value)| match value {
                Some(value) => Change::Put(table, key, value),
                None => Change::Delete(table, key),
            })
        });
        End::Commit(changes.collect())
    }

    /// The record of a key, be it there or not.
    ///
    /// # Errors
    /// Of the database. The closure passes them on.
    pub fn get(&mut self, table: Table, key: &[u8]) -> Result<Record, StoreError> {
        let stored = match self.own.get(&table).and_then(|own| own.get(key)) {
            Some(own) => own.clone().map(own_record),
            None => {
                let found = self.view.get(table, key);
                self.told(found)?
            }
        };
        Ok(self.record(table, key.to_vec(), stored))
    }

    /// The value of a key, read from JSON: for records that are not written here.
    ///
    /// # Errors
    /// Of the database; [`KvError::Decode`].
    pub fn get_json<T: DeserializeOwned>(
        &mut self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        self.get(table, key)?.json()
    }

    /// The records of these keys, in their order, be they there or not: one answer brings them all
    /// where each would cost one.
    ///
    /// # Errors
    /// Of the database.
    pub fn get_all(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Record>, StoreError> {
        self.ahead(table, keys)?;
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Says that these keys will be asked for: where the database lies on a server, one answer then
    /// brings them all.
    ///
    /// # Errors
    /// Of the database.
    pub fn ahead(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let done = self.view.ahead(table, keys);
        self.told(done)
    }

    /// The first `limit` records of a span, in its order.
    ///
    /// # Errors
    /// Of the database.
    pub fn scan(
        &mut self,
        table: Table,
        span: &Span,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let range = span.range();
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let backwards = span.is_backwards();
        let bounds = (
            std::ops::Bound::Included(range.low.clone()),
            match &range.high {
                Some(high) => std::ops::Bound::Excluded(high.clone()),
                None => std::ops::Bound::Unbounded,
            },
        );
        let own: Writes = self.own.get(&table).map_or_else(Writes::new, |own| {
            own.range(bounds)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        });
        // of what the engine shows, so many may be deleted here
        let hidden = own.values().filter(|value| value.is_none()).count();
        let found = self
            .view
            .scan(table, &range, backwards, limit.saturating_add(hidden));
        let found = self.told(found)?;
        // beyond the last one there may be more, which come before own ones that are higher
        let full = found.len() >= limit.saturating_add(hidden);
        let last = found.last().map(|(key, _)| key.clone());
        let mut all: BTreeMap<Vec<u8>, Option<Stored>> = found
            .into_iter()
            .map(|(key, stored)| (key, Some(stored)))
            .collect();
        for (key, value) in own {
            let beyond = last
                .as_ref()
                .is_some_and(|last| full && (if backwards { key < *last } else { key > *last }));
            if !beyond {
                all.insert(key, value.map(own_record));
            }
        }
        let present = all
            .into_iter()
            .filter_map(|(key, stored)| Some((key, stored?)));
        let mut present: Vec<_> = present.collect();
        if backwards {
            present.reverse();
        }
        present.truncate(limit);
        Ok(present
            .into_iter()
            .map(|(key, stored)| self.record(table, key, Some(stored)))
            .collect())
    }

    /// Sets the value of a record that the caller has seen.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it was seen by an earlier transaction and is another one now.
    pub fn put(&mut self, record: &Record, value: impl Into<Vec<u8>>) -> Result<(), StoreError> {
        self.unchanged(record)?;
        self.write(record.table, record.key.clone(), Some(value.into()))
    }

    /// [`Self::put`] as JSON.
    ///
    /// # Errors
    /// [`StoreError::Changed`]; [`KvError::Encode`].
    pub fn put_json<T: Serialize + ?Sized>(
        &mut self,
        record: &Record,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = encode(record.table, &record.key, value)?;
        self.put(record, bytes)
    }

    /// Removes a record that the caller has seen; one that was not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it was seen by an earlier transaction and is another one now.
    pub fn delete(&mut self, record: &Record) -> Result<(), StoreError> {
        self.unchanged(record)?;
        self.write(record.table, record.key.clone(), None)
    }

    /// Makes a record.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one.
    pub fn insert(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let key = key.into();
        if self.get(table, &key)?.exists() {
            return Err(StoreError::Exists {
                table: table.0,
                key: show(&key),
            });
        }
        self.write(table, key, Some(value.into()))
    }

    /// [`Self::insert`] as JSON.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`KvError::Encode`].
    pub fn insert_json<T: Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) -> Result<(), StoreError> {
        let key = key.into();
        let bytes = encode(table, &key, value)?;
        self.insert(table, key, bytes)
    }

    /// Sets a value without a look at what was there: the last one to do so wins.
    ///
    /// # Errors
    /// Of the database.
    pub fn overwrite(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), StoreError> {
        self.write(table, key.into(), Some(value.into()))
    }

    /// [`Self::overwrite`] as JSON.
    ///
    /// # Errors
    /// [`KvError::Encode`].
    pub fn overwrite_json<T: Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) -> Result<(), StoreError> {
        let key = key.into();
        let bytes = encode(table, &key, value)?;
        self.overwrite(table, key, bytes)
    }

    /// Removes a record without a look at it; one that is not there is no error.
    ///
    /// # Errors
    /// Of the database.
    pub fn erase(&mut self, table: Table, key: impl Into<Vec<u8>>) -> Result<(), StoreError> {
        self.write(table, key.into(), None)
    }

    fn write(
        &mut self,
        table: Table,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly { table: table.0 });
        }
        self.own.entry(table).or_default().insert(key, value);
        Ok(())
    }

    /// That this run saw it is enough, for the engine sees to it. Of an earlier one the version
    /// is compared.
    fn unchanged(&mut self, record: &Record) -> Result<(), StoreError> {
        if record.seen_by == self.id {
            return Ok(());
        }
        let found = self.view.get(record.table, &record.key);
        let now = self.told(found)?.map(|stored| stored.version);
        // what a transaction wrote itself got its version only when it was done
        if now == record.version() && now != Some(OWN) {
            return Ok(());
        }
        Err(StoreError::Changed {
            table: record.table.0,
            key: show(&record.key),
        })
    }

    fn record(&self, table: Table, key: Vec<u8>, stored: Option<Stored>) -> Record {
        Record {
            table,
            key,
            stored,
            seen_by: self.id,
        }
    }

    /// Keeps a failure that a new attempt may cure, whatever the closure makes of it.
    fn told<T>(&mut self, found: Result<T, Failure>) -> Result<T, StoreError> {
        match found {
            Ok(found) => Ok(found),
            Err(Failure::Final(error)) => Err(error),
            Err(again) => {
                self.failed.get_or_insert(again);
                Err(StoreError::Conflict { attempts: 1 })
            }
        }
    }
}

fn own_record(value: Vec<u8>) -> Stored {
    Stored {
        version: OWN,
        value,
    }
}

fn encode<T: Serialize + ?Sized>(
    table: Table,
    key: &[u8],
    value: &T,
) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| {
        StoreError::Kv(KvError::Encode {
            table: table.0,
            key: show(key),
            source,
        })
    })
}
