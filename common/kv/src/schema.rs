//! What a database is made of: whose it is, which tables it has, and how an older one is
//! brought up to date.

use crate::{Batch, Kv, KvError, Table};
use serde::{Deserialize, Serialize};

/// Brings a database one version further.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What changes, in one sentence, for the log.
    pub what: &'static str,
    /// Reads from the store, writes to the batch; batch and new version number go down together.
    pub run: fn(&Kv, &mut Batch) -> Result<(), KvError>,
}

/// A database as this program knows it.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Whose data it is, e.g. `damocles-manager`; another owner's database is refused.
    pub owner: &'static str,
    pub tables: &'static [Table],
    /// The first entry leads from version 1 to 2, and so on; the next one goes at the end.
    pub migrations: &'static [Migration],
}

impl Schema {
    /// The version that this program writes.
    pub const fn version(&self) -> u32 {
        self.migrations.len() as u32 + 1
    }
}

/// Where [`Stamp`] is kept, in [`META`](crate::table::META).
pub(crate) const STAMP_KEY: &[u8] = b"schema";

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) owner: String,
    pub(crate) version: u32,
    /// Made with the database and never changed. Databases of an older version get theirs when
    /// they are opened.
    #[serde(default)]
    pub(crate) id: Option<uuid::Uuid>,
}
