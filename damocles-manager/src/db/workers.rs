//! Workers: who has called, and when last.

use crate::db::{Db, DbError, record::WorkerRecord, schema::WORKERS};
use damocles_kv::{Batch, Durability, Kv, KvError};
use std::ops::ControlFlow;

/// So many are remembered. More come from no fleet.
const MOST: usize = 10_000;

impl Db {
    /// Stores a worker's record under its name.
    pub fn put_worker(&self, record: &WorkerRecord) -> Result<(), DbError> {
        let mut batch = Batch::new();
        batch.put_json(WORKERS, record.ping.name.as_bytes(), record)?;
        Ok(self.kv().write(batch, Durability::Buffered)?)
    }

    /// Changes what is known of a worker with nobody else in between.
    ///
    /// # Errors
    /// [`DbError::TooManyWorkers`] for a new one too many.
    pub fn change_worker<T>(
        &self,
        name: &str,
        change: impl FnOnce(Option<WorkerRecord>) -> (WorkerRecord, T),
    ) -> Result<T, DbError> {
        self.kv().update(Durability::Buffered, |kv, batch| {
            let before: Option<WorkerRecord> = kv.get_json(WORKERS, name.as_bytes())?;
            if before.is_none() && count(kv)? >= MOST {
                return Err(DbError::TooManyWorkers);
            }
            let (after, out) = change(before);
            batch.put_json(WORKERS, name.as_bytes(), &after)?;
            Ok(out)
        })
    }

    /// The worker of that name.
    pub fn worker(&self, name: &str) -> Result<Option<WorkerRecord>, DbError> {
        Ok(self.kv().get_json(WORKERS, name.as_bytes())?)
    }

    /// All workers, by name.
    pub fn workers(&self) -> Result<Vec<WorkerRecord>, DbError> {
        Ok(self.kv().scan_json(WORKERS, b"")?)
    }

    /// Forgets a worker; one that is not known is no error.
    pub fn remove_worker(&self, name: &str) -> Result<(), DbError> {
        let mut batch = Batch::new();
        batch.delete(WORKERS, name.as_bytes());
        Ok(self.kv().write(batch, Durability::Synced)?)
    }
}

fn count(kv: &Kv) -> Result<usize, KvError> {
    let mut n = 0;
    kv.walk(WORKERS, b"", b"", |_, _| {
        n += 1;
        ControlFlow::Continue(())
    })?;
    Ok(n)
}
