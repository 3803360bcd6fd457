//! How an older database is brought up to date, on every engine the same: step by step, each in
//! pages. Several that open one database at a time share the work.

use crate::{
    Durability, Schema, Span, Store, StoreError, Table, Transaction, Work,
    schema::Migration,
    stamp::{STAMP_KEY, Stamp},
    table::META,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// So many records in one transaction.
const PAGE: usize = 500;
/// Between two lines that say how far it is.
const SAID: Duration = Duration::from_secs(5);
/// Where [`Place`] is kept, in [`META`].
const PLACE_KEY: &[u8] = b"migration";

/// How far a migration has come. While this is kept, it is not at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// The version that it leads to. The stamp has it from the first page on: what an older
    /// program wrote before the place would never be shown.
    to: u32,
    /// The last key that was shown.
    after: Vec<u8>,
}

/// Whether a migration has begun and is not at its end.
pub(crate) fn is_under_way(t: &mut Transaction<'_>) -> Result<bool, StoreError> {
    Ok(t.get(META, PLACE_KEY)?.exists())
}

/// What one transaction came to.
enum Done {
    Page(usize),
    /// The database has the version, be it by this one or by another.
    All,
}

/// Takes a database, which has a stamp of a version that this program knows, to the newest one.
///
/// # Errors
/// Of the database; those of a migration.
pub(crate) fn migrate(store: &Store, schema: &Schema, version: u32) -> Result<(), StoreError> {
    let place: Option<Place> = store.read(|t| t.get_json(META, PLACE_KEY))?;
    let next = match place {
        Some(place) if place.to <= version => place.to,
        _ => version + 1,
    };
    let done = (next as usize).saturating_sub(2);
    for (migration, to) in schema.migrations.iter().skip(done).zip(next..) {
        let what = migration.what;
        tracing::info!(to, "the database is brought up to date: {what}");
        let (mut records, mut said) = (0, Instant::now());
        while let Done::Page(more) = page(store, migration, to)? {
            records += more;
            if said.elapsed() >= SAID {
                tracing::info!(to, records, "the database is brought up to date: {what}");
                said = Instant::now();
            }
        }
    }
    Ok(())
}

fn page(store: &Store, migration: &Migration, to: u32) -> Result<Done, StoreError> {
    store.transact(Durability::Synced, |t| {
        let (at, kept) = (t.get(META, STAMP_KEY)?, t.get(META, PLACE_KEY)?);
        let place = kept.json::<Place>()?.filter(|place| place.to == to);
        let begun = place.is_some();
        let Some(stamp) = at
            .json::<Stamp>()?
            .filter(|stamp| begun || stamp.version < to)
        else {
            return Ok(Done::All);
        };
        let shown = match migration.work {
            Work::Nothing => None,
            Work::Each(table, change) => some(t, table, place, change)?,
        };
        if !begun {
            let version = to;
            t.put_json(&at, &Stamp { version, ..stamp })?;
        }
        match shown {
            Some((records, after)) => {
                t.put_json(&kept, &Place { to, after })?;
                Ok(Done::Page(records))
            }
            None => {
                t.delete(&kept)?;
                Ok(Done::All)
            }
        }
    })
}

/// Shows a page; how many records that were, and the last key. None: there are none left.
fn some(
    t: &mut Transaction<'_>,
    table: Table,
    place: Option<Place>,
    change: fn(&mut Transaction<'_>, &crate::Record) -> Result<(), StoreError>,
) -> Result<Option<(usize, Vec<u8>)>, StoreError> {
    let span = match place {
        Some(place) => Span::all().after(place.after),
        None => Span::all(),
    };
    let records = t.scan(table, &span, PAGE)?;
    for record in &records {
        change(t, record)?;
    }
    Ok(records
        .last()
        .map(|last| (records.len(), last.key().to_vec())))
}
