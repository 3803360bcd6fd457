//! A transaction that may write. It reads what is there and takes note of it, from this process's
//! own memory where it can, and holds nothing open meanwhile; whether all of it was so at one
//! moment the database says when it is committed.

use super::{
    connection::Flight,
    look::{COMPANY, Found, Key},
    pool::Then,
    question::Question,
    row::{Lead, Told},
    rows,
    seen::Seen,
    server::Server,
    sql::Fault,
};
use crate::{
    Table,
    transaction::{Failure, Range, Stored, View},
};
use std::collections::HashMap;
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
        let answer = self.server.answer(question, read);
        answer.map_err(|fault| self.failed(fault, table))
    }

    fn failed(&mut self, fault: Fault, table: Table) -> Failure {
        self.fault.get_or_insert(fault.clone());
        fault.before_commit("reading", table)
    }
}

impl Server {
    /// Asks one question, outside of any transaction.
    fn answer<T: Send + 'static>(
        &self,
        question: Question,
        read: impl FnOnce(&[Row]) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Fault> {
        let flight = Flight {
            questions: vec![question],
            ..Flight::default()
        };
        let asked = self.pool.with(|connection| {
            let answer = self.pool.driver.fly(connection, flight, |answers| {
                read(answers.first().map_or(&[], Vec::as_slice))
            });
            let then = answer.as_ref().err().map_or(Then::Keep, Then::after);
            (answer, then)
        });
        asked.and_then(|answer| answer)
    }

    fn look_up(&self, key: Key) -> Result<Option<Stored>, Fault> {
        self.looks
            .go(key, |key, lead| self.look_up_all(key, lead))
            .0
    }

    /// What is under this key, and under those that others want of the same table.
    fn look_up_all(&self, (table, key): Key, lead: Lead<'_, Key, Found>) -> Found {
        let (others, companions) = lead.company(|waiting| {
            let same = waiting.enumerate().filter(|(_, other)| other.0 == table);
            same.map(|(at, _)| at).take(COMPANY - 1).collect()
        });
        if others.is_empty() {
            return Found(self.answer(rows::get(&self.sql, table, &key), rows::got));
        }
        let keys: Vec<_> = [key]
            .into_iter()
            .chain(others.into_iter().map(|o| o.1))
            .collect();
        let answer = self.answer(rows::get_all(&self.sql, table, &keys), rows::got_all);
        let found = answer.map(|found| found.into_iter().collect::<HashMap<_, _>>());
        let mut each = keys.iter().map(|key| match &found {
            Ok(found) => Found(Ok(found.get(key).cloned())),
            Err(fault) => Found(Err(fault.clone())),
        });
        let own = each.next().unwrap_or_else(Found::broken_off);
        companions.tell(each);
        own
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
                let found = self.server.look_up((table, key.to_vec()));
                let found = found.map_err(|fault| self.failed(fault, table))?;
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
