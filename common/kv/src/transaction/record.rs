//! A record as a transaction saw it, and how its version lies beside its value.

use super::error::StoreError;
use crate::{Table, table::decode};
use serde::de::DeserializeOwned;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names what a record was at one moment: another write gives it another version. Versions are
/// equal or not; they have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub(crate) u64);

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) value: Vec<u8>,
}

/// A record as a transaction saw it, also one that was not there. To write it, one must have
/// seen it: [`Transaction::put`](crate::Transaction::put) takes this. Kept beyond its
/// transaction, it writes in a later one only if the record has not changed since.
#[derive(Clone, Debug)]
pub struct Record {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) stored: Option<Stored>,
    /// By which attempt of which transaction.
    pub(super) seen_by: u64,
}

impl Record {
    pub fn table(&self) -> Table {
        self.table
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether it was there.
    pub fn exists(&self) -> bool {
        self.stored.is_some()
    }

    /// None: it was not there.
    pub fn version(&self) -> Option<Version> {
        self.stored.as_ref().map(|stored| stored.version)
    }

    /// Its value; None: it was not there.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.stored.as_ref().map(|stored| stored.value.as_slice())
    }

    /// Its value, read from JSON.
    ///
    /// # Errors
    /// [`KvError::Decode`](crate::KvError::Decode), which names the record.
    pub fn json<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        self.bytes()
            .map(|value| decode(self.table, &self.key, value))
            .transpose()
            .map_err(StoreError::Kv)
    }
}

/// Stands before version and value. No JSON and no UTF-8 text begins with it, so values of before
/// the versions are told apart.
const VERSIONED: u8 = 0xff;
const HEAD: usize = 1 + size_of::<u64>();

/// The bytes that an engine without columns keeps.
pub(crate) fn pack(version: Version, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + value.len());
    out.push(VERSIONED);
    out.extend(version.0.to_be_bytes());
    out.extend(value);
    out
}

/// Version and value. One that was written without a version is its own: its content names it.
pub(crate) fn unpack(bytes: &[u8]) -> (Version, &[u8]) {
    if let Some((&VERSIONED, rest)) = bytes.split_first()
        && let Some((version, value)) = rest.split_first_chunk()
    {
        return (Version(u64::from_be_bytes(*version)), value);
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    // no engine counts that far
    (Version(hasher.finish() | 1 << 63), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_lies_beside_the_value_and_a_value_without_one_has_one_too() {
        for value in [&b""[..], b"{}", b"\xff\xff"] {
            let packed = pack(Version(7), value);
            assert_eq!(unpack(&packed), (Version(7), value));
        }
        // as it lies in databases since the first of them
        assert_eq!(pack(Version(7), b"{}"), b"\xff\0\0\0\0\0\0\0\x07{}");
        for value in [&b""[..], b"{}", b"text", b"\xff\x01"] {
            let (version, same) = unpack(value);
            assert_eq!(same, value);
            assert_eq!(unpack(value).0, version);
            assert!(version.0 >> 63 == 1);
        }
        assert_ne!(unpack(b"{}").0, unpack(b"[]").0);
    }
}
