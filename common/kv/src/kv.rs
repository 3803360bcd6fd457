//! Single reads and atomic batches: the older way to a database, beside the transactions of
//! [`Store`]. Both may be used on one.

use crate::{
    Batch, Durability, KvError, Store, Table,
    health::Trouble,
    ledger::Ledger,
    mem::Mem,
    rocks::Rocks,
    table::{META, PROBE_KEY, decode},
};
use serde::de::DeserializeOwned;
use std::{ops::ControlFlow, sync::Arc};
use uuid::Uuid;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(crate) enum Kind {
    Rocks(Arc<Rocks>),
    Mem(Arc<Mem>),
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    id: Uuid,
}

/// A database; clones share it. Calls block for the time of a disk access: from async code
/// make them on a blocking thread, or keep them to single small records.
#[derive(Clone, Debug)]
pub struct Kv(Arc<Inner>);

impl Kv {
    pub(crate) fn of(kind: Kind, id: Uuid) -> Self {
        Self(Arc::new(Inner { kind, id }))
    }

    /// The same database, read and written by transactions.
    pub fn store(&self) -> Store {
        match &self.0.kind {
            Kind::Rocks(r) => Store::new(r.clone(), self.id()),
            Kind::Mem(m) => Store::new(m.clone(), self.id()),
        }
    }

    fn ledger(&self) -> &Ledger {
        match &self.0.kind {
            Kind::Rocks(r) => &r.ledger,
            Kind::Mem(m) => &m.ledger,
        }
    }

    /// The database's own name: made with it, never changed, and no other database has it.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// The value of a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match &self.0.kind {
            Kind::Rocks(r) => r.get(table, key),
            Kind::Mem(m) => m.get(table, key),
        }
    }

    /// The value of a key, read from JSON.
    pub fn get_json<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, KvError> {
        self.get(table, key)?
            .map(|value| decode(table, key, &value))
            .transpose()
    }

    /// Shows entries whose key begins with `prefix`, in the order of keys, from the first key
    /// that is not below `from`, until `see` breaks. The view is of one moment.
    pub fn walk(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        match &self.0.kind {
            Kind::Rocks(r) => r.walk(table, prefix, from, see),
            Kind::Mem(m) => m.walk(table, prefix, from, see),
        }
    }

    /// The same from the last key with the prefix downwards.
    pub fn walk_back(
        &self,
        table: Table,
        prefix: &[u8],
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        match &self.0.kind {
            Kind::Rocks(r) => r.walk_back(table, prefix, see),
            Kind::Mem(m) => m.walk_back(table, prefix, see),
        }
    }

    /// At most `limit` entries whose key begins with `prefix`, in the order of keys.
    pub fn scan(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Entry>, KvError> {
        let mut out = Vec::new();
        self.walk(table, prefix, prefix, |key, value| {
            if out.len() == limit {
                return ControlFlow::Break(());
            }
            out.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }

    /// All values under a prefix, read from JSON. One that cannot be read fails the call.
    pub fn scan_json<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> Result<Vec<T>, KvError> {
        let mut out = Vec::new();
        let mut failed = None;
        self.walk(table, prefix, prefix, |key, value| {
            match decode(table, key, value) {
                Ok(item) => {
                    out.push(item);
                    ControlFlow::Continue(())
                }
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(out), Err)
    }

    /// Applies the batch as one. Does not wait for a running [`Kv::update`]: for records that
    /// nobody reads and writes back.
    pub fn write(&self, batch: Batch, durability: Durability) -> Result<(), KvError> {
        if batch.is_empty() {
            return Ok(());
        }
        match &self.0.kind {
            Kind::Rocks(r) => r.write(&batch.changes, durability),
            Kind::Mem(m) => m.write(&batch, durability),
        }
    }

    /// How many writes were asked to be on the disk, and are.
    pub fn synced_writes(&self) -> u64 {
        self.ledger().synced_writes()
    }

    /// Why writes fail; None when the last one succeeded.
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.0.kind {
            Kind::Rocks(r) => r.trouble(),
            Kind::Mem(m) => m.trouble(),
        }
    }

    /// Writes something that nobody reads, to see whether that can be done.
    pub fn probe(&self) -> Result<(), KvError> {
        let mut batch = Batch::new();
        batch.put(META, PROBE_KEY, Vec::new());
        self.write(batch, Durability::Synced)
    }

    /// For tests of what follows: from now on writes to a database in memory fail for this
    /// reason, or succeed again.
    pub fn fail_writes(&self, reason: Option<&str>) {
        if let Kind::Mem(m) = &self.0.kind {
            m.fail_writes(reason);
        }
    }

    /// Reads, decides and writes with no other `update` and no transaction in between. `plan` sees
    /// the store as it was before; an error from it writes nothing. It must not call `update`
    /// itself, nor begin a transaction.
    pub fn update<T, E: From<KvError>>(
        &self,
        durability: Durability,
        plan: impl FnOnce(&Self, &mut Batch) -> Result<T, E>,
    ) -> Result<T, E> {
        let _alone = self.ledger().alone();
        let mut batch = Batch::new();
        let out = plan(self, &mut batch)?;
        self.write(batch, durability)?;
        Ok(out)
    }
}
