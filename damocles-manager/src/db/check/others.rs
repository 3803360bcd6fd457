//! Records from which nothing else follows: they can be read, and lie where they belong.

use super::{
    fault::{Fault, decoded, misplaced},
    walk::{Lane, Walk},
};
use crate::db::{
    DbError, keys,
    record::WorkerRecord,
    schema::{LEASES, MARKS, NETWORK, NETWORK_KEY, SCANNED, STRAYS, TIMELINES, WORKERS},
    stores::{Scanned, SeenMark},
    strays::Stray,
    timelines::Stored,
};
use damocles_kv::{Record, Table};
use serde::de::{DeserializeOwned, IgnoredAny};

pub(super) fn all(walk: &mut Walk<'_>) -> Result<(), DbError> {
    each::<Stray>(walk, STRAYS, "its sector's", |seen, stray| {
        seen.key() == keys::sector(stray.sector)
    })?;
    each::<Scanned>(walk, SCANNED, "its store's", |seen, scanned| {
        seen.key() == scanned.store.name.as_bytes()
    })?;
    each::<SeenMark>(walk, MARKS, "its store's", |seen, mark| {
        seen.key() == mark.store.as_bytes()
    })?;
    each::<Stored>(walk, TIMELINES, "a sector's and a number", |seen, _| {
        seen.key().len() == 24
    })?;
    each::<WorkerRecord>(walk, WORKERS, "its worker's", |_, _| true)?;
    each::<String>(walk, NETWORK, "the network's", |seen, _| {
        seen.key() == NETWORK_KEY
    })?;
    each::<IgnoredAny>(walk, LEASES, "a role's", |_, _| true)
}

fn each<T: DeserializeOwned>(
    walk: &mut Walk<'_>,
    table: Table,
    whose: &str,
    in_place: impl Fn(&Record, &T) -> bool,
) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(table, b"")], |_, row, faults: &mut Vec<Fault>| {
        for seen in row.all() {
            let value = decoded::<T>(seen, faults)?;
            if value.is_some_and(|value| !in_place(seen, &value)) {
                faults.push(misplaced(seen, whose));
            }
        }
        Ok(())
    })
}
