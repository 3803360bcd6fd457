//! The server as an engine. An attempt that only reads has a connection for itself, since it holds a
//! transaction open there; one that may write has one while it asks, and its commit goes with others.

use super::{
    connection::Connection, pool::Then, reading::Reading, server::Server, sql::Fault,
    writing::Writing,
};
use crate::{
    KvError, StoreError, Trouble,
    change::Change,
    table::META,
    transaction::{Attempt, End, Engine, Failure, View},
};

impl Server {
    /// One run of a closure that only reads.
    fn read(
        &self,
        connection: &Connection,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> (Result<(), Failure>, Then) {
        let mut reading = Reading::new(self, connection);
        let end = body(&mut reading);
        if let Err(failure) = decided(end, reading.fault()) {
            let then = match (reading.fault(), reading.roll_back()) {
                (Some(Fault::Lost(_)), _) => Then::CloseAll,
                (_, Ok(())) => Then::Keep,
                (_, Err(_)) => Then::Close,
            };
            return (Err(failure), then);
        }
        match reading.commit() {
            Ok(()) => (Ok(()), Then::Keep),
            Err(fault) => {
                let then = Then::after(&fault);
                (Err(fault.before_commit("reading", META)), then)
            }
        }
    }

    /// One run of a closure that may write, and its commit.
    fn write(&self, body: &mut dyn FnMut(&mut dyn View) -> End) -> Result<(), Failure> {
        let mut writing = Writing::new(self);
        let end = body(&mut writing);
        let (seen, fault) = (writing.seen, writing.fault);
        let changes = decided(end, fault.as_ref())?;
        self.all_known(&changes)?;
        self.commit(seen, changes).told()
    }

    /// Keeps in mind whether the server answers, and whether it takes what is written.
    fn told(&self, done: &Result<(), Failure>) {
        let Err(Failure::Again(error) | Failure::Final(error)) = done else {
            return *self.trouble.lock() = None;
        };
        let trouble = match error {
            StoreError::Away { reason } | StoreError::UnknownOutcome { reason } => {
                Trouble::away(reason)
            }
            StoreError::Kv(KvError::Storage { reason, .. }) => Trouble::new(reason),
            // it answers
            _ => return,
        };
        self.trouble.lock().get_or_insert(trouble);
    }

    fn all_known(&self, changes: &[Change]) -> Result<(), KvError> {
        let mut changes = changes.iter();
        changes.try_for_each(|change| self.known(change.place().0))
    }
}

/// What is to be written, or why the run means nothing.
fn decided(end: End, fault: Option<&Fault>) -> Result<Vec<Change>, Failure> {
    match (end, fault) {
        (End::Failed(failure), _) => Err(failure),
        (End::Commit(changes), None) => Ok(changes),
        (End::Refused, None) => Ok(Vec::new()),
        // what was decided on a read that failed is asked for once more
        (End::Refused, Some(_)) => Err(Failure::conflict()),
        (End::Commit(_), Some(_)) => Err(Failure::Final(StoreError::Kv(KvError::Storage {
            doing: "reading",
            table: META.0,
            reason: "a failed read was passed over".to_owned(),
        }))),
    }
}

impl Engine for Server {
    fn attempt(
        &self,
        attempt: Attempt,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> Result<(), Failure> {
        // every commit is synced here: the database shares its syncs itself
        let done = if attempt.read_only {
            let read = self.pool.with(|connection| self.read(connection, body));
            read.unwrap_or_else(|fault| Err(fault.before_commit("reading", META)))
        } else {
            self.write(body)
        };
        self.told(&done);
        done
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn open_ahead(&self) {
        self.pool.open_ahead(|| self.usual());
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }
}
