//! How a commit gets into the log, and how many of them get onto the disk by one sync.

use super::state::{Reopened, State};
use crate::{
    Durability, KvError, Table,
    change::Change,
    health::{Trouble, heals_by_itself},
    ledger::{Commit, Ledger, Line},
    recent::Footprint,
    table::META,
    transaction::Version,
};
use parking_lot::{Condvar, Mutex, RwLock};
use rocksdb::Options;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// For open transactions to end before it is opened anew. One that waits for who wants to open it
/// is outwaited here.
pub(super) const LEAVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Rocks {
    dir: PathBuf,
    pub(super) state: RwLock<State>,
    trouble: Mutex<Option<Trouble>>,
    pub(crate) ledger: Ledger,
    /// The last commit that is on the disk, and all before it.
    on_disk: AtomicU64,
    disk: Mutex<Disk>,
    /// A sync has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Disk {
    /// Somebody syncs.
    syncing: bool,
    /// Commits from the first to the second that did not come back after a failure.
    lost: Vec<(u64, u64)>,
}

impl Rocks {
    /// Opens the database, which has these families, to read and write.
    pub(crate) fn open(
        dir: &Path,
        families: &[String],
        options: &Options,
    ) -> Result<Self, rocksdb::Error> {
        let state = State::open(dir, families, options)?;
        // a commit changes at least one record, so no number comes twice
        let commits = state.written();
        Ok(Self {
            dir: dir.to_owned(),
            state: RwLock::new(state),
            trouble: Mutex::new(None),
            ledger: Ledger::new(commits),
            on_disk: AtomicU64::new(commits),
            disk: Mutex::new(Disk::default()),
            ended: Condvar::new(),
        })
    }

    /// Adds tables that the database does not have yet.
    pub(crate) fn add_tables(
        &mut self,
        tables: impl Iterator<Item = Table>,
    ) -> Result<(), rocksdb::Error> {
        self.state.get_mut().add_tables(tables)
    }

    /// Why the last write failed, until one succeeds.
    pub(super) fn last_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    /// Returns when a commit of the caller is on the disk.
    pub(super) fn acknowledge(&self, number: u64) -> Result<(), KvError> {
        self.bring_to_disk(number)?;
        self.ledger.count_synced();
        Ok(())
    }

    /// Puts a commit into the log, and tells its number. None: what it has read was written
    /// since.
    pub(super) fn append(
        &self,
        began: u64,
        read: &Footprint,
        changes: &[Change],
        durability: Durability,
    ) -> Result<Option<u64>, KvError> {
        let commit = Commit {
            began,
            read,
            changes,
            durability,
            on_disk: self.on_disk(),
        };
        let done = self.ledger.commit(&commit, |line, number, _| {
            let version = Version(number);
            let (first, opening) = {
                let state = self.state.read_recursive();
                (state.apply(changes, version), state.opening)
            };
            if !is_lasting(&first) {
                return first;
            }
            // the same on the database opened anew, with no other write in between
            if let Some(mut state) = self.state.try_write_for(LEAVE) {
                self.open_anew(line, &mut state, opening);
                return state.apply(changes, version);
            }
            self.state.read_recursive().apply(changes, version)
        });
        self.told(done)
    }

    /// Returns when the commit and all before it are on the disk. One caller syncs for all that
    /// are in the log by then; who comes meanwhile waits for the next sync.
    fn bring_to_disk(&self, number: u64) -> Result<(), KvError> {
        let mut disk = self.disk.lock();
        loop {
            if disk.lost.iter().any(|(a, b)| (*a..=*b).contains(&number)) {
                return Err(lost());
            }
            if self.on_disk() >= number {
                return Ok(());
            }
            if disk.syncing {
                self.ended.wait(&mut disk);
                continue;
            }
            disk.syncing = true;
            drop(disk);
            let upto = self.ledger.applied();
            let done = self.told(self.sync());
            disk = self.disk.lock();
            disk.syncing = false;
            if done.is_ok() {
                self.on_disk.fetch_max(upto, Ordering::AcqRel);
            }
            self.ended.notify_all();
            done?;
        }
    }

    /// Nobody hears of what a power cut could still take back: waits until what was read is on
    /// the disk, so far as it is to be there.
    pub(super) fn settle(&self, read: &Footprint) -> Result<(), KvError> {
        if self.ledger.owed(self.on_disk(), read) {
            self.bring_to_disk(self.ledger.applied())?;
        }
        Ok(())
    }

    /// Opens a database that was closed after a failure, if that is possible now.
    pub(super) fn open_closed(&self) {
        let mut line = self.ledger.line();
        if let Some(mut state) = self.state.try_write_for(LEAVE) {
            let opening = state.opening;
            self.open_anew(&mut line, &mut state, opening);
        }
    }

    fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Acquire)
    }

    fn sync(&self) -> Result<(), KvError> {
        let (first, opening) = {
            let state = self.state.read_recursive();
            (state.sync(META), state.opening)
        };
        if !is_lasting(&first) {
            return first;
        }
        let mut line = self.ledger.line();
        match self.state.try_write_for(LEAVE) {
            Some(mut state) => {
                self.open_anew(&mut line, &mut state, opening);
                state.sync(META)
            }
            None => first,
        }
    }

    fn open_anew(&self, line: &mut Line, state: &mut State, opening: u64) {
        let Some(reopened) = state.open_anew(&self.dir, opening) else {
            return;
        };
        let before = self.ledger.applied();
        // who runs has seen records that may be gone
        self.ledger.interrupted(line);
        if reopened == Reopened::Short {
            let first = self.on_disk() + 1;
            self.disk.lock().lost.push((first, before));
        }
    }

    /// Keeps in mind whether writes fail.
    fn told<T>(&self, done: Result<T, KvError>) -> Result<T, KvError> {
        let mut trouble = self.trouble.lock();
        match &done {
            Ok(_) => *trouble = None,
            Err(KvError::Storage { reason, .. }) => {
                trouble.get_or_insert_with(|| Trouble::new(reason));
            }
            Err(_) => {}
        }
        done
    }
}

/// A failure of the disk that does not end by itself.
fn is_lasting(done: &Result<(), KvError>) -> bool {
    matches!(done, Err(KvError::Storage { reason, .. }) if !heals_by_itself(reason))
}

fn lost() -> KvError {
    KvError::Storage {
        doing: "writing",
        table: META.0,
        reason: "the log could not be brought to the disk, and its end is lost".to_owned(),
    }
}
