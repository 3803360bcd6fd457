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
    landing::{Flown, Landing},
    pool::{Pool, Then},
    question::{Question, Value},
    rows::{self, Verdict},
    seen::Seen,
    server::Server,
    sql::{BEGIN, BEGIN_READING, COMMIT, Fault, Sql},
    verdict::{self, Writes},
    wish::Wish,
};
use crate::transaction::Version;
use rand::Rng as _;
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

/// So long the database is asked what became of a commit. A server that has lost a client ends
/// its transaction in 10 s (see `HABITS`).
const ASK_FOR: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

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
    /// Sees whether all is still as it was seen.
    pub(super) fn check(&self, seen: &Seen) -> Landing {
        if seen.is_empty() {
            return Landing::Applied;
        }
        let checked = self.pool.with(|connection| {
            let flight = Flight {
                begin: Some(BEGIN_READING),
                questions: vec![verdict::check(&self.sql, seen)],
                end: Some(COMMIT),
            };
            let good = self.pool.driver.fly(connection, flight, first_verdict);
            let then = good.as_ref().err().map_or(Then::Keep, Then::after);
            (good, then)
        });
        let fault = match checked.and_then(|good| good) {
            Ok(Verdict::Good) => return Landing::Applied,
            Ok(Verdict::Overtaken | Verdict::Forgotten) => Fault::Conflict,
            Err(fault) => fault,
        };
        // what was kept here may be what was old
        for (table, key, _) in seen.all() {
            self.kept.forget(table, key);
        }
        Landing::Not(fault)
    }

    /// Sees whether all is still as they have seen it, and if so writes what they want, all in one
    /// flight.
    pub(super) fn apply(&self, connection: &mut Connection, wishes: &[Wish]) -> (Flown, Then) {
        let (number, version) = (connection.commits + 1, any_version());
        let writes = Writes {
            version,
            connection: connection.name.as_bytes().to_vec(),
            number,
        };
        let flight = Flight {
            begin: Some(BEGIN),
            questions: vec![verdict::apply(&self.sql, wishes, writes)],
            end: Some(COMMIT),
        };
        match self.pool.driver.fly(connection, flight, first_verdict) {
            Ok(Verdict::Good) => {
                connection.commits += 1;
                (Flown::Applied(Version(version.cast_unsigned())), Then::Keep)
            }
            Ok(Verdict::Overtaken) => (Flown::Not(Fault::Conflict), Then::Keep),
            // its row was taken for that of a process that is gone: a new one begins at 1
            Ok(Verdict::Forgotten) => (Flown::Not(Fault::Conflict), Then::Close),
            Err(Fault::Lost(reason)) => (Flown::Open { number, reason }, Then::CloseAll),
            Err(fault) => {
                let then = Then::after(&fault);
                (Flown::Not(fault), then)
            }
        }
    }
}

fn first_verdict(answers: Vec<Vec<Row>>) -> Result<Verdict, Error> {
    rows::verdict(answers.first().map_or(&[][..], Vec::as_slice))
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
