//! How a transaction can fail, apart from what its closure says.

use crate::KvError;

/// What the store says of a transaction that did not happen. Nothing of it was written, except
/// where [`Self::UnknownOutcome`] says that this is not known.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Kv(#[from] KvError),
    /// As often as it was tried, somebody else wrote what it had read. A wait, no failure.
    #[error("others wrote the same records in each of {attempts} attempts; try again in a moment")]
    Conflict { attempts: u32 },
    /// A [`Record`](crate::Record) of an earlier transaction is not any more what it was.
    #[error("the record {key} of table {table:?} changed meanwhile; look again")]
    Changed { table: &'static str, key: String },
    /// Only a new record was to be made.
    #[error("table {table:?} has a record {key} already")]
    Exists { table: &'static str, key: String },
    /// Another one has the role now, or had it meanwhile.
    #[error(
        "the lease on {role} of {scope} is not {holder}'s any more: its fence {fence} was followed by {current}"
    )]
    Fenced {
        role: String,
        scope: String,
        holder: String,
        fence: u64,
        current: u64,
    },
    /// The claim ran out and another one has the item, or it is done.
    #[error("the claim of {holder} on {item} of queue {queue} is over")]
    ClaimLost {
        queue: String,
        item: String,
        holder: String,
    },
    /// The database cannot be reached, or is starting or stopping. A wait, no failure.
    #[error("the database cannot be reached ({reason}); the transaction was not applied")]
    Away { reason: String },
    /// The connection ended while the transaction was being applied, and the database could not
    /// be asked afterwards. Look at the records before doing it again.
    #[error(
        "the connection to the database ended while a transaction was applied ({reason}); whether it was is not known"
    )]
    UnknownOutcome { reason: String },
    /// Several programs share the database, and a newer one has brought it up to date.
    #[error(
        "the database was brought to version {found} by a newer program, and this one writes version {known}; install the newer one here, too"
    )]
    Newer { found: u32, known: u32 },
    #[error("another import into this database was begun meanwhile; this one is over")]
    ImportOver,
    #[error("a transaction was begun inside another one of the same database; this is a bug")]
    Nested,
    #[error("a transaction that only reads wrote into table {table:?}; this is a bug")]
    ReadOnly { table: &'static str },
}

impl StoreError {
    /// Whether it ends by itself, so that the caller waits and tries again: nobody has done
    /// anything wrong, and nothing needs to be counted.
    pub fn is_wait(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Away { .. } | Self::UnknownOutcome { .. }
        )
    }
}
