//! What all transactions of a database on a server share.

use super::{kept::Kept, pool::Pool, question::Question, row::Row, rows, sql::Sql};
use crate::{KvError, Table, Trouble, transaction::Range};
use parking_lot::Mutex;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) pool: Pool,
    pub(super) sql: Sql,
    pub(super) kept: Kept,
    pub(super) row: Row,
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
            row: Row::default(),
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
