//! An exported database, line by line: what it is, its records, and how many there were. JSON, so
//! that a person can read it, and the same bytes again for whoever writes them back.

use crate::{
    db::schema::{OF_PROCESSES, TABLES},
    model::UnixMs,
};
use damocles_kv::Table;
use damocles_types::Base64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};
use uuid::Uuid;

const FORMAT: &str = "damocles-database";
/// Of the lines; what is in the records has a version of its own.
const FORMAT_VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    format_version: u32,
    pub owner: String,
    pub schema_version: u32,
    pub database: Uuid,
    /// The genesis block's CID, if the database has met a network.
    pub network: Option<String>,
    pub exported_at: UnixMs,
}

impl Header {
    pub(in crate::db) fn new(
        owner: &str,
        schema_version: u32,
        database: Uuid,
        network: Option<String>,
        exported_at: UnixMs,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            owner: owner.to_owned(),
            schema_version,
            database,
            network,
            exported_at,
        }
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    records: u64,
    /// Of all lines before.
    sha256: String,
}

/// Every other line: one of `value` and `base64`.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    table: Cow<'a, str>,
    key: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<Base64>,
}

/// A record as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::db) struct Row {
    pub(in crate::db) table: Table,
    pub(in crate::db) key: Vec<u8>,
    pub(in crate::db) value: Vec<u8>,
}

/// The tables that are in it.
pub(in crate::db) fn tables() -> impl Iterator<Item = Table> {
    let all = TABLES.iter().copied();
    all.filter(|table| !OF_PROCESSES.contains(table))
}

/// Counts lines while they are written or read.
#[derive(Clone, Default)]
pub(in crate::db) struct Tally {
    records: u64,
    sum: Sha256,
}

impl Tally {
    pub(in crate::db) fn records(&self) -> u64 {
        self.records
    }

    fn line(&mut self, mut line: Vec<u8>) -> Vec<u8> {
        line.push(b'\n');
        self.sum.update(&line);
        line
    }

    pub(in crate::db) fn header(&mut self, header: &Header) -> serde_json::Result<Vec<u8>> {
        Ok(self.line(serde_json::to_vec(header)?))
    }

    pub(in crate::db) fn record(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> serde_json::Result<Vec<u8>> {
        let json = as_json(value);
        let line = serde_json::to_vec(&Line {
            table: table.0.into(),
            key: hex::encode(key).into(),
            base64: json.is_none().then(|| value.to_vec().into()),
            value: json,
        })?;
        self.records += 1;
        Ok(self.line(line))
    }

    fn end(&self) -> End {
        End {
            records: self.records,
            sha256: hex::encode(self.sum.clone().finalize()),
        }
    }

    pub(in crate::db) fn last(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&self.end())?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The value as JSON that gives the same bytes again on one line; `null` is not told from none.
fn as_json(value: &[u8]) -> Option<&RawValue> {
    if value == b"null" || value.iter().any(|byte| b"\r\n".contains(byte)) {
        return None;
    }
    let json: &RawValue = serde_json::from_slice(value).ok()?;
    (json.get().len() == value.len()).then_some(json)
}

/// What is wrong with a file that is to be imported.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is no exported database: {0}")]
    Strange(String),
    #[error("was written by a newer program ({what} {found}, this one knows up to {known})")]
    Newer {
        what: &'static str,
        found: u32,
        known: u32,
    },
    #[error("is a database of {found}, not of {wanted}")]
    Foreign { found: String, wanted: &'static str },
    #[error("is cut: its last line does not say how many records there are")]
    Cut,
    #[error("line {line} is wrong: {why}")]
    Line { line: u64, why: String },
    #[error("is not what was written: it has {found} records with the sum {sum}, and says {said}")]
    Changed {
        found: u64,
        sum: String,
        said: String,
    },
}

/// Reads a file from its first line to its last one.
pub(in crate::db) struct Lines {
    input: BufReader<File>,
    header: Header,
    tally: Tally,
    number: u64,
    /// Of the table that is read, the last key; and the tables before it.
    last: Option<(Table, Vec<u8>)>,
    done: BTreeSet<Table>,
}

impl Lines {
    /// Opens a file and reads its first line.
    pub(in crate::db) fn open(path: &Path) -> Result<Self, FileError> {
        let mut input = BufReader::new(File::open(path)?);
        let mut tally = Tally::default();
        let first = line(&mut input)?.ok_or(FileError::Cut)?;
        // only what it is, before anything else of it is believed
        #[derive(Deserialize)]
        struct Kind {
            format: String,
            format_version: u32,
        }
        let strange = |e: serde_json::Error| FileError::Strange(e.to_string());
        let kind: Kind = serde_json::from_slice(&first).map_err(strange)?;
        if kind.format != FORMAT {
            return Err(FileError::Strange(format!("it is {:?}", kind.format)));
        }
        if kind.format_version > FORMAT_VERSION {
            return Err(FileError::Newer {
                what: "format",
                found: kind.format_version,
                known: FORMAT_VERSION,
            });
        }
        let header = serde_json::from_slice(&first).map_err(strange)?;
        tally.line(first);
        Ok(Self {
            input,
            header,
            tally,
            number: 1,
            last: None,
            done: BTreeSet::new(),
        })
    }

    pub(in crate::db) fn header(&self) -> &Header {
        &self.header
    }

    pub(in crate::db) fn records(&self) -> u64 {
        self.tally.records()
    }

    /// The next record. None: that were all, and they are as they were written.
    pub(in crate::db) fn next(&mut self) -> Result<Option<Row>, FileError> {
        let text = line(&mut self.input)?.ok_or(FileError::Cut)?;
        self.number += 1;
        if self.input.fill_buf()?.is_empty() {
            let said: End = serde_json::from_slice(&text).map_err(|_| FileError::Cut)?;
            let found = self.tally.end();
            if said == found {
                return Ok(None);
            }
            return Err(FileError::Changed {
                found: found.records,
                sum: found.sha256,
                said: format!("{} with {}", said.records, said.sha256),
            });
        }
        let row = row(&text).and_then(|row| self.in_order(row));
        let row = row.map_err(|why| FileError::Line {
            line: self.number,
            why,
        })?;
        self.tally.records += 1;
        self.tally.line(text);
        Ok(Some(row))
    }

    /// A record that comes twice would be lost.
    fn in_order(&mut self, row: Row) -> Result<Row, String> {
        match self.last.take() {
            Some((table, key)) if table == row.table && key >= row.key => {
                return Err(format!("{}: its key is not above the one before", table.0));
            }
            Some((table, _)) if table != row.table => {
                self.done.insert(table);
            }
            _ => {}
        }
        if self.done.contains(&row.table) {
            return Err(format!("table {:?} comes twice", row.table.0));
        }
        self.last = Some((row.table, row.key.clone()));
        Ok(row)
    }
}

/// A whole line without its end. None: there is none.
fn line(input: &mut BufReader<File>) -> Result<Option<Vec<u8>>, FileError> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        _ => Err(FileError::Cut),
    }
}

fn row(text: &[u8]) -> Result<Row, String> {
    let line: Line<'_> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let known = tables().find(|table| table.0 == line.table);
    let table = known.ok_or_else(|| format!("{:?} is no table of an export", line.table))?;
    let key = hex::decode(line.key.as_bytes()).map_err(|e| format!("its key: {e}"))?;
    let value = match (line.value, line.base64) {
        (Some(json), None) => json.get().as_bytes().to_vec(),
        (None, Some(bytes)) => bytes.0,
        _ => return Err("it has one of value and base64".to_owned()),
    };
    Ok(Row { table, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::schema::{READY, SECTORS, WORKERS};
    use std::{fs, io::Write as _};

    const ROWS: [(Table, &[u8], &[u8]); 6] = [
        (SECTORS, b"a", b"{\"v\": 1.0,\"w\":[null]}"),
        (SECTORS, b"b", b"{\n}"),
        (READY, b"\0\xff", b""),
        (WORKERS, b"a", b"null"),
        (WORKERS, b"b", b"\xff"),
        (WORKERS, b"c", b" 7"),
    ];

    fn text() -> Vec<u8> {
        let mut tally = Tally::default();
        let header = Header::new("o", 1, Uuid::nil(), None, 5);
        let mut text = tally.header(&header).unwrap();
        for (table, key, value) in ROWS {
            text.extend(tally.record(table, key, value).unwrap());
        }
        text.extend(tally.last().unwrap());
        text
    }

    fn read(text: &[u8]) -> Result<Vec<Row>, FileError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mut lines = Lines::open(file.path())?;
        let mut rows = Vec::new();
        while let Some(row) = lines.next()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn every_value_comes_back_to_the_byte() {
        let rows = read(&text()).unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|r| (r.table, r.key.as_slice(), r.value.as_slice()))
            .collect();
        assert_eq!(rows, ROWS);
        let text = String::from_utf8(text()).unwrap();
        assert!(
            text.contains("\"value\":{\"v\": 1.0,\"w\":[null]}"),
            "{text}"
        );
    }

    #[test]
    fn a_cut_a_changed_and_a_strange_file_are_told() {
        let whole = text();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            let cut = read(&whole[..cut]).unwrap_err();
            let told = matches!(cut, FileError::Cut | FileError::Line { .. });
            assert!(told, "{cut}");
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
        let without = |n: usize| {
            let mut left = lines.clone();
            left.remove(n);
            read(&left.concat()).unwrap_err()
        };
        assert!(matches!(without(lines.len() - 1), FileError::Cut));
        assert!(matches!(without(2), FileError::Changed { .. }));
        assert!(matches!(without(0), FileError::Strange(_)));
        let mut twice = lines.clone();
        twice.insert(2, lines[1]);
        let twice = read(&twice.concat()).unwrap_err();
        assert!(matches!(twice, FileError::Line { line: 3, .. }), "{twice}");
        let changed = String::from_utf8(whole).unwrap();
        for (from, to, why) in [
            ("1.0", "1.1", "not what was written"),
            ("\"ready\"", "\"leases\"", "no table of an export"),
            ("format_version\":1", "format_version\":9", "newer"),
            ("damocles-database", "another", "no exported database"),
        ] {
            let told = read(changed.replace(from, to).as_bytes()).unwrap_err();
            assert!(told.to_string().contains(why), "{told}");
        }
        let nothing = tempfile::tempdir().unwrap();
        let away = Lines::open(&nothing.path().join("no"));
        assert!(matches!(away.err(), Some(FileError::Io(_))));
        fs::remove_dir(nothing.path()).unwrap();
    }
}
