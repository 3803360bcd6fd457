//! Lists of any length, read a page at a time: a transaction that reads a million records holds
//! them all in memory, and is in everybody's way. Each page is of one moment, the whole is not.

use crate::db::{Db, DbError, damaged::readable};
use damocles_api::lists::{self, Page, Want};
use damocles_kv::{Record, Span, StoreError, Table, Transaction};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// For a page with a filter so many records are looked at.
const MOST_SEEN: usize = 5000;
/// A page has so many items when nobody says how many.
const USUAL: usize = 100;

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The key after which it begins.
    after: Option<Vec<u8>>,
    limit: usize,
}

/// A cursor that no page ended with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor; take Next of the page before, or none for the first page")]
pub struct NoCursor(String);

impl Wanted {
    /// The first page, of so many items.
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }
}

impl TryFrom<&Want> for Wanted {
    type Error = NoCursor;

    fn try_from(want: &Want) -> Result<Self, NoCursor> {
        let after = want.cursor.as_ref().map(|text| match hex::decode(text) {
            Ok(key) if !key.is_empty() => Ok(key),
            _ => Err(NoCursor(text.clone())),
        });
        Ok(Self {
            after: after.transpose()?,
            limit: match want.limit {
                0 => USUAL,
                limit => limit.min(lists::MOST) as usize,
            },
        })
    }
}

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
        self.paged(table, span, nothing_else, |_, record| of(record))
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
        let about = |entry: &Record| Some((table, named(entry)?));
        self.paged(list, span, about, |t, entry| match named(entry) {
            Some(key) => Ok(readable(t.get_json(table, &key))?),
            None => Ok(None),
        })
    }

    /// One page of what `of` makes of the records of a span, and of the other record that each
    /// is about. With a filter that few records pass it may be short, and then there is a next
    /// one.
    pub(in crate::db) fn page<T>(
        &self,
        table: Table,
        span: Span,
        want: &Wanted,
        about: impl Fn(&Record) -> Option<Place>,
        of: impl Fn(&mut Transaction<'_>, &Record) -> Result<Option<T>, DbError>,
    ) -> Result<Page<T>, DbError> {
        let span = match &want.after {
            Some(after) => span.after(after.clone()),
            None => span,
        };
        self.read(|t| {
            let (mut items, mut seen, mut from) = (Vec::new(), 0, span.clone());
            loop {
                let entries = t.scan(table, &from, want.limit)?;
                fetch(t, &entries, &about)?;
                for entry in &entries {
                    items.extend(of(t, entry)?);
                    if items.len() == want.limit {
                        let next = Some(hex::encode(entry.key()));
                        return Ok(Page { items, next });
                    }
                }
                seen += entries.len();
                let Some(last) = entries.last().filter(|_| entries.len() == want.limit) else {
                    return Ok(Page { items, next: None });
                };
                if seen >= MOST_SEEN {
                    let next = Some(hex::encode(last.key()));
                    return Ok(Page { items, next });
                }
                from = from.after(last.key());
            }
        })
    }

    /// What `of` makes of the records of a span, all of them, and of the other record that each is
    /// about.
    pub(in crate::db) fn paged<T>(
        &self,
        table: Table,
        span: Span,
        about: impl Fn(&Record) -> Option<Place>,
        of: impl Fn(&mut Transaction<'_>, &Record) -> Result<Option<T>, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let (mut all, mut next) = (Vec::new(), span);
        loop {
            let (page, last) = self.read(|t| {
                let entries = t.scan(table, &next, PAGE)?;
                fetch(t, &entries, &about)?;
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

/// The table and the key of a record.
pub(in crate::db) type Place = (Table, Vec<u8>);

/// Of an entry that is all there is to show.
pub(in crate::db) fn nothing_else(_: &Record) -> Option<Place> {
    None
}

/// One answer brings what all the entries are about, where each would cost one.
fn fetch(
    t: &mut Transaction<'_>,
    entries: &[Record],
    about: impl Fn(&Record) -> Option<Place>,
) -> Result<(), StoreError> {
    let mut places: BTreeMap<Table, Vec<Vec<u8>>> = BTreeMap::new();
    for (table, key) in entries.iter().filter_map(about) {
        places.entry(table).or_default().push(key);
    }
    for (table, keys) in places {
        t.ahead(table, &keys)?;
    }
    Ok(())
}

/// The value of a record, which is there; for [`Db::all_of`].
pub(in crate::db) fn value<T: DeserializeOwned>(record: &Record) -> Result<Option<T>, DbError> {
    record.json().map_err(|error: StoreError| error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::schema::WORKERS;
    use damocles_kv::Durability;

    fn names(page: &Page<String>) -> Vec<&str> {
        page.items.iter().map(String::as_str).collect()
    }

    fn wanted(cursor: Option<&str>, limit: u32) -> Result<Wanted, NoCursor> {
        let cursor = cursor.map(str::to_owned);
        Wanted::try_from(&Want { cursor, limit })
    }

    #[test]
    fn pages_follow_each_other_without_a_gap_and_end() {
        let db = Db::in_memory();
        db.write::<_, StoreError>(Durability::Buffered, |t| {
            (0..7).try_for_each(|n| t.insert(WORKERS, format!("w{n}"), *b"x"))
        })
        .unwrap();
        let page = |cursor: Option<&str>, limit, span: &Span, keep: fn(&str) -> bool| {
            let want = wanted(cursor, limit).unwrap();
            db.page(WORKERS, span.clone(), &want, nothing_else, |_, record| {
                let name = String::from_utf8_lossy(record.key()).into_owned();
                Ok(Some(name).filter(|name| keep(name)))
            })
            .unwrap()
        };
        for (span, all) in [
            (Span::all(), ["w0", "w1", "w2", "w3", "w4", "w5", "w6"]),
            (
                Span::all().backwards(),
                ["w6", "w5", "w4", "w3", "w2", "w1", "w0"],
            ),
        ] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let next = page(cursor.as_deref(), 3, &span, |_| true);
                assert!(next.items.len() <= 3);
                seen.extend(next.items);
                cursor = next.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, all);
        }
        let even = |name: &str| name.ends_with(['0', '2', '4', '6']);
        let first = page(None, 3, &Span::all(), even);
        assert_eq!(names(&first), ["w0", "w2", "w4"]);
        let rest = page(first.next.as_deref(), 3, &Span::all(), even);
        assert_eq!(names(&rest), ["w6"]);
        assert_eq!(rest.next, None);
        assert_eq!(page(None, 0, &Span::all(), |_| true).items.len(), 7);
    }

    #[test]
    fn a_word_that_is_no_cursor_is_refused() {
        for word in ["", "7", "zz", "+1", "é1", "0x"] {
            assert!(wanted(Some(word), 1).is_err(), "{word}");
        }
        assert!(wanted(Some("00ff"), 1).is_ok());
    }
}
