//! From rows to records, and the questions that they answer.

use super::{
    question::{Question, Value},
    sql::Sql,
};
use crate::{
    Table,
    transaction::{Range, Stored, Version},
};
use tokio_postgres::{Error, Row};

/// A key with its record.
pub(super) type Found = (Vec<u8>, Stored);

/// From the columns of version and value.
fn stored(row: &Row, first: usize) -> Result<Stored, Error> {
    let version: i64 = row.try_get(first)?;
    Ok(Stored {
        version: Version(version.cast_unsigned()),
        value: row.try_get(first + 1)?,
    })
}

pub(super) fn get(sql: &Sql, table: Table, key: &[u8]) -> Question {
    Question::new(sql.get(table)).with(Value::Bytes(key.to_vec()))
}

pub(super) fn got(rows: &[Row]) -> Result<Option<Stored>, Error> {
    rows.first().map(|row| stored(row, 0)).transpose()
}

pub(super) fn get_all(sql: &Sql, table: Table, keys: &[Vec<u8>]) -> Question {
    Question::new(sql.get_all(table)).with(Value::AllBytes(keys.to_vec()))
}

/// In no order.
pub(super) fn got_all(rows: &[Row]) -> Result<Vec<Found>, Error> {
    rows.iter()
        .map(|row| Ok((row.try_get(2)?, stored(row, 0)?)))
        .collect()
}

pub(super) fn scan(
    sql: &Sql,
    table: Table,
    range: &Range,
    backwards: bool,
    limit: usize,
) -> Question {
    let statement = sql.scan(table, range.high.is_some(), backwards);
    let question = Question::new(statement)
        .with(Value::Bytes(range.low.clone()))
        .with(Value::Number(i64::try_from(limit).unwrap_or(i64::MAX)));
    match &range.high {
        Some(high) => question.with(Value::Bytes(high.clone())),
        None => question,
    }
}

pub(super) fn scanned(rows: &[Row]) -> Result<Vec<Found>, Error> {
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, stored(row, 1)?)))
        .collect()
}

/// What the statement that ends a transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All was as it was seen, and what was to be written is.
    Good,
    /// Something has changed.
    Overtaken,
    /// The database does not know the connection's last commit any more.
    Forgotten,
}

/// From a row of whether all was as it was seen and, if something was to be written, whether it
/// was the connection's next commit.
pub(super) fn verdict(rows: &[Row]) -> Result<Verdict, Error> {
    let Some(row) = rows.first() else {
        return Ok(Verdict::Overtaken);
    };
    let known = row.len() < 2 || row.try_get(1)?;
    Ok(match (row.try_get(0)?, known) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Overtaken,
        (false, false) => Verdict::Forgotten,
    })
}
