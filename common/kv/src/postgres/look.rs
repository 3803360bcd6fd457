//! What is under a key, for a transaction that will be looked at again when it is applied: those who
//! ask at a time are answered by one statement.

use super::{row::Told, sql::Fault};
use crate::{Table, transaction::Stored};

/// A record by its name.
pub(super) type Key = (Table, Vec<u8>);

/// Keys that one statement asks for.
pub(super) const COMPANY: usize = 64;

/// What was there.
#[derive(Clone, Debug)]
pub(super) struct Found(pub(super) Result<Option<Stored>, Fault>);

impl Told for Found {
    fn broken_off() -> Self {
        Self(Err(Fault::Conflict))
    }
}
