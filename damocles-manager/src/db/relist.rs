//! Lists in which a record stands because of what it says, kept in step with it.

use damocles_kv::{StoreError, Table, Transaction};
use std::collections::BTreeSet;

/// Takes what stood in `was` out of its lists, and puts what stands in `is` into them.
pub(in crate::db) fn relist(
    t: &mut Transaction<'_>,
    was: &BTreeSet<(Table, Vec<u8>)>,
    is: &BTreeSet<(Table, Vec<u8>)>,
) -> Result<(), StoreError> {
    for (table, key) in was.difference(is) {
        t.erase(*table, key.clone())?;
    }
    for (table, key) in is.difference(was) {
        t.overwrite(*table, key.clone(), [])?;
    }
    Ok(())
}
