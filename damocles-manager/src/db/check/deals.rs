//! Deals, and the lists in which they stand.

use super::{
    fault::{Fault, decoded, misplaced},
    walk::{Lane, Walk},
};
use crate::db::{
    DbError,
    deal::{DealRecord, lists},
    keys,
    schema::{DEALS, DEALS_PLACES, DEALS_RETURNING, DEALS_WAITING},
};

pub(super) fn all(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(DEALS, b"")], |t, row, faults: &mut Vec<Fault>| {
        let Some(seen) = row.get(0) else {
            return Ok(());
        };
        let Some(deal) = decoded::<DealRecord>(seen, faults)? else {
            return Ok(());
        };
        if row.key != keys::deal(deal.id) {
            faults.push(misplaced(seen, "its deal's"));
            return Ok(());
        }
        for (table, key) in lists(&deal) {
            if !t.get(table, &key)?.exists() {
                let what = format!("{} is missing in this list", deal.id);
                faults.push(Fault::missing(table, &key, Vec::new(), what));
            }
        }
        Ok(())
    })?;
    for list in [DEALS_WAITING, DEALS_PLACES, DEALS_RETURNING] {
        walk.side_by_side(&[Lane(list, b"")], |t, row, faults: &mut Vec<Fault>| {
            let deal: Option<DealRecord> = match keys::read_deal(row.key) {
                Some(id) => {
                    let (seen, mut unreadable) = (t.get(DEALS, &keys::deal(id))?, Vec::new());
                    let deal = decoded(&seen, &mut unreadable)?;
                    if !unreadable.is_empty() {
                        // of what cannot be read nothing follows
                        return Ok(());
                    }
                    deal
                }
                None => None,
            };
            let stands = |deal: DealRecord| lists(&deal).contains(&(list, row.key.to_vec()));
            if !deal.is_some_and(stands) {
                let what = "an entry of this list names no deal that stands there";
                faults.push(Fault::extra(list, row.key, what));
            }
            Ok(())
        })?;
    }
    Ok(())
}
