//! A transaction that only reads: the database's own, of one moment, that no writer can overtake.
//!
//! Most read one record. So the first is asked for in a transaction that ends with the answer, one
//! way and back for all; where a second is wanted, one is begun that stays open, and asks for the
//! first once more.

use super::{
    connection::{Connection, Flight},
    question::Question,
    rows,
    seen::Seen,
    server::Server,
    sql::{BEGIN_READING, COMMIT, Fault, ROLLBACK},
};
use crate::{
    Table,
    transaction::{Failure, Range, Stored, View},
};
use tokio_postgres::{Error, Row};

/// How far it has come.
enum Stand {
    Begun,
    /// One record was read, and nothing is open.
    One {
        table: Table,
        key: Vec<u8>,
    },
    /// A transaction of the database is open.
    Open,
}

pub(super) struct Reading<'a> {
    server: &'a Server,
    connection: &'a Connection,
    stand: Stand,
    /// What was read by key. It stays as it is while the transaction is open.
    seen: Seen,
    /// The first fault: after it the database answers nothing any more.
    fault: Option<Fault>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(server: &'a Server, connection: &'a Connection) -> Self {
        Self {
            server,
            connection,
            stand: Stand::Begun,
            seen: Seen::default(),
            fault: None,
        }
    }

    /// Whether something failed in it, and what.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// To commit is the way to hear whether what was read is true.
    pub(super) fn commit(&self) -> Result<(), Fault> {
        self.end(COMMIT)
    }

    pub(super) fn roll_back(&self) -> Result<(), Fault> {
        self.end(ROLLBACK)
    }

    fn end(&self, words: &'static str) -> Result<(), Fault> {
        if !matches!(self.stand, Stand::Open) {
            return Ok(());
        }
        let end = Flight {
            end: Some(words),
            ..Flight::default()
        };
        self.server
            .pool
            .driver
            .fly(self.connection, end, |_| Ok(()))
    }

    /// Asks inside the open transaction, which is opened if it is not.
    fn ask<T: Send + 'static>(
        &mut self,
        table: Table,
        question: Question,
        read: impl FnOnce(&[Row]) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone().before_commit("reading", table));
        }
        let sql = &self.server.sql;
        let mut flight = Flight {
            questions: vec![question],
            ..Flight::default()
        };
        let mut before = None;
        match &self.stand {
            Stand::Open => {}
            Stand::Begun => flight.begin = Some(BEGIN_READING),
            Stand::One { table, key } => {
                flight.begin = Some(BEGIN_READING);
                flight.questions.push(rows::get(sql, *table, key));
                before = self.seen.get(*table, key);
            }
        }
        self.stand = Stand::Open;
        let answer = self
            .server
            .pool
            .driver
            .fly(self.connection, flight, move |answers| {
                let first = answers.get(1).map(|rows| rows::got(rows)).transpose()?;
                let answer = read(answers.first().map_or(&[], Vec::as_slice))?;
                Ok((answer, first))
            });
        match answer {
            Ok((_, first)) if first != before => Err(self.failed(Fault::Conflict, table)),
            Ok((answer, _)) => Ok(answer),
            Err(fault) => Err(self.failed(fault, table)),
        }
    }

    fn failed(&mut self, fault: Fault, table: Table) -> Failure {
        self.fault = Some(fault.clone());
        fault.before_commit("reading", table)
    }

    /// The first record, in a transaction of its own.
    fn one(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        let flight = Flight {
            begin: Some(BEGIN_READING),
            questions: vec![rows::get(&self.server.sql, table, key)],
            end: Some(COMMIT),
        };
        let driver = &self.server.pool.driver;
        let found = driver.fly(self.connection, flight, |answers| {
            answers.first().map_or(Ok(None), |rows| rows::got(rows))
        });
        let found = found.map_err(|fault| self.failed(fault, table))?;
        self.stand = Stand::One {
            table,
            key: key.to_vec(),
        };
        Ok(found)
    }
}

impl View for Reading<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        self.server.known(table)?;
        if let Some(seen) = self.seen.get(table, key) {
            return Ok(seen);
        }
        let found = if matches!(self.stand, Stand::Begun) {
            self.one(table, key)?
        } else {
            let question = rows::get(&self.server.sql, table, key);
            self.ask(table, question, rows::got)?
        };
        self.seen.saw(table, key.to_vec(), found.clone());
        Ok(found)
    }

    fn ahead(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<(), Failure> {
        self.server.known(table)?;
        let question = rows::get_all(&self.server.sql, table, keys);
        let found = self.ask(table, question, rows::got_all)?;
        self.seen.saw_all(table, keys, found);
        Ok(())
    }

    fn scan(
        &mut self,
        table: Table,
        range: &Range,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<rows::Found>, Failure> {
        self.server.known(table)?;
        let question = rows::scan(&self.server.sql, table, range, backwards, limit);
        self.ask(table, question, rows::scanned)
    }
}
