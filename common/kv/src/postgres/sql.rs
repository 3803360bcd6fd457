//! What is said to the database, and what its refusals mean.

use crate::{KvError, StoreError, Table, transaction::Failure};
use tokio_postgres::error::SqlState;

/// Each connection keeps here the number of its last commit.
const COMMITS: &str = "_commits";

/// The statements, for one schema.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    schema: String,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Sql {
    pub(super) fn of(schema: &str) -> Self {
        Self {
            schema: quoted(schema),
        }
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", self.schema, quoted(name))
    }

    pub(super) fn make_schema(&self) -> String {
        format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema)
    }

    pub(super) fn make_table(&self, table: Table) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (key BYTEA PRIMARY KEY, version BIGINT NOT NULL, value BYTEA NOT NULL)",
            self.table(table.0)
        )
    }

    pub(super) fn make_commits(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (connection BYTEA PRIMARY KEY, number BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL)",
            self.table(COMMITS)
        )
    }

    /// Which tables there are. $1: the schema, as it is named.
    pub(super) const TABLES: &str =
        "SELECT table_name::TEXT FROM information_schema.tables WHERE table_schema = $1";

    /// Whether it is there. $1: the schema, as it is named.
    pub(super) const SCHEMAS: &str =
        "SELECT 1::BIGINT FROM information_schema.schemata WHERE schema_name = $1";

    pub(super) const COMMITS: &str = COMMITS;

    /// $1: key.
    pub(super) fn get(&self, table: Table) -> String {
        format!(
            "SELECT version, value FROM {} WHERE key = $1",
            self.table(table.0)
        )
    }

    /// $1: lowest key, $2: limit, $3: the key above all, if `bounded`.
    pub(super) fn scan(&self, table: Table, bounded: bool, backwards: bool) -> String {
        let high = if bounded { " AND key < $3" } else { "" };
        let order = if backwards { "DESC" } else { "ASC" };
        format!(
            "SELECT key, version, value FROM {} WHERE key >= $1{high} ORDER BY key {order} LIMIT $2",
            self.table(table.0)
        )
    }

    /// $1: keys.
    pub(super) fn get_all(&self, table: Table) -> String {
        format!(
            "SELECT version, value, key FROM {} WHERE key = ANY($1)",
            self.table(table.0)
        )
    }

    /// Whether each of the keys has its version; 0: there is no such record. Asked key by key, so
    /// that the index is used however many there are.
    pub(super) fn have_versions(&self, table: Table, keys: &str, versions: &str) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM unnest({keys}, {versions}) AS seen(key, version) WHERE coalesce((SELECT now.version FROM {} AS now WHERE now.key = seen.key), 0) <> seen.version)",
            self.table(table.0)
        )
    }

    /// Whether the records from `low` on, and below `high`, are these.
    pub(super) fn are_all(
        &self,
        table: Table,
        low: &str,
        high: Option<&str>,
        keys: &str,
        versions: &str,
    ) -> String {
        let high = high.map_or_else(String::new, |high| format!(" AND key < {high}"));
        format!(
            "(SELECT coalesce(array_agg(key ORDER BY key), '{{}}') = {keys} AND coalesce(array_agg(version ORDER BY key), '{{}}') = {versions} FROM {} WHERE key >= {low}{high})",
            self.table(table.0)
        )
    }

    /// Whether that is the connection's next commit. Of one that was closed (see
    /// [`Self::close_number`]) there is none.
    pub(super) fn is_next(&self, connection: &str, number: &str) -> String {
        format!(
            "coalesce((SELECT number FROM {} WHERE connection = {connection}), 0) = {number} - 1",
            self.table(COMMITS)
        )
    }

    /// Beside a `verdict`.
    pub(super) fn put(&self, table: Table, keys: &str, values: &str, version: &str) -> String {
        format!(
            "INSERT INTO {} (key, version, value) SELECT new.key, {version}, new.value FROM verdict, unnest({keys}, {values}) AS new(key, value) WHERE good ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value",
            self.table(table.0)
        )
    }

    /// Beside a `verdict`.
    pub(super) fn delete(&self, table: Table, keys: &str) -> String {
        format!(
            "DELETE FROM {} WHERE key = ANY({keys}) AND (SELECT good FROM verdict)",
            self.table(table.0)
        )
    }

    /// Beside a `verdict`.
    pub(super) fn number(&self, connection: &str, number: &str) -> String {
        format!(
            "INSERT INTO {} (connection, number, at) SELECT {connection}, {number}, now() FROM verdict WHERE good ON CONFLICT (connection) DO UPDATE SET number = excluded.number, at = excluded.at",
            self.table(COMMITS)
        )
    }

    /// The connection's last commit ($1: its name) is asked for, and it gets no other: waits for
    /// a transaction that is writing the row, and one that comes later is not applied. Answers
    /// with -1 - number.
    pub(super) fn close_number(&self) -> String {
        let table = self.table(COMMITS);
        format!(
            "INSERT INTO {table} AS mine (connection, number, at) VALUES ($1, -1, now()) ON CONFLICT (connection) DO UPDATE SET number = least(mine.number, -1 - mine.number) RETURNING number"
        )
    }

    /// Of connections that have written nothing for long: those of processes that are gone.
    pub(super) fn forget_numbers(&self) -> String {
        format!(
            "DELETE FROM {} WHERE at < now() - INTERVAL '2 days'",
            self.table(COMMITS)
        )
    }
}

pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
pub(super) const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY";
/// What a new connection is told where it is known: a transaction whose client is gone ends; a
/// scan goes by the index, and in its order, for one of the whole table would conflict with every
/// write into it; a statement is planned once, not for each of its first values and, where that
/// looks cheaper, for all of them, and is not compiled, for what is expected of an unknown range is
/// far more than what is in it; a commit is answered when it is on the disk, also where the
/// server's own setting is not to wait.
pub(super) const HABITS: [&str; 7] = [
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET statement_timeout = '25s'",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET plan_cache_mode = force_generic_plan",
    "SET jit = off",
    "SELECT set_config('synchronous_commit', 'local', false) WHERE current_setting('synchronous_commit') = 'off'",
];

/// Whether the server itself brings anything to the disk. No answer where that is no question.
pub(super) const FSYNC: &str = "SELECT current_setting('fsync', true)";

/// Why the database did not do as it was told.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Another transaction was in the way; this one was not applied.
    Conflict,
    /// There is no connection any more, or the database stops or starts.
    Lost(String),
    /// It does not want to.
    Refused(String),
}

impl Fault {
    /// Of a transaction that was not told to commit.
    pub(super) fn before_commit(self, doing: &'static str, table: Table) -> Failure {
        match self {
            Self::Conflict => Failure::conflict(),
            Self::Lost(reason) => Failure::Again(StoreError::Away { reason }),
            Self::Refused(reason) => Failure::Final(StoreError::Kv(KvError::Storage {
                doing,
                table: table.0,
                reason,
            })),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let mut reason = error.to_string();
            if let Some(cause) = error.into_source() {
                reason = format!("{reason}: {cause}");
            }
            return Self::Lost(reason);
        };
        let code = told.code();
        let reason = format!("{} ({})", told.message(), code.code());
        match code {
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Conflict
            }
            // CockroachDB's word for a commit of which it does not know the end
            &SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            | &SqlState::ADMIN_SHUTDOWN
            | &SqlState::CRASH_SHUTDOWN
            | &SqlState::CANNOT_CONNECT_NOW
            | &SqlState::TOO_MANY_CONNECTIONS
            | &SqlState::QUERY_CANCELED
            | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            // a standby, as after a switch to another server
            | &SqlState::READ_ONLY_SQL_TRANSACTION => Self::Lost(reason),
            // connection exceptions; and who is not let in, of which only a new try tells the end
            other if ["08", "28"].iter().any(|class| other.code().starts_with(class)) => {
                Self::Lost(reason)
            }
            _ => Self::Refused(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_a_statement() {
        let sql = Sql::of("a\"; DROP");
        assert_eq!(
            sql.get(Table("t\"x")),
            "SELECT version, value FROM \"a\"\"; DROP\".\"t\"\"x\" WHERE key = $1"
        );
    }
}
