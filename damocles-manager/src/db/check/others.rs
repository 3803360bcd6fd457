//! Records from which nothing else follows: they can be read, and lie where they belong.

use super::{
    fault::{Fault, decoded, misplaced},
    walk::{Lane, Walk},
};
use crate::db::{
    DbError,
    blocks::{BlockRecord, Rounds},
    keys,
    record::WorkerRecord,
    schema::{
        BLOCKS, LEASES, MARKS, NETWORK, NETWORK_KEY, OVER, ROUNDS, SCANNED, SECTORS, SPENT, STRAYS,
        TIMELINES, WORKERS,
    },
    spent::Spent,
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
    each::<Spent>(walk, SPENT, "a day's, a miner's and a kind's", |seen, _| {
        seen.key().len() > 12
    })?;
    each::<BlockRecord>(walk, BLOCKS, "its miner's and epoch's", |seen, block| {
        seen.key() == keys::opening(block.miner, block.height)
    })?;
    each::<Rounds>(walk, ROUNDS, "a miner's", |seen, _| seen.key().len() == 8)?;
    listed(walk)?;
    each::<WorkerRecord>(walk, WORKERS, "its worker's", |_, _| true)?;
    each::<String>(walk, NETWORK, "the network's", |seen, _| {
        seen.key() == NETWORK_KEY
    })?;
    each::<IgnoredAny>(walk, LEASES, "a role's", |_, _| true)
}

/// What is over and not forgotten yet has a record.
fn listed(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(OVER, b"")], |t, row, faults: &mut Vec<Fault>| {
        let sector = keys::read_sector(row.key).filter(|_| row.key.len() == 24);
        let known = match sector {
            Some(id) => t.get(SECTORS, &keys::sector(id))?.exists(),
            None => false,
        };
        if !known {
            let what = "an entry of this list names no sector of which there is a record";
            faults.push(Fault::extra(OVER, row.key, what));
        }
        Ok(())
    })
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
