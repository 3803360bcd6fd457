//! What is wrong with a record, and what a person does about it.

use crate::db::schema::REPLICAS;
use damocles_kv::{KvError, Record, StoreError, Table};
use serde::{Serialize, de::DeserializeOwned};

/// How lists that do not follow from records are mended.
pub(super) const MEND: &str = "`damocles-manager db check --mend` puts the list right";
const RESTORE: &str = "bring the record back from a backup; until then it is passed over";

/// What is done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Nothing.
    Nothing,
    /// Lists are made to follow from the records.
    Lists,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Fault {
    pub table: &'static str,
    /// In hexadecimal digits, as in an export.
    pub key: String,
    pub what: String,
    /// What a person does.
    pub cure: String,
    /// It was put right.
    pub mended: bool,
    #[serde(skip)]
    pub(super) mend: Option<Change>,
}

/// What puts it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    /// None: it goes.
    pub(super) value: Option<Vec<u8>>,
}

impl Fault {
    pub(super) fn new(table: Table, key: &[u8], what: impl ToString, cure: impl ToString) -> Self {
        Self {
            table: table.0,
            key: hex::encode(key),
            what: what.to_string(),
            cure: cure.to_string(),
            mended: false,
            mend: None,
        }
    }

    /// Of a replica whose files are not what the index says.
    pub fn of_replica(key: &str, what: String) -> Self {
        Self {
            table: REPLICAS.0,
            key: key.to_owned(),
            what,
            cure: "bring the files back from a copy; if they are lost, the sector's power is: it is faulty on chain until it is terminated".to_owned(),
            mended: false,
            mend: None,
        }
    }

    /// An entry of a list that has to be there, with that value.
    pub(super) fn missing(table: Table, key: &[u8], value: Vec<u8>, what: impl ToString) -> Self {
        let change = Change {
            table,
            key: key.to_vec(),
            value: Some(value),
        };
        Self {
            mend: Some(change),
            ..Self::new(table, key, what, MEND)
        }
    }

    /// An entry of a list that must not be there.
    pub(super) fn extra(table: Table, key: &[u8], what: impl ToString) -> Self {
        let change = Change {
            table,
            key: key.to_vec(),
            value: None,
        };
        Self {
            mend: Some(change),
            ..Self::new(table, key, what, MEND)
        }
    }
}

/// The value of a record, if it can be read; if not, that is a fault.
pub(super) fn decoded<T: DeserializeOwned>(
    seen: &Record,
    faults: &mut Vec<Fault>,
) -> Result<Option<T>, StoreError> {
    match seen.json() {
        Err(StoreError::Kv(KvError::Decode { source: why, .. })) => {
            let what = format!("the record cannot be read: {why}");
            faults.push(Fault::new(seen.table(), seen.key(), what, RESTORE));
            Ok(None)
        }
        found => found,
    }
}

/// The record is another one than its key says.
pub(super) fn misplaced(seen: &Record, what: &str) -> Fault {
    let what = format!("it lies under a key that is not {what}");
    Fault::new(seen.table(), seen.key(), what, RESTORE)
}
