//! A sector's record, and the lists in which it stands because of what the record says.

use crate::{
    db::{
        damaged::readable,
        deal, keys,
        record::{Carriage, LeftChain, MessageRecord, SectorRecord},
        relist::relist,
        schema::{DONE, IN_WORK, LEFT_CHAIN, OVER, PROOFS, READY, SECTORS},
    },
    model::{Commitment, unix_ms},
};
use damocles_kv::{Record, StoreError, Table, Transaction};
use damocles_types::SectorId;
use std::collections::BTreeSet;

/// The lists, and the keys in them, in which a sector stands. Pure.
pub(in crate::db) fn lists(record: &SectorRecord) -> BTreeSet<(Table, Vec<u8>)> {
    let key = keys::sector(record.id);
    let mut lists = BTreeSet::new();
    if record.in_work() {
        lists.insert((IN_WORK, key.clone()));
        for kind in Commitment::ALL {
            if matches!(record.carriage(kind), Some(Carriage::Ready { .. })) {
                lists.insert((READY, keys::ready(kind, record.id)));
            }
        }
    } else {
        lists.insert((DONE, key.clone()));
    }
    if record.left_chain.is_some() {
        lists.insert((LEFT_CHAIN, key));
    }
    lists
}

/// The record of a sector, and what it says; none if there is none.
pub(in crate::db) fn seen_sector(
    t: &mut Transaction<'_>,
    id: SectorId,
) -> Result<(Record, Option<SectorRecord>), StoreError> {
    let seen = t.get(SECTORS, &keys::sector(id))?;
    let record = seen.json()?;
    Ok((seen, record))
}

/// Writes a record in the place of what was seen there, and what is listed because of it.
pub(in crate::db) fn put(
    t: &mut Transaction<'_>,
    seen: &Record,
    before: Option<&SectorRecord>,
    record: &SectorRecord,
) -> Result<(), StoreError> {
    t.put_json(seen, record)?;
    let (was, is) = (before.map(lists).unwrap_or_default(), lists(record));
    relist(t, &was, &is)?;
    deal::follow(t, before, record)?;
    if before.is_some_and(SectorRecord::in_work) && !record.in_work() {
        let now = unix_ms();
        t.overwrite(OVER, keys::over(now, record.id), [])?;
        // of several ends the last one counts
        t.overwrite(DONE, keys::sector(record.id), now.to_be_bytes())?;
        if !record.finalized {
            // given up: nobody sends it any more
            t.erase(PROOFS, keys::sector(record.id))?;
        }
    }
    Ok(())
}

/// Notes of those sectors of a message that are finished that they are not on chain any more.
pub(in crate::db) fn leave_chain(
    t: &mut Transaction<'_>,
    message: &MessageRecord,
) -> Result<(), StoreError> {
    let Some(kind) = message.kind.commitment() else {
        return Ok(());
    };
    for id in &message.sectors {
        let seen = t.get(SECTORS, &keys::sector(*id))?;
        let before: Option<SectorRecord> = readable(seen.json())?;
        if let Some(before) = before.filter(SectorRecord::is_finished) {
            let mut record = before.clone();
            record.left_chain = Some(LeftChain {
                since: unix_ms(),
                why: format!("its {kind} left the chain with a branch"),
                stays: false,
            });
            put(t, &seen, Some(&before), &record)?;
        }
    }
    Ok(())
}
