//! Change feeds: what happened, numbered 1, 2, 3 …, read from a number on.
//!
//! The number is taken in the transaction that writes the entry, from a record that the next one
//! reads. So numbers are in the order in which transactions happened, none is left out, and a
//! reader that has seen entry N has not missed one before it that was written later: a sequence
//! of the database, which counts outside of transactions, would let that happen. The price is
//! that writers of one feed wait for each other: a feed is for one thing, e.g. one miner.

use crate::{
    Span, StoreError, Table, Transaction,
    named::{named, numbered, under},
};
use serde::{Serialize, de::DeserializeOwned};

/// Feeds, kept in this table.
#[derive(Clone, Copy, Debug)]
pub struct Feeds(pub Table);

impl Feeds {
    /// Writes an entry and tells its number.
    ///
    /// # Errors
    /// Of the database; [`KvError::Encode`](crate::KvError::Encode).
    pub fn append<T: Serialize>(
        self,
        t: &mut Transaction<'_>,
        feed: &str,
        what: &T,
    ) -> Result<u64, StoreError> {
        let last = t.get(self.0, &named(&[feed], b'n'))?;
        let number = last.json::<u64>()?.unwrap_or(0) + 1;
        t.put_json(&last, &number)?;
        t.overwrite_json(self.0, entry_key(feed, number), what)?;
        Ok(number)
    }

    /// At most `limit` entries with their numbers, from number `from` on.
    ///
    /// # Errors
    /// Of the database; [`KvError::Decode`](crate::KvError::Decode).
    pub fn read<T: DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        feed: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, T)>, StoreError> {
        let prefix = named(&[feed], b'e');
        let span = Span::prefix(prefix.clone()).from(entry_key(feed, from));
        let mut entries = Vec::new();
        for record in t.scan(self.0, &span, limit)? {
            let number = numbered(&prefix, record.key()).map(|(number, _)| number);
            entries.extend(number.zip(record.json()?));
        }
        Ok(entries)
    }

    /// The number of the last entry; 0 when there was none.
    ///
    /// # Errors
    /// Of the database.
    pub fn last(self, t: &mut Transaction<'_>, feed: &str) -> Result<u64, StoreError> {
        let number = t.get_json(self.0, &named(&[feed], b'n'))?;
        Ok(number.unwrap_or(0))
    }

    /// Forgets at most `limit` entries with numbers below `below`, the oldest first, and tells
    /// how many it were. Numbers go on.
    ///
    /// # Errors
    /// Of the database.
    pub fn forget(
        self,
        t: &mut Transaction<'_>,
        feed: &str,
        below: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let span = Span::prefix(named(&[feed], b'e')).below(entry_key(feed, below));
        let old = t.scan(self.0, &span, limit)?;
        for record in &old {
            t.delete(record)?;
        }
        Ok(old.len())
    }
}

fn entry_key(feed: &str, number: u64) -> Vec<u8> {
    under(named(&[feed], b'e'), &number.to_be_bytes())
}
