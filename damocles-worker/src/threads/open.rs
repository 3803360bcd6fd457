//! How a thread comes by its sealing store and its database. A store whose disk is away is
//! waited for, by this thread alone; one whose database is lost or not its own waits for a person.

use super::thread::{Engine, Over};
use crate::{
    control::{Because, Interrupt},
    metadb::{MetaDb, MetaError},
    stores::{SealingStore, StoreError},
    view::Doing,
};
use damocles_types::Failure;
use std::time::Duration;

/// A database that takes longer to open is looked for again later.
const LIMIT: Duration = Duration::from_secs(300);

impl Engine {
    /// The store and its database, however long it takes.
    pub(super) fn open(&self) -> Result<(SealingStore, MetaDb), Over> {
        let mut said = String::new();
        loop {
            let failure = match self.find() {
                Ok((store, meta)) => {
                    self.board.error(None);
                    let location = store.root().display().to_string();
                    self.world.manager.speak_for(&location, &meta.id());
                    return Ok((store, meta));
                }
                Err(MetaError::Store(error)) if !needs_a_person(&error) => {
                    Failure::temporary(&error).hint(error.hint())
                }
                Err(error) if error.is_wait() => error.failure(),
                Err(error) => {
                    let mut failure = Some(error.failure());
                    self.until(|| failure.take().map_or(Ok(()), Err))?;
                    continue;
                }
            };
            let what = format!("its sealing store: {}", failure.message);
            if said != what {
                self.log_failure(&failure);
                said.clone_from(&what);
            }
            self.board.error(Some(failure));
            self.board.doing(Doing::Waiting(what));
            let again = self.config.settings.sealing.recover_interval;
            match self.control.wait_about(again) {
                Ok(()) => {}
                Err(Interrupt::Stop) => return Err(Over),
                Err(Interrupt::Pause) => {
                    self.paused(Because::Asked, Vec::new())?;
                }
            }
        }
    }

    fn find(&self) -> Result<(SealingStore, MetaDb), MetaError> {
        let (store, meta) = match self.board.database() {
            Some(meta) => {
                let store = SealingStore::open(&self.config.location).map_err(MetaError::Store)?;
                (store, meta)
            }
            None => MetaDb::at(&self.config.location, LIMIT)?,
        };
        meta.close_interrupted()?;
        self.drain.meet(&meta)?;
        Ok((store, meta))
    }
}

/// What does not come right by itself. A directory that holds something else does: a disk is
/// mounted over it, or the command that makes the store has not come to its end.
fn needs_a_person(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::LostDatabase { .. } | StoreError::OtherDatabase { .. }
    )
}
