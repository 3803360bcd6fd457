//! A commit that is applied once, also when its answer is lost.
//!
//! Each connection numbers its commits in a row of its own, in the same transaction, and a commit
//! is applied only as the next one of its connection. When the connection is lost on the way, another
//! one closes that row: it waits until the server is through with a transaction that is writing it,
//! and one that reaches the server later finds it closed and is not applied. The number in the row
//! then says what became of the commit. So a transaction is run again only when it certainly was
//! not applied, and never will be; and nothing is left behind but one small row a connection.

use super::{
    connection::{Connection, Flight},
    pool::{Pool, Then},
    question::{Question, Value},
    rows::{self, Verdict},
    seen::Seen,
    server::Server,
    sql::{BEGIN, BEGIN_READING, COMMIT, Fault, Sql},
    verdict::{self, Writes},
};
use crate::{
    change::Change,
    table::META,
    transaction::{Failure, Stored, Version},
};
use rand::Rng as _;
use std::{
    thread,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// So long the database is asked what became of a commit. A server that has lost a client ends
/// its transaction in 10 s (see `HABITS`).
const ASK_FOR: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// How an attempt ended.
pub(super) enum Ended {
    Applied,
    /// Certainly not applied.
    Not(Failure),
    /// The connection was lost with its commit of that number on the way.
    Unknown {
        number: i64,
        reason: String,
    },
}

/// What became of such a commit.
pub(super) enum Outcome {
    Applied,
    /// And it will not be.
    Not,
    /// The database was asked long enough.
    Unknown,
}

/// Versions are equal or not, so chance will do where nobody counts for all; never 0.
fn any_version() -> i64 {
    rand::thread_rng().gen_range(1..i64::MAX)
}

impl Server {
    /// Sees whether all is still as it was seen, and if so writes the changes, all in one flight.
    pub(super) fn commit(
        &self,
        connection: &mut Connection,
        seen: &Seen,
        changes: Vec<Change>,
    ) -> (Ended, Then) {
        let (number, version) = (connection.commits + 1, any_version());
        let flight = if changes.is_empty() {
            if seen.is_empty() {
                return (Ended::Applied, Then::Keep);
            }
            Flight {
                begin: Some(BEGIN_READING),
                questions: vec![verdict::check(&self.sql, seen)],
                end: Some(COMMIT),
            }
        } else {
            let writes = Writes {
                changes: &changes,
                version,
                connection: connection.name.as_bytes().to_vec(),
                number,
            };
            Flight {
                begin: Some(BEGIN),
                questions: vec![verdict::apply(&self.sql, seen, writes)],
                end: Some(COMMIT),
            }
        };
        let good = self.pool.driver.fly(connection, flight, |answers| {
            let rows = answers.first().map_or(&[][..], Vec::as_slice);
            rows::verdict(rows)
        });
        if !matches!(good, Ok(Verdict::Good)) {
            // what was kept here may be what was old
            for (table, key) in seen.keys() {
                self.kept.forget(table, key);
            }
        }
        match good {
            Ok(Verdict::Good) => {
                connection.commits += i64::from(!changes.is_empty());
                self.keep(changes, version);
                (Ended::Applied, Then::Keep)
            }
            Ok(Verdict::Overtaken) => (Ended::Not(Failure::conflict()), Then::Keep),
            // its row was taken for that of a process that is gone: a new one begins at 1
            Ok(Verdict::Forgotten) => (Ended::Not(Failure::conflict()), Then::Close),
            Err(Fault::Lost(reason)) if !changes.is_empty() => {
                (Ended::Unknown { number, reason }, Then::CloseAll)
            }
            Err(fault) => {
                let then = Then::after(&fault);
                (Ended::Not(fault.before_commit("writing", META)), then)
            }
        }
    }

    /// For the next transaction here.
    fn keep(&self, changes: Vec<Change>, version: i64) {
        for change in changes {
            match change {
                Change::Put(table, key, value) => {
                    let version = Version(version.cast_unsigned());
                    self.kept.keep(table, &key, &Stored { version, value });
                }
                Change::Delete(table, key) => self.kept.forget(table, &key),
            }
        }
    }
}

/// What became of a commit whose answer was lost.
pub(super) fn confirm(pool: &Pool, sql: &Sql, name: Uuid, number: i64) -> Outcome {
    let until = Instant::now() + ASK_FOR;
    let name = name.as_bytes().to_vec();
    loop {
        let asked = pool.with(|connection| {
            let close = Question::new(sql.close_number()).with(Value::Bytes(name.clone()));
            let flight = Flight {
                questions: vec![close],
                ..Flight::default()
            };
            let last = pool.driver.fly(connection, flight, |answers| {
                let row = answers.first().and_then(|rows| rows.first());
                row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))
            });
            let then = last.as_ref().err().map_or(Then::Keep, Then::after);
            (last, then)
        });
        match asked.and_then(|closed| closed) {
            Ok(closed) if -1 - closed >= number => return Outcome::Applied,
            Ok(_) => return Outcome::Not,
            Err(_) if Instant::now() < until => thread::sleep(PAUSE),
            Err(_) => return Outcome::Unknown,
        }
    }
}
