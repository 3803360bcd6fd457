//! What all transactions of a database on a server share.

use super::{
    kept::Kept,
    landing::Landing,
    look::{Found, Key},
    pool::Pool,
    question::Question,
    row::Row,
    rows,
    sql::Sql,
    wish::Wish,
};
use crate::{KvError, Table, Trouble, transaction::Range};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Statements that write on their way at a time: one is applied while another one is synced.
const WRITERS: usize = 3;
/// Statements of those who look at one record before they write.
const READERS: usize = 3;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) pool: Pool,
    pub(super) sql: Sql,
    pub(super) kept: Kept,
    /// Those who want something written.
    pub(super) commits: Row<Wish, Landing>,
    /// Those who want to know what is under a key.
    pub(super) looks: Row<Key, Found>,
    /// Why it does not do as it is told, if so.
    pub(super) trouble: Mutex<Option<Trouble>>,
    tables: BTreeSet<Table>,
}

impl Server {
    pub(super) fn new(pool: Pool, sql: Sql, tables: BTreeSet<Table>) -> Self {
        Self {
            pool,
            sql,
            kept: Kept::default(),
            commits: Row::new(WRITERS),
            looks: Row::new(READERS),
            trouble: Mutex::default(),
            tables,
        }
    }

    pub(super) fn known(&self, table: Table) -> Result<(), KvError> {
        match self.tables.contains(&table) {
            true => Ok(()),
            false => Err(KvError::UnknownTable(table.0)),
        }
    }

    /// What is asked of each table all the time, about nothing.
    pub(super) fn usual(&self) -> Vec<Question> {
        let nowhere = Range {
            low: Vec::new(),
            high: Some(Vec::new()),
        };
        let of = |table: &Table| {
            [
                rows::get(&self.sql, *table, &[]),
                rows::get_all(&self.sql, *table, &[]),
                rows::scan(&self.sql, *table, &nowhere, false, 0),
            ]
        };
        self.tables.iter().flat_map(of).collect()
    }
}
