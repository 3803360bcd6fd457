//! The store as its users see it, whatever lies below.

use crate::{
    Batch, Durability, KvError, Table,
    health::Trouble,
    mem::Mem,
    rocks::Rocks,
    table::{META, PROBE_KEY, show},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use uuid::Uuid;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(crate) enum Engine {
    Rocks(Rocks),
    Mem(Mem),
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// Held from the first read to the write of an [`Kv::update`].
    writer: Mutex<()>,
    id: Uuid,
    synced: AtomicU64,
}

/// A database; clones share it. Calls block for the time of a disk access: from async code
/// make them on a blocking thread, or keep them to single small records.
#[derive(Clone, Debug)]
pub struct Kv(Arc<Inner>);

impl Kv {
    pub(crate) fn from_engine(engine: Engine, id: Uuid) -> Self {
        Self(Arc::new(Inner {
            engine,
            writer: Mutex::new(()),
            id,
            synced: AtomicU64::new(0),
        }))
    }

    /// The database's own name: made with it, never changed, and no other database has it.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// The value of a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match &self.0.engine {
            Engine::Rocks(r) => r.get(table, key),
            Engine::Mem(m) => m.get(table, key),
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
        match &self.0.engine {
            Engine::Rocks(r) => r.walk(table, prefix, from, see),
            Engine::Mem(m) => m.walk(table, prefix, from, see),
        }
    }

    /// The same from the last key with the prefix downwards.
    pub fn walk_back(
        &self,
        table: Table,
        prefix: &[u8],
        see: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        match &self.0.engine {
            Engine::Rocks(r) => r.walk_back(table, prefix, see),
            Engine::Mem(m) => m.walk_back(table, prefix, see),
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
        let written = match &self.0.engine {
            Engine::Rocks(r) => r.write(&batch, durability),
            Engine::Mem(m) => m.write(batch),
        };
        written?;
        if durability == Durability::Synced {
            self.0.synced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many writes were asked to be on the disk, and are.
    pub fn synced_writes(&self) -> u64 {
        self.0.synced.load(Ordering::Relaxed)
    }

    /// Why writes fail; None when the last one succeeded.
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.0.engine {
            Engine::Rocks(r) => r.trouble(),
            Engine::Mem(m) => m.trouble(),
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
        if let Engine::Mem(m) = &self.0.engine {
            m.fail_writes(reason);
        }
    }

    /// Reads, decides and writes with no other `update` in between. `plan` sees the store as it
    /// was before; an error from it writes nothing. It must not call `update` itself.
    pub fn update<T, E: From<KvError>>(
        &self,
        durability: Durability,
        plan: impl FnOnce(&Self, &mut Batch) -> Result<T, E>,
    ) -> Result<T, E> {
        let _alone = self.0.writer.lock();
        let mut batch = Batch::new();
        let out = plan(self, &mut batch)?;
        self.write(batch, durability)?;
        Ok(out)
    }
}

pub(crate) fn decode<T: DeserializeOwned>(
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<T, KvError> {
    serde_json::from_slice(value).map_err(|source| KvError::Decode {
        table: table.0,
        key: show(key),
        source,
    })
}
