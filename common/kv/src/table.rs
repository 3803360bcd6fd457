//! A table by name, and how reading or writing one can fail.

use serde::de::DeserializeOwned;

/// A table, by name. Names are stored; never reuse one for another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table(pub &'static str);

/// What a database says of itself; every one has this table.
pub(crate) const META: Table = Table("meta");
/// In [`META`]: written to see whether writing works.
pub(crate) const PROBE_KEY: &[u8] = b"probe";

/// A failed read or write.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    #[error("the database failed while {doing} table {table:?}: {reason}")]
    Storage {
        doing: &'static str,
        table: &'static str,
        reason: String,
    },
    #[error("table {0:?} is not in the schema of this database")]
    UnknownTable(&'static str),
    #[error("the record {key} of table {table:?} cannot be read; it may be damaged")]
    Decode {
        table: &'static str,
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the record {key} for table {table:?} cannot be written as JSON")]
    Encode {
        table: &'static str,
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

/// Keys in messages: as text where it is text.
pub(crate) fn show(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

pub(crate) fn decode<T: DeserializeOwned>(
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<T, KvError> {
    serde_json::from_slice(value).map_err(|source| KvError::Decode {
        table: table.0,
        key: show(key),
        source,
    })
}
