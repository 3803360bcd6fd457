//! Workers: who has called, and when last.

use crate::db::{
    Db, DbError,
    pages::{Wanted, nothing_else},
    record::WorkerRecord,
    schema::WORKERS,
};
use damocles_api::lists::Page;
use damocles_kv::{Durability, Span, Transaction};

/// So many are remembered. More come from no fleet.
const MOST: usize = 10_000;

impl Db {
    /// Changes what is known of a worker. `change` may be asked more than once, when others
    /// change the same.
    ///
    /// # Errors
    /// [`DbError::TooManyWorkers`] for a new one too many.
    pub fn change_worker<T>(
        &self,
        name: &str,
        change: impl Fn(Option<WorkerRecord>) -> (WorkerRecord, T),
    ) -> Result<T, DbError> {
        // a bound, not a law: not in the transaction, or every ping would be in its way
        let full = self.worker(name)?.is_none() && self.workers_are(MOST)?;
        self.write(Durability::Buffered, |t| {
            let seen = t.get(WORKERS, name.as_bytes())?;
            let before: Option<WorkerRecord> = seen.json()?;
            if before.is_none() && full {
                return Err(DbError::TooManyWorkers);
            }
            let (after, out) = change(before);
            t.put_json(&seen, &after)?;
            Ok(out)
        })
    }

    /// Notes that a worker stopped in order, with no ping in between. One that never called is
    /// no error.
    pub fn worker_left(&self, name: &str) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let seen = t.get(WORKERS, name.as_bytes())?;
            if let Some(mut record) = seen.json::<WorkerRecord>()? {
                record.left = true;
                record.ping.summary = Default::default();
                t.put_json(&seen, &record)?;
            }
            Ok(())
        })
    }

    /// The worker of that name.
    pub fn worker(&self, name: &str) -> Result<Option<WorkerRecord>, DbError> {
        self.read(|t| Ok(t.get_json(WORKERS, name.as_bytes())?))
    }

    /// All workers, by name.
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, DbError> {
        self.read(|t| {
            let all = t.scan(WORKERS, &Span::all(), MOST)?;
            let mut records = Vec::with_capacity(all.len());
            for seen in all {
                records.extend(seen.json()?);
            }
            Ok(records)
        })
    }

    /// A page of them.
    pub fn workers_page(&self, want: &Wanted) -> Result<Page<WorkerRecord>, DbError> {
        self.page(WORKERS, Span::all(), want, nothing_else, |_, seen| {
            Ok(seen.json()?)
        })
    }

    /// Forgets a worker; one that is not known is no error.
    pub fn remove_worker(&self, name: &str) -> Result<(), DbError> {
        let forget = |t: &mut Transaction<'_>| Ok(t.erase(WORKERS, name)?);
        self.write(Durability::Synced, forget)
    }

    /// Whether there are so many.
    fn workers_are(&self, many: usize) -> Result<bool, DbError> {
        self.read(|t| Ok(t.scan(WORKERS, &Span::all(), many)?.len() >= many))
    }
}
