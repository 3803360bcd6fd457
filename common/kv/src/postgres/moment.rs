//! Transactions of the database itself, serialisable.

use super::{
    commit::{Ended, commit, outcome, roll_back},
    connection::Connection,
    pool::{Pool, Then},
    sql::{BEGIN, BEGIN_READING, Fault, Sql},
};
use crate::{
    KvError, StoreError, Table, Trouble,
    change::Change,
    table::META,
    transaction::{Attempt, End, Engine, Failure, Range, Stored, Version, View},
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) pool: Pool,
    pub(super) sql: Sql,
    pub(super) tables: BTreeSet<Table>,
    pub(super) trouble: Mutex<Option<Trouble>>,
}

/// An open transaction.
struct Moment<'a> {
    server: &'a Server,
    connection: &'a Connection,
    /// The first fault: after it the database answers nothing any more.
    fault: Option<Fault>,
}

impl Server {
    fn known(&self, table: Table) -> Result<(), KvError> {
        match self.tables.contains(&table) {
            true => Ok(()),
            false => Err(KvError::UnknownTable(table.0)),
        }
    }

    fn begin(&self, connection: &Connection, read_only: bool) -> Result<(), Fault> {
        let begin = if read_only { BEGIN_READING } else { BEGIN };
        self.pool.driver.ask(connection, |client| async move {
            client.batch_execute(begin).await
        })
    }

    /// One run of the closure, and its commit.
    fn run(
        &self,
        connection: &mut Connection,
        read_only: bool,
        body: &mut dyn FnMut(&mut dyn View) -> End,
    ) -> (Ended, Then) {
        if let Err(fault) = self.begin(connection, read_only) {
            let then = roll_back(&self.pool, connection, &fault);
            return (Ended::Not(fault.before_commit("reading", META)), then);
        }
        let mut view = Moment {
            server: self,
            connection,
            fault: None,
        };
        let end = body(&mut view);
        let fault = view.fault;
        let undone = |failure| {
            let fault = fault.as_ref().unwrap_or(&Fault::Conflict);
            (
                Ended::Not(failure),
                roll_back(&self.pool, connection, fault),
            )
        };
        match end {
            End::Failed(failure) => undone(failure),
            // it goes on as if nothing had been; the database would not
            End::Commit(_) | End::Refused if fault.is_some() => match end {
                End::Refused => (Ended::Applied, undone(Failure::conflict()).1),
                _ => undone(Failure::Final(StoreError::Kv(KvError::Storage {
                    doing: "reading",
                    table: META.0,
                    reason: "a failed read was passed over".to_owned(),
                }))),
            },
            // to commit is the way to hear whether what was read is true
            End::Refused => self.only_read(connection),
            End::Commit(changes) if changes.is_empty() => self.only_read(connection),
            End::Commit(changes) => match self.all_known(&changes) {
                Ok(()) => commit(&self.pool, &self.sql, connection, changes),
                Err(unknown) => undone(unknown.into()),
            },
        }
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

    fn only_read(&self, connection: &Connection) -> (Ended, Then) {
        let done = self.pool.driver.ask(connection, |client| async move {
            client.batch_execute("COMMIT").await
        });
        match done {
            Ok(()) => (Ended::Applied, Then::Keep),
            Err(fault) => {
                let then = match fault {
                    Fault::Lost(_) => Then::CloseAll,
                    _ => Then::Keep,
                };
                (Ended::Not(fault.before_commit("reading", META)), then)
            }
        }
    }
}

impl Moment<'_> {
    fn ask<T: Send + 'static>(
        &mut self,
        table: Table,
        statement: String,
        values: Vec<(Value, Type)>,
        read: impl FnOnce(Vec<Row>) -> Result<T, tokio_postgres::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone().before_commit("reading", table));
        }
        let found = self
            .server
            .pool
            .driver
            .ask(self.connection, |client| async move {
                let values: Vec<(&(dyn ToSql + Sync), Type)> = values
                    .iter()
                    .map(|(value, kind)| (value.as_sql(), kind.clone()))
                    .collect();
                read(client.query_typed(&statement, &values).await?)
            });
        found.map_err(|fault| {
            self.fault = Some(fault.clone());
            fault.before_commit("reading", table)
        })
    }
}

enum Value {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Value {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => number,
        }
    }
}

/// From the columns of version and value.
fn stored(row: &Row, first: usize) -> Result<Stored, tokio_postgres::Error> {
    let version: i64 = row.try_get(first)?;
    Ok(Stored {
        version: Version(version.unsigned_abs()),
        value: row.try_get(first + 1)?,
    })
}

impl View for Moment<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        self.server.known(table)?;
        let statement = self.server.sql.get(table);
        let values = vec![(Value::Bytes(key.to_vec()), Type::BYTEA)];
        self.ask(table, statement, values, |rows| {
            rows.first().map(|row| stored(row, 0)).transpose()
        })
    }

    fn scan(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Stored)>, Failure> {
        self.server.known(table)?;
        let bounded = range.high.is_some();
        let statement = self.server.sql.scan(table, bounded, backwards);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values = vec![
            (Value::Bytes(range.low.clone()), Type::BYTEA),
            (Value::Number(limit), Type::INT8),
        ];
        if let Some(high) = &range.high {
            values.push((Value::Bytes(high.clone()), Type::BYTEA));
        }
        self.ask(table, statement, values, |rows| {
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, stored(row, 1)?)))
                .collect()
        })
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
            let (ended, then) = self.run(connection, attempt.read_only, body);
            ((ended, connection.name, connection.commits), then)
        });
        let done = match ran {
            Err(fault) => Err(fault.before_commit("reading", META)),
            Ok((Ended::Applied, ..)) => Ok(()),
            Ok((Ended::Not(failure), ..)) => Err(failure),
            Ok((Ended::Unknown { reason }, name, number)) => {
                outcome(&self.pool, &self.sql, name, number, reason)
            }
        };
        self.told(&done);
        done
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }
}
