//! Transactions on a snapshot. What they have read is compared with what was written since when
//! they commit.

use super::{
    commit::Rocks,
    state::{failed, family},
};
use crate::{
    Durability, KvError, Table, Trouble,
    recent::Footprint,
    table::META,
    transaction::{Attempt, End, Engine, Failure, Range, Stored, View, unpack},
};
use rocksdb::{DB, IteratorMode, ReadOptions, SnapshotWithThreadMode, checkpoint::Checkpoint};
use std::path::Path;

/// The database as it was when the transaction began.
struct Moment<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    read: Footprint,
}

fn stored(bytes: &[u8]) -> Stored {
    let (version, value) = unpack(bytes);
    Stored {
        version,
        value: value.to_vec(),
    }
}

impl View for Moment<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        self.read.keys.push((table, key.to_vec()));
        let found = self
            .snapshot
            .get_pinned_cf(family(self.db, table)?, key)
            .map_err(|e| failed("reading", table, &e))?;
        Ok(found.map(|bytes| stored(&bytes)))
    }

    fn scan(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Stored)>, Failure> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.low.clone());
        if let Some(high) = &range.high {
            options.set_iterate_upper_bound(high.clone());
        }
        let mode = if backwards {
            IteratorMode::End
        } else {
            IteratorMode::Start
        };
        let family = family(self.db, table)?;
        let mut found = Vec::new();
        for entry in self
            .snapshot
            .iterator_cf_opt(family, options, mode)
            .take(limit)
        {
            let (key, value) = entry.map_err(|e| failed("reading", table, &e))?;
            found.push((key.into_vec(), stored(&value)));
        }
        self.read.saw(table, range, backwards, limit, &found);
        Ok(found)
    }
}

impl Engine for Rocks {
    fn attempt(
        &self,
        attempt: Attempt,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> Result<(), Failure> {
        let alone = self.ledger.alone_after(attempt.number);
        // before the snapshot: at worst it shows more than is thought, never less
        let running = self.ledger.begin();
        let (end, read, opening) = self.with(|db, opening| {
            let mut view = Moment {
                db,
                snapshot: db.snapshot(),
                read: Footprint::default(),
            };
            let end = body(&mut view);
            Ok::<_, Failure>((end, view.read, opening))
        })?;
        let changes = match end {
            End::Failed(failure) => return Err(failure),
            End::Commit(changes) => changes,
            End::Refused => Vec::new(),
        };
        if changes.is_empty() {
            drop(alone);
            if attempt.durability == Durability::Synced {
                self.settle(&read)?;
            }
            // what it read may not have come back
            let same = self.state.read_recursive().opening == opening;
            return if same {
                Ok(())
            } else {
                Err(Failure::conflict())
            };
        }
        let number = {
            let _alone = alone.unwrap_or_else(|| self.ledger.alone());
            self.append(running.began, &read, &changes, attempt.durability)?
        };
        drop(running);
        match number {
            None => Err(Failure::conflict()),
            Some(number) if attempt.durability == Durability::Synced => {
                Ok(self.acknowledge(number)?)
            }
            Some(_) => Ok(()),
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        self.last_trouble()
    }

    fn synced_writes(&self) -> Option<u64> {
        Some(self.ledger.synced_writes())
    }

    fn backup(&self, to: &Path) -> Option<Result<(), KvError>> {
        let copied = self.with(|db, _| {
            Checkpoint::new(db)
                .and_then(|checkpoint| checkpoint.create_checkpoint(to))
                .map_err(|e| failed("copying", META, &e))
        });
        Some(copied)
    }
}
