//! What a database is made of: whose it is, which tables it has, and how an older one is
//! brought up to date.

use crate::{Record, StoreError, Table, Transaction};

/// Brings a database one version further.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What changes, in one sentence, for the log.
    pub what: &'static str,
    pub work: Work,
}

/// What a migration has to do.
#[derive(Clone, Copy)]
pub enum Work {
    /// Nothing: the records are good as they are, but an older program would misread what this
    /// one writes.
    Nothing,
    /// Every record of the table is shown once, in the order of keys, a page in one transaction
    /// that also keeps the place: a kill costs a page, and memory is that of a page. It may
    /// write what it likes, but no record of the same table that comes later.
    Each(
        Table,
        fn(&mut Transaction<'_>, &Record) -> Result<(), StoreError>,
    ),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Each(table, _) => write!(f, "Each({table:?})"),
        }
    }
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
