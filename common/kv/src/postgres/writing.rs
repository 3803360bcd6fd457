//! A transaction that may write. It reads what is there and takes note of it, from this process's
//! own memory where it can, and holds nothing open meanwhile; whether all of it was so at one
//! moment the database says when it is committed.

use super::{
    connection::Flight, pool::Then, question::Question, rows, seen::Seen, server::Server,
    sql::Fault,
};
use crate::{
    Table,
    transaction::{Failure, Range, Stored, View},
};
use tokio_postgres::{Error, Row};

pub(super) struct Writing<'a> {
    server: &'a Server,
    pub(super) seen: Seen,
    /// Whether a read failed: what comes of it means nothing.
    pub(super) fault: Option<Fault>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        Self {
            server,
            seen: Seen::default(),
            fault: None,
        }
    }

    fn ask<T: Send + 'static>(
        &mut self,
        table: Table,
        question: Question,
        read: impl FnOnce(&[Row]) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let flight = Flight {
            questions: vec![question],
            ..Flight::default()
        };
        let pool = &self.server.pool;
        let answer = pool.with(|connection| {
            let answer = pool.driver.fly(connection, flight, |answers| {
                read(answers.first().map_or(&[], Vec::as_slice))
            });
            let then = answer.as_ref().err().map_or(Then::Keep, Then::after);
            (answer, then)
        });
        answer.and_then(|answer| answer).map_err(|fault| {
            self.fault.get_or_insert(fault.clone());
            fault.before_commit("reading", table)
        })
    }
}

impl View for Writing<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Stored>, Failure> {
        self.server.known(table)?;
        if let Some(seen) = self.seen.get(table, key) {
            return Ok(seen);
        }
        let kept = &self.server.kept;
        let found = match kept.get(table, key) {
            Some(known) => Some(known),
            None => {
                let question = rows::get(&self.server.sql, table, key);
                let found = self.ask(table, question, rows::got)?;
                if let Some(found) = &found {
                    kept.keep(table, key, found);
                }
                found
            }
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
        let found = self.ask(table, question, rows::scanned)?;
        self.seen.saw_span(table, range, backwards, limit, &found);
        Ok(found)
    }
}
