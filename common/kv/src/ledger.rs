//! The order in which transactions happened, for engines that let them run side by side: a
//! commit is let in when nothing that it has read was written since it began.

use crate::{
    Durability,
    change::Change,
    recent::{Footprint, Recent},
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// A transaction that met others so often has the next run for itself.
const PATIENCE: u32 = 6;

#[derive(Debug)]
pub(crate) struct Ledger {
    /// Held by who must have no transaction beside: one that met others too often. Every
    /// transaction takes it for its commit.
    alone: Mutex<()>,
    line: Mutex<Line>,
    /// The last commit that readers see.
    applied: AtomicU64,
    /// The last commit of those that are to be on the disk before anybody hears of them.
    owed: AtomicU64,
    /// How many run that began after which commit.
    running: Mutex<BTreeMap<u64, usize>>,
    synced: AtomicU64,
}

/// Where commits stand in line.
#[derive(Debug)]
pub(crate) struct Line {
    recent: Recent,
    last: u64,
}

/// What a commit is, apart from what it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// When it began, and what it has read.
    pub(crate) began: u64,
    pub(crate) read: &'a Footprint,
    pub(crate) changes: &'a [Change],
    pub(crate) durability: Durability,
    /// What is on the disk: younger commits are remembered until they are, too.
    pub(crate) on_disk: u64,
}

/// A transaction that runs; commits after its beginning are remembered as long as it lives.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    ledger: &'a Ledger,
    pub(crate) began: u64,
}

impl Ledger {
    /// Of a store with so many commits.
    pub(crate) fn new(commits: u64) -> Self {
        Self {
            alone: Mutex::new(()),
            line: Mutex::new(Line {
                recent: Recent::since(commits),
                last: commits,
            }),
            applied: AtomicU64::new(commits),
            owed: AtomicU64::new(commits),
            running: Mutex::new(BTreeMap::new()),
            synced: AtomicU64::new(0),
        }
    }

    /// No transaction commits while this is held.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock()
    }

    /// The same for an attempt that has met others too often.
    pub(crate) fn alone_after(&self, attempt: u32) -> Option<MutexGuard<'_, ()>> {
        (attempt > PATIENCE).then(|| self.alone())
    }

    /// The last commit that is in the engine.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// A transaction begins. What it sees must be looked at afterwards.
    pub(crate) fn begin(&self) -> Running<'_> {
        let mut running = self.running.lock();
        let began = self.applied();
        *running.entry(began).or_default() += 1;
        Running {
            ledger: self,
            began,
        }
    }

    /// The line stands still while this is held.
    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock()
    }

    /// Applies a commit with the next number, and tells the number. None: what it has read was
    /// written since, and nothing was done. `apply` gets the number, and the one of the oldest
    /// commit after which a transaction began that still runs.
    pub(crate) fn commit<E>(
        &self,
        commit: &Commit<'_>,
        apply: impl FnOnce(&mut Line, u64, u64) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        let mut line = self.line.lock();
        if line.recent.touched(commit.began, commit.read) {
            return Ok(None);
        }
        let oldest = self.oldest();
        let number = line.last + 1;
        if commit.durability == Durability::Synced {
            // before it can be seen: who sees it then waits for the line and looks there
            self.owed.store(number, Ordering::Release);
        }
        apply(&mut line, number, oldest)?;
        // the line may have moved, when the database was opened anew
        let at = line.last + 1;
        line.last = at;
        let places = commit.changes.iter().map(Change::place);
        let keys = places.map(|(table, key)| (table, key.to_vec())).collect();
        line.recent.note(at, keys, commit.durability);
        if commit.durability == Durability::Synced {
            self.owed.fetch_max(at, Ordering::AcqRel);
        }
        self.applied.store(at, Ordering::Release);
        let owing = self.owed.load(Ordering::Acquire) > commit.on_disk;
        let kept = if owing {
            oldest.min(commit.on_disk)
        } else {
            oldest
        };
        line.recent.forget(kept);
        Ok(Some(at))
    }

    /// Whether what was read was written by a commit that is to be on the disk, and is not there
    /// yet: nobody may hear of it.
    pub(crate) fn owed(&self, on_disk: u64, read: &Footprint) -> bool {
        self.owed.load(Ordering::Acquire) > on_disk && self.line.lock().recent.owed(on_disk, read)
    }

    /// The engine lost its place: who runs must begin anew. Returns the number that stands for
    /// it.
    pub(crate) fn interrupted(&self, line: &mut Line) -> u64 {
        line.last += 1;
        line.recent.forget_all(line.last);
        self.applied.store(line.last, Ordering::Release);
        line.last
    }

    /// One more write was asked to be on the disk, and is.
    pub(crate) fn count_synced(&self) {
        self.synced.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn synced_writes(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }

    fn oldest(&self) -> u64 {
        let running = self.running.lock();
        let first = running.first_key_value().map(|(began, _)| *began);
        first.unwrap_or_else(|| self.applied())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.ledger.running.lock();
        if let Some(count) = running.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.began);
            }
        }
    }
}
