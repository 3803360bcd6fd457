//! The one statement that ends a transaction, or several that do not touch each other: it looks
//! whether what was read is still so, and writes if it is.
//!
//! ```sql
//! WITH verdict AS (SELECT <each record has its version> AND <each span its records>
//!                         AND <the commit is its connection's next> AS good, … AS next),
//!      w0 AS (INSERT … SELECT … FROM verdict WHERE good …),
//!      w1 AS (DELETE … WHERE (SELECT good FROM verdict) …)
//! SELECT good, next FROM verdict
//! ```
//!
//! The database runs it serialisably, so that it is as if whole transactions had happened at that
//! moment. Its text depends on the tables only, not on how many keys there are, so that the
//! server has few of them to plan.

use super::{
    question::{Question, Value},
    seen::{Seen, version},
    sql::Sql,
    wish::Wish,
};
use crate::{Table, change::Change};
use std::collections::{BTreeMap, BTreeSet};

/// How it is written, and by which commit of which connection.
pub(super) struct Writes {
    pub(super) version: i64,
    pub(super) connection: Vec<u8>,
    /// Of the commit, counted from 1.
    pub(super) number: i64,
}

/// Whether all that was seen is so now. Answers with one row of one column.
pub(super) fn check(sql: &Sql, seen: &Seen) -> Question {
    let mut question = Question::default();
    let good = conditions(&mut question, sql, &[seen]);
    question.text = format!("SELECT {} AS good", all(&good));
    question
}

/// The same of all of these, and if it is so, what they want to be written is.
pub(super) fn apply(sql: &Sql, wishes: &[Wish], writes: Writes) -> Question {
    let mut question = Question::default();
    let seen: Vec<&Seen> = wishes.iter().map(|wish| &wish.seen).collect();
    let good = conditions(&mut question, sql, &seen);
    let connection = question.about(Value::Bytes(writes.connection));
    let number = question.about(Value::Number(writes.number));
    let next = sql.is_next(&connection, &number);
    let version = question.about(Value::Number(writes.version));
    let mut parts = Vec::new();
    for (table, (keys, values)) in puts(wishes) {
        let keys = question.about(Value::AllBytes(keys));
        let values = question.about(Value::AllBytes(values));
        parts.push(sql.put(table, &keys, &values, &version));
    }
    for (table, keys) in deletes(wishes) {
        let keys = question.about(Value::AllBytes(keys));
        parts.push(sql.delete(table, &keys));
    }
    parts.push(sql.number(&connection, &number));
    let parts = parts.iter().enumerate();
    let parts: String = parts.map(|(n, w)| format!(", w{n} AS ({w})")).collect();
    question.text = format!(
        "WITH verdict AS (SELECT {} AND {next} AS good, {next} AS next){parts} SELECT good, next FROM verdict",
        all(&good)
    );
    question
}

fn all(conditions: &[String]) -> String {
    match conditions {
        [] => "TRUE".to_owned(),
        some => some.join(" AND "),
    }
}

fn conditions(question: &mut Question, sql: &Sql, seen: &[&Seen]) -> Vec<String> {
    let mut good = Vec::new();
    let mut records: BTreeMap<Table, BTreeMap<&[u8], i64>> = BTreeMap::new();
    for (table, key, stored) in seen.iter().flat_map(|seen| seen.all()) {
        records
            .entry(table)
            .or_default()
            .insert(key, version(stored));
    }
    for (table, records) in records {
        let (keys, versions) = records.into_iter().map(|(k, v)| (k.to_vec(), v)).unzip();
        let keys = question.about(Value::AllBytes(keys));
        let versions = question.about(Value::Numbers(versions));
        good.push(sql.have_versions(table, &keys, &versions));
    }
    for span in seen.iter().flat_map(|seen| seen.spans()) {
        let keys = question.about(Value::AllBytes(span.keys.clone()));
        let versions = question.about(Value::Numbers(span.versions.clone()));
        let low = question.about(Value::Bytes(span.range.low.clone()));
        let high = span.range.high.clone();
        let high = high.map(|high| question.about(Value::Bytes(high)));
        good.push(sql.are_all(span.table, &low, high.as_deref(), &keys, &versions));
    }
    good
}

/// Keys and their values.
type Puts = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// In the order of their keys, so that statements which write the same rows do not wait for each
/// other in a circle.
fn puts(wishes: &[Wish]) -> BTreeMap<Table, Puts> {
    let mut puts: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for change in wishes.iter().flat_map(|wish| &wish.changes) {
        if let Change::Put(table, key, value) = change {
            let of_table = puts.entry(*table).or_default();
            of_table.insert(key.clone(), value.clone());
        }
    }
    let tables = puts.into_iter();
    tables
        .map(|(t, all)| (t, all.into_iter().unzip()))
        .collect()
}

fn deletes(wishes: &[Wish]) -> BTreeMap<Table, Vec<Vec<u8>>> {
    let mut deletes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for change in wishes.iter().flat_map(|wish| &wish.changes) {
        if let Change::Delete(table, key) = change {
            deletes.entry(*table).or_default().insert(key.clone());
        }
    }
    let tables = deletes.into_iter();
    tables
        .map(|(t, all)| (t, all.into_iter().collect()))
        .collect()
}
