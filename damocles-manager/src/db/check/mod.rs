//! Looks through the whole database for what cannot be: records that cannot be read, lists that do
//! not follow from the records, names of what is not there. A page at a time, each of one moment,
//! so it may run beside managers that share the database.
//!
//! ```text
//! walk: tables whose keys mean the same, side by side ──► sectors · messages · others ──► faults
//! ```

mod fault;
mod walk;
mod sectors;
mod messages;
mod deals;
mod others;

pub use fault::{Fault, Mend};

use crate::db::{
    Db, DbError,
    damaged::readable,
    keys,
    record::SectorRecord,
    schema::{REPLICAS, SECTORS},
    stores::Location,
};
use damocles_kv::Span;
use damocles_types::SealProof;
use walk::Walk;

/// So many replicas are looked for in the stores at a time.
const REPLICA_PAGE: usize = 500;

/// A replica as the index has it, and the kind of its sector, if that has a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    pub location: Location,
    pub proof_type: Option<SealProof>,
    /// The record's key, as faults show it.
    pub key: String,
}

impl Db {
    /// Looks through all tables, and tells each fault once, and now and then how many records it
    /// has seen. Returns how many these were.
    ///
    /// # Errors
    /// A failing database.
    pub fn look_through(
        &self,
        mend: Mend,
        mut found: impl FnMut(Fault),
        mut progress: impl FnMut(u64),
    ) -> Result<u64, DbError> {
        let mut walk = Walk::new(self, mend, &mut found, &mut progress);
        sectors::all(&mut walk)?;
        messages::all(&mut walk)?;
        deals::all(&mut walk)?;
        others::all(&mut walk)?;
        Ok(walk.records())
    }

    /// A page of the index of replicas, from the one after `after` on, and the last key of it.
    /// What cannot be read is left out: [`Self::look_through`] tells it.
    ///
    /// # Errors
    /// A failing database.
    pub fn indexed(
        &self,
        after: Option<&[u8]>,
    ) -> Result<(Vec<Indexed>, Option<Vec<u8>>), DbError> {
        self.read(|t| {
            let mut span = Span::all();
            if let Some(after) = after {
                span = span.after(after);
            }
            let page = t.scan(REPLICAS, &span, REPLICA_PAGE)?;
            let mut all = Vec::with_capacity(page.len());
            for seen in &page {
                let Some(location) = readable(seen.json::<Location>())? else {
                    continue;
                };
                let sector = t.get(SECTORS, &keys::sector(location.sector))?;
                let sector: Option<SectorRecord> = readable(sector.json())?;
                all.push(Indexed {
                    location,
                    proof_type: sector.map(|record| record.proof_type),
                    key: hex::encode(seen.key()),
                });
            }
            let last = page.last().filter(|_| page.len() == REPLICA_PAGE);
            Ok((all, last.map(|last| last.key().to_vec())))
        })
    }
}

#[cfg(test)]
pub(in crate::db) mod tests;
