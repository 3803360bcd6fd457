//! Workers: who has called, and when last.

use crate::db::{Db, DbError, record::WorkerRecord, schema::WORKERS};
use damocles_kv::{Batch, Durability};

impl Db {
    /// Stores a worker's ping under its name.
    pub fn put_worker(&self, record: &WorkerRecord) -> Result<(), DbError> {
        let mut batch = Batch::new();
        batch.put_json(WORKERS, record.ping.name.as_bytes(), record)?;
        Ok(self.kv().write(batch, Durability::Buffered)?)
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
