//! A commit that is applied once, also when its answer is lost.
//!
//! Each connection numbers its commits in a row of its own, in the same transaction. When the
//! connection is lost after COMMIT was said, that row is asked by another one: it waits until the
//! server is through with the old transaction, and then shows whether that was applied. So a
//! transaction is run again only when it certainly was not, and nothing is left behind but one
//! small row a connection.

use super::{
    connection::Connection,
    pool::{Pool, Then},
    sql::{Fault, Sql},
};
use crate::{StoreError, change::Change, table::META, transaction::Failure};
use futures::future::try_join_all;
use rand::Rng as _;
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};
use uuid::Uuid;

/// So long the database is asked what became of a commit. A server that has lost a client ends
/// its transaction in 10 s (see `HABITS`).
const ASK_FOR: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A statement with what it is about.
enum Write {
    Put(String, Vec<u8>, i64, Vec<u8>),
    Delete(String, Vec<u8>),
    Number(String, Vec<u8>, i64),
}

impl Write {
    async fn run(&self, client: &Client) -> Result<u64, tokio_postgres::Error> {
        let (statement, values): (&str, Vec<(&(dyn ToSql + Sync), Type)>) = match self {
            Self::Put(statement, key, version, value) => (
                statement,
                vec![
                    (key, Type::BYTEA),
                    (version, Type::INT8),
                    (value, Type::BYTEA),
                ],
            ),
            Self::Delete(statement, key) => (statement, vec![(key, Type::BYTEA)]),
            Self::Number(statement, connection, number) => (
                statement,
                vec![(connection, Type::BYTEA), (number, Type::INT8)],
            ),
        };
        client.execute_typed(statement, &values).await
    }
}

/// How a transaction ended.
pub(super) enum Ended {
    Applied,
    /// Certainly not applied.
    Not(Failure),
    /// The connection was lost after it was told to commit its commit of that number.
    Unknown {
        reason: String,
    },
}

/// Writes the changes and commits.
pub(super) fn commit(
    pool: &Pool,
    sql: &Sql,
    connection: &mut Connection,
    changes: Vec<Change>,
) -> (Ended, Then) {
    connection.commits += 1;
    // versions are equal or not, so chance will do where nobody counts for all
    let version = i64::from(rand::thread_rng().gen_range(1..=u32::MAX)) << 31
        | i64::from(rand::thread_rng().gen_range(0..1_u32 << 31));
    let mut writes: Vec<Write> = changes
        .into_iter()
        .map(|change| match change {
            Change::Put(table, key, value) => Write::Put(sql.put(table), key, version, value),
            Change::Delete(table, key) => Write::Delete(sql.delete(table), key),
        })
        .collect();
    let name = connection.name.as_bytes().to_vec();
    writes.push(Write::Number(sql.number(), name, connection.commits));
    let written = pool.driver.ask(connection, |client| async move {
        // all are sent before the first is answered
        try_join_all(writes.iter().map(|write| write.run(&client))).await
    });
    if let Err(fault) = written {
        let then = roll_back(pool, connection, &fault);
        return (Ended::Not(fault.before_commit("writing", META)), then);
    }
    let done = pool.driver.ask(connection, |client| async move {
        client.batch_execute("COMMIT").await
    });
    match done {
        Ok(()) => (Ended::Applied, Then::Keep),
        Err(Fault::Lost(reason)) => (Ended::Unknown { reason }, Then::CloseAll),
        Err(fault) => (Ended::Not(fault.before_commit("writing", META)), Then::Keep),
    }
}

/// Ends a transaction of which nothing is to be kept.
pub(super) fn roll_back(pool: &Pool, connection: &Connection, fault: &Fault) -> Then {
    if matches!(fault, Fault::Lost(_)) {
        return Then::CloseAll;
    }
    let done = pool.driver.ask(connection, |client| async move {
        client.batch_execute("ROLLBACK").await
    });
    if done.is_ok() {
        Then::Keep
    } else {
        Then::Close
    }
}

/// What became of a commit whose answer was lost.
pub(super) fn outcome(
    pool: &Pool,
    sql: &Sql,
    name: Uuid,
    number: i64,
    reason: String,
) -> Result<(), Failure> {
    let until = Instant::now() + ASK_FOR;
    loop {
        let asked = pool.with(|connection| {
            let (question, name) = (sql.last_number(), name.as_bytes().to_vec());
            let last = pool.driver.ask(connection, |client| async move {
                let row = client
                    .query_typed_opt(&question, &[(&name, Type::BYTEA)])
                    .await?;
                row.map(|row| row.try_get::<_, i64>(0)).transpose()
            });
            let then = if last.is_ok() {
                Then::Keep
            } else {
                Then::CloseAll
            };
            (last, then)
        });
        match asked.and_then(|last| last) {
            Ok(Some(last)) if last >= number => return Ok(()),
            Ok(_) => return Err(Failure::Again(StoreError::Away { reason })),
            Err(_) if Instant::now() < until => thread::sleep(PAUSE),
            Err(_) => return Err(Failure::Final(StoreError::UnknownOutcome { reason })),
        }
    }
}
