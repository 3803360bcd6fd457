//! Timelines: what workers report of the steps that they attempted.

use crate::db::{
    Db, DbError, keys,
    pages::{self, Wanted},
    schema::TIMELINES,
};
use damocles_api::{lists::Page, timeline::TimelineEntry};
use damocles_kv::{Durability, Span};
use damocles_types::SectorId;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(in crate::db) struct Stored {
    v: u32,
    /// The worker that reported it.
    instance: String,
    entry: TimelineEntry,
}

impl Db {
    /// Stores entries; one with a known `seq` replaces the old one.
    ///
    /// # Errors
    /// [`DbError::NotOwner`] and [`DbError::Unknown`] for a worker that has the sector not.
    pub fn put_timeline(
        &self,
        sector: SectorId,
        instance: &str,
        entries: &[TimelineEntry],
    ) -> Result<(), DbError> {
        // The worker keeps the original.
        self.write(Durability::Buffered, |t| {
            self.guard(t, sector)?;
            for entry in entries {
                let seen = t.get(TIMELINES, &keys::timeline(sector, entry.seq))?;
                let stored = Stored {
                    v: super::record::VERSION,
                    instance: instance.to_owned(),
                    entry: entry.clone(),
                };
                t.put_json(&seen, &stored)?;
            }
            Ok(())
        })
    }

    /// A page of the entries of a sector, in the order of `seq`.
    pub fn timeline_page(
        &self,
        sector: SectorId,
        want: &Wanted,
    ) -> Result<Page<TimelineEntry>, DbError> {
        let span = Span::prefix(keys::sector(sector));
        self.page(TIMELINES, span, want, pages::nothing_else, |_, seen| {
            Ok(seen.json::<Stored>()?.map(|stored| stored.entry))
        })
    }

    /// The entries of a sector, in the order of `seq`.
    pub fn timeline(&self, sector: SectorId) -> Result<Vec<TimelineEntry>, DbError> {
        let span = Span::prefix(keys::sector(sector));
        let all: Vec<Stored> = self.all_of(TIMELINES, span, pages::value)?;
        Ok(all.into_iter().map(|s| s.entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, state: &str) -> TimelineEntry {
        TimelineEntry {
            seq,
            state: state.into(),
            stage: "PC1".into(),
            queued_at: 1,
            started_at: None,
            ended_at: None,
            child: None,
            kernel: None,
            ending: None,
        }
    }

    #[test]
    fn entries_are_kept_per_sector_in_order_and_replaced_by_seq() {
        let db = Db::in_memory();
        let (a, b) = (SectorId::new(1000, 1), SectorId::new(1000, 2));
        db.put_timeline(a, "w", &[entry(256, "x"), entry(0, "old")])
            .unwrap();
        db.put_timeline(b, "w", &[entry(5, "b")]).unwrap();
        db.put_timeline(a, "w", &[entry(0, "new")]).unwrap();
        let states: Vec<_> = db
            .timeline(a)
            .unwrap()
            .into_iter()
            .map(|e| (e.seq, e.state))
            .collect();
        assert_eq!(states, [(0, "new".to_owned()), (256, "x".to_owned())]);
    }
}
