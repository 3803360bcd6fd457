//! A new database that is filled with the records of another one. It has no stamp until it is at
//! its end, so no program takes it for a database, also none of before this one; a record of its
//! own says what it is, so that this one says so, and begins again.

use crate::{
    Durability, Schema, Span, Store, StoreError, Table, Transaction,
    migrate::{is_under_way, migrate},
    stamp::{STAMP_KEY, Stamp},
    table::META,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where [`Filling`] is kept, in [`META`], until the last record is there.
pub(crate) const IMPORT_KEY: &[u8] = b"import";
/// So many records of an import that was cut short are removed in one transaction.
const PAGE: usize = 500;

/// Who fills it with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Filling {
    /// What it will be.
    stamp: Stamp,
    /// Of two that do it at a time the later one has it.
    by: Uuid,
}

/// A database that is being filled. Dropped before [`Self::finish`] it stays half imported.
#[derive(Debug)]
pub struct Import {
    store: Store,
    schema: Schema,
    filling: Filling,
}

impl Import {
    /// Takes an empty database, or one that was half imported, whose records go. None: it is not
    /// empty.
    pub(crate) fn begin(
        store: Store,
        schema: &Schema,
        stamp: Stamp,
    ) -> Result<Option<Self>, StoreError> {
        let by = Uuid::new_v4();
        let filling = Filling { stamp, by };
        let taken = store.transact(Durability::Synced, |t| {
            let seen = t.get(META, IMPORT_KEY)?;
            if t.get(META, STAMP_KEY)?.exists() || (!seen.exists() && !is_empty(t, schema)?) {
                return Ok::<_, StoreError>(false);
            }
            t.put_json(&seen, &filling)?;
            Ok(true)
        })?;
        if !taken {
            return Ok(None);
        }
        let schema = *schema;
        let import = Self {
            store,
            schema,
            filling,
        };
        for table in schema.tables {
            while import.remove_some(*table)? {}
        }
        Ok(Some(import))
    }

    /// Whether there may be more.
    fn remove_some(&self, table: Table) -> Result<bool, StoreError> {
        self.store.transact(Durability::Buffered, |t| {
            self.mine(t)?;
            let old = t.scan(table, &Span::all(), PAGE)?;
            for record in &old {
                t.delete(record)?;
            }
            Ok(old.len() == PAGE)
        })
    }

    fn mine(&self, t: &mut Transaction<'_>) -> Result<crate::Record, StoreError> {
        let seen = t.get(META, IMPORT_KEY)?;
        match seen.json::<Filling>()? {
            Some(filling) if filling == self.filling => Ok(seen),
            _ => Err(StoreError::ImportOver),
        }
    }

    /// Writes some records: table, key, value. A few hundred at a time.
    ///
    /// # Errors
    /// [`StoreError::ImportOver`] when another import has begun; of the database.
    pub fn put(&self, records: &[(Table, Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        self.store.transact(Durability::Buffered, |t| {
            self.mine(t)?;
            for (table, key, value) in records {
                t.overwrite(*table, key.clone(), value.clone())?;
            }
            Ok(())
        })
    }

    /// All records are there: it is a database from now on, and is brought up to date.
    ///
    /// # Errors
    /// [`StoreError::ImportOver`] when another import has begun; of the database.
    pub fn finish(self) -> Result<Store, StoreError> {
        let stamp = &self.filling.stamp;
        // what was written before is on the disk with it
        self.store.transact(Durability::Synced, |t| {
            let seen = self.mine(t)?;
            t.delete(&seen)?;
            let at = t.get(META, STAMP_KEY)?;
            t.put_json(&at, stamp)
        })?;
        migrate(&self.store, &self.schema, stamp.version)?;
        Ok(self
            .store
            .with_id(stamp.id.unwrap_or_default())
            .of_version(self.schema.version()))
    }
}

impl Transaction<'_> {
    /// What the database says of itself. None: it is one in memory, or not a database yet.
    ///
    /// # Errors
    /// Of the database.
    pub fn stamp(&mut self) -> Result<Option<Stamp>, StoreError> {
        self.get_json(META, STAMP_KEY)
    }

    /// Whether the database is on its way from one version to the next: its records are of both.
    ///
    /// # Errors
    /// Of the database.
    pub fn is_between_versions(&mut self) -> Result<bool, StoreError> {
        is_under_way(self)
    }
}

/// Whether somebody has begun to fill it.
pub(crate) fn is_half(t: &mut Transaction<'_>) -> Result<bool, StoreError> {
    Ok(t.get(META, IMPORT_KEY)?.exists())
}

/// Whether no table has a record.
pub(crate) fn is_empty(t: &mut Transaction<'_>, schema: &Schema) -> Result<bool, StoreError> {
    for table in schema.tables {
        if !t.scan(*table, &Span::all(), 1)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
