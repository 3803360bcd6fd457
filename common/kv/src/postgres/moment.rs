//! The server as an engine: each attempt of a transaction has a connection for itself.

use super::{
    commit::{Ended, Outcome, confirm},
    connection::Connection,
    pool::Then,
    reading::Reading,
    server::Server,
    sql::Fault,
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
    ) -> (Ended, Then) {
        let mut reading = Reading::new(self, connection);
        let end = body(&mut reading);
        if let Err(failure) = decided(end, reading.fault()) {
            let then = match (reading.fault(), reading.roll_back()) {
                (Some(Fault::Lost(_)), _) => Then::CloseAll,
                (_, Ok(())) => Then::Keep,
                (_, Err(_)) => Then::Close,
            };
            return (Ended::Not(failure), then);
        }
        match reading.commit() {
            Ok(()) => (Ended::Applied, Then::Keep),
            Err(fault) => {
                let then = Then::after(&fault);
                (Ended::Not(fault.before_commit("reading", META)), then)
            }
        }
    }

    /// One run of a closure that may write, and its commit.
    fn write(
        &self,
        connection: &mut Connection,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> (Ended, Then) {
        let mut writing = Writing::new(self, connection);
        let end = body(&mut writing);
        let (seen, fault) = (writing.seen, writing.fault);
        let changes = match decided(end, fault.as_ref()) {
            Ok(changes) => changes,
            Err(failure) => {
                let then = fault.as_ref().map_or(Then::Keep, Then::after);
                return (Ended::Not(failure), then);
            }
        };
        if let Err(unknown) = self.all_known(&changes) {
            return (Ended::Not(unknown.into()), Then::Keep);
        }
        self.commit(connection, &seen, changes)
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
        changes.iter().try_for_each(|change| {
            let (Change::Put(table, ..) | Change::Delete(table, _)) = change;
            self.known(*table)
        })
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
        let ran = self.pool.with(|connection| {
            let (ended, then) = if attempt.read_only {
                self.read(connection, body)
            } else {
                self.write(connection, body)
            };
            ((ended, connection.name), then)
        });
        let done = match ran {
            Err(fault) => Err(fault.before_commit("reading", META)),
            Ok((Ended::Applied, _)) => Ok(()),
            Ok((Ended::Not(failure), _)) => Err(failure),
            Ok((Ended::Unknown { number, reason }, name)) => {
                match confirm(&self.pool, &self.sql, name, number) {
                    Outcome::Applied => Ok(()),
                    Outcome::Not => Err(Failure::Again(StoreError::Away { reason })),
                    Outcome::Unknown => Err(Failure::Final(StoreError::UnknownOutcome { reason })),
                }
            }
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
