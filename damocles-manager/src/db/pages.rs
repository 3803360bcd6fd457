//! Lists of any length, read a page at a time: a transaction that reads a million records holds
//! them all in memory, and is in everybody's way. Each page is of one moment, the whole is not.

use crate::db::{Db, DbError, readable};
use damocles_kv::{Record, Span, StoreError, Table, Transaction};
use serde::de::DeserializeOwned;

/// So many records are read in one transaction.
const PAGE: usize = 500;

impl Db {
    /// What `of` makes of the records of a span, all of them.
    pub(in crate::db) fn all_of<T>(
        &self,
        table: Table,
        span: Span,
        of: impl Fn(&Record) -> Result<Option<T>, DbError>,
    ) -> Result<Vec<T>, DbError> {
        self.paged(table, span, |_, record| of(record))
    }

    /// The records that the entries of a list name, all of them. One that cannot be read is
    /// said and passed over.
    pub(in crate::db) fn listed_in<T: DeserializeOwned>(
        &self,
        list: Table,
        span: Span,
        table: Table,
        named: impl Fn(&Record) -> Option<Vec<u8>>,
    ) -> Result<Vec<T>, DbError> {
        self.paged(list, span, |t, entry| match named(entry) {
            Some(key) => Ok(readable(t.get_json(table, &key))?),
            None => Ok(None),
        })
    }

    fn paged<T>(
        &self,
        table: Table,
        span: Span,
        of: impl Fn(&mut Transaction<'_>, &Record) -> Result<Option<T>, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let (mut all, mut next) = (Vec::new(), span);
        loop {
            let (page, last) = self.read(|t| {
                let entries = t.scan(table, &next, PAGE)?;
                let mut page = Vec::with_capacity(entries.len());
                for entry in &entries {
                    page.extend(of(t, entry)?);
                }
                let full = entries.len() == PAGE;
                let last = entries.last().filter(|_| full);
                Ok::<_, DbError>((page, last.map(|last| last.key().to_vec())))
            })?;
            all.extend(page);
            match last {
                Some(last) => next = next.after(last),
                None => return Ok(all),
            }
        }
    }
}

/// The value of a record, which is there; for [`Db::all_of`].
pub(in crate::db) fn value<T: DeserializeOwned>(record: &Record) -> Result<Option<T>, DbError> {
    record.json().map_err(|error: StoreError| error.into())
}
