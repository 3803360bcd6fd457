//! The store as its users see it: it runs a closure as a transaction, again while others are in
//! its way.

use super::{
    access::Transaction,
    engine::{Attempt, End, Engine, Failure},
    error::StoreError,
};
use crate::{
    Durability, KvError, Trouble,
    stamp::{STAMP_KEY, Stamp},
    table::{META, PROBE_KEY},
};
use rand::Rng as _;
use std::{
    cell::RefCell,
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};
use uuid::Uuid;

/// So often a transaction is tried before its caller hears of the conflict. With the pauses in
/// between that is about a second.
const ATTEMPTS: u32 = 50;
/// Of them, so many on a database that cannot be reached.
const AWAY: u32 = 4;
/// The longest pause between two attempts; each is a random part of a doubling one.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_micros(100);

thread_local! {
    /// The stores of which this thread is inside a transaction.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A database that is read and written by transactions; clones share it. Calls block: from async
/// code make them on a blocking thread.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Arc<dyn Engine>,
    id: Uuid,
    attempts: u32,
    /// The version that this program writes, where others may bring the database to a newer one
    /// meanwhile.
    version: Option<u32>,
    /// Somebody has done so.
    outdated: Arc<OnceLock<Trouble>>,
}

impl Store {
    pub(crate) fn new(engine: Arc<dyn Engine>, id: Uuid) -> Self {
        Self {
            engine,
            id,
            attempts: ATTEMPTS,
            version: None,
            outdated: Arc::default(),
        }
    }

    /// The same store, that writes nothing any more once the database has a newer version. One
    /// that nobody else can open gets none while it is open.
    pub(crate) fn of_version(self, version: u32) -> Self {
        Self {
            version: self.is_shared().then_some(version),
            ..self
        }
    }

    /// What a newer program writes, an older one may not write over.
    fn current(&self, t: &mut Transaction<'_>) -> Result<(), StoreError> {
        let Some(known) = self.version else {
            return Ok(());
        };
        let stamp: Option<Stamp> = t.get_json(META, STAMP_KEY)?;
        let found = stamp.map_or(known, |stamp| stamp.version);
        if found <= known {
            return Ok(());
        }
        let error = StoreError::Newer { found, known };
        self.outdated
            .get_or_init(|| Trouble::new(&error.to_string()));
        Err(error)
    }

    pub(crate) fn with_id(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    /// The database's own name: made with it, never changed, and no other database has it.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Why writes fail; None when the last one succeeded.
    pub fn trouble(&self) -> Option<Trouble> {
        self.outdated
            .get()
            .cloned()
            .or_else(|| self.engine.trouble())
    }

    /// Whether other processes may have the same database open.
    pub fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    /// Has a thread make ready what transactions will want: on a server the connections, so that
    /// those who come first need not wait for each other's. For programs that stay.
    pub fn open_ahead(&self) {
        let engine = self.engine.clone();
        let ahead = thread::Builder::new().name("connections".into());
        // without a thread to spare they are opened when they are wanted
        let _ = ahead.spawn(move || engine.open_ahead());
    }

    /// Writes something that nobody reads, to see whether that can be done.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.transact(Durability::Synced, |t| t.overwrite(META, PROBE_KEY, []))
    }

    /// Copies the database, of one moment and with all that was acknowledged, into a directory
    /// that does not exist yet; it goes on meanwhile. False: it lies on a server, which has means
    /// of its own.
    ///
    /// # Errors
    /// [`KvError::Storage`]; the directory is then not whole.
    pub fn backup(&self, to: &Path) -> Result<bool, StoreError> {
        match self.engine.backup(to) {
            Some(done) => Ok(done.map(|()| true)?),
            None => Ok(false),
        }
    }

    /// How many writes were asked to be on the disk, and are; None where a server counts them.
    pub fn synced_writes(&self) -> Option<u64> {
        self.engine.synced_writes()
    }

    /// For tests of what follows: from now on writes to a database in memory fail for this
    /// reason, or succeed again.
    pub fn fail_writes(&self, reason: Option<&str>) {
        self.engine.fail_writes(reason);
    }

    /// The same store, that tries a transaction so often and not more.
    #[must_use]
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Runs `body` as a transaction: what it reads and writes through `t` happens at one moment,
    /// with no other transaction in between, whole or not at all. When this returns `Ok`, it is
    /// as durable as `durability` says, and so is everything that it has read.
    ///
    /// `body` may run again from its beginning when others wrote what it had read, so it must
    /// have no effect but through `t`. An error of it writes nothing, and is returned as it is:
    /// it, too, was decided on records of one moment.
    ///
    /// # Errors
    /// Those of `body`. [`StoreError::Conflict`] after many attempts and [`StoreError::Away`] are
    /// waits ([`StoreError::is_wait`]); [`StoreError::UnknownOutcome`] only where a network lies
    /// between; [`StoreError::Nested`] inside another transaction of this store.
    pub fn transact<T, E: From<StoreError>>(
        &self,
        durability: Durability,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(durability, false, body)
    }

    /// [`Self::transact`] for a closure that writes nothing.
    ///
    /// # Errors
    /// Those of [`Self::transact`]; [`StoreError::ReadOnly`] when it writes.
    pub fn read<T, E: From<StoreError>>(
        &self,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(Durability::Synced, true, body)
    }

    fn run<T, E: From<StoreError>>(
        &self,
        durability: Durability,
        read_only: bool,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _inside = Inside::enter(&self.engine)?;
        let (mut number, mut away) = (0, 0);
        loop {
            number += 1;
            let attempt = Attempt {
                number,
                durability,
                read_only,
            };
            let mut outcome = None;
            let done = self.engine.attempt(attempt, &mut |view| {
                let mut t = Transaction::new(view, read_only);
                let current = if read_only {
                    Ok(())
                } else {
                    self.current(&mut t)
                };
                let result = match current {
                    Ok(()) => body(&mut t),
                    Err(newer) => Err(newer.into()),
                };
                let end = t.end();
                let refused = result.is_err();
                outcome = Some(result);
                match end {
                    End::Commit(_) if refused => End::Refused,
                    end => end,
                }
            });
            match (done, outcome) {
                (Ok(()), Some(outcome)) => return outcome,
                (Ok(()), None) => return Err(StoreError::Kv(never_ran()).into()),
                (Err(Failure::Final(error)), _) => return Err(error.into()),
                (Err(Failure::Again(error)), _) => {
                    away += u32::from(matches!(error, StoreError::Away { .. }));
                    if number >= self.attempts || away >= AWAY {
                        return Err(after(error, number).into());
                    }
                    pause(number);
                }
            }
        }
    }
}

/// What is told when there is no other attempt.
fn after(error: StoreError, attempts: u32) -> StoreError {
    match error {
        StoreError::Conflict { .. } => StoreError::Conflict { attempts },
        other => other,
    }
}

/// Two that met try again at different times, or they would meet again.
fn pause(attempt: u32) {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << attempt.min(16))
        .min(LONGEST_PAUSE);
    thread::sleep(rand::thread_rng().gen_range(Duration::ZERO..=longest));
}

fn never_ran() -> KvError {
    KvError::Storage {
        doing: "reading",
        table: META.0,
        reason: "the transaction was not run".to_owned(),
    }
}

/// While it lives, this thread is inside a transaction of the store.
struct Inside;

impl Inside {
    fn enter(engine: &Arc<dyn Engine>) -> Result<Self, StoreError> {
        let name = Arc::as_ptr(engine).cast::<()>() as usize;
        INSIDE.with_borrow_mut(|inside| {
            if inside.contains(&name) {
                return Err(StoreError::Nested);
            }
            inside.push(name);
            Ok(Self)
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| inside.pop());
    }
}
