//! Where the manager keeps its state, as the file says it.

use super::{home::here, raw};
use crate::policy::{DatabasePlace, PostgresPolicy};
use damocles_daemon::config::Report;
use damocles_kv::Memory;
use std::path::{Path, PathBuf};

/// More than a server gives one client.
const MOST_CONNECTIONS: u64 = 500;
/// Less would have a database write without end, more is no cache but the whole machine.
const MIB: std::ops::RangeInclusive<u64> = 8..=(1 << 20);
/// Postgres cuts longer names.
const LONGEST_NAME: usize = 63;

/// Where our state is, and where upstream's was.
pub(super) fn place(report: &mut Report, db: raw::Db) -> (DatabasePlace, Option<PathBuf>) {
    let raw::Db {
        driver,
        rocksdb,
        badger,
        postgres,
    } = db;
    let directory = DatabasePlace::Directory {
        dir: given(&rocksdb.base_dir),
        memory: Memory {
            cache: mebibytes(report, "Common.DB.RocksDB.CacheMiB", rocksdb.cache_mib),
            writes: mebibytes(report, "Common.DB.RocksDB.WritesMiB", rocksdb.writes_mib),
        },
    };
    let place = match driver.to_ascii_lowercase().as_str() {
        "rocksdb" => directory,
        "postgres" => {
            if !rocksdb.base_dir.as_os_str().is_empty() {
                report.notice(
                    "Common.DB.RocksDB.BaseDir",
                    "is not used, since the state is kept in PostgreSQL",
                );
            }
            DatabasePlace::Server(server(report, postgres))
        }
        "badger" => {
            report.notice(
                "Common.DB.Driver",
                "is \"badger\", upstream's local database; this manager keeps its state in RocksDB instead",
            );
            directory
        }
        "mongo" | "plugin" => {
            report.fault(
                "Common.DB.Driver",
                format!(
                    "{driver:?} is not supported by this version; write \"rocksdb\" or \"postgres\""
                ),
            );
            directory
        }
        _ => {
            report.fault(
                "Common.DB.Driver",
                format!("{driver:?} is not a database driver; write \"rocksdb\" or \"postgres\""),
            );
            directory
        }
    };
    let upstream = given(&badger.base_dir);
    if upstream.is_some() {
        report.notice(
            "Common.DB.Badger.BaseDir",
            "is upstream's database; this manager keeps its state elsewhere, and looks there only so as not to begin anew beside it",
        );
    }
    (place, upstream)
}

fn mebibytes(report: &mut Report, key: &str, given: u64) -> usize {
    if !(MIB.start() <= &given && &given <= MIB.end()) {
        report.fault(
            key,
            format!("{given} is not between {} and {}", MIB.start(), MIB.end()),
        );
    }
    usize::try_from(given.saturating_mul(1 << 20)).unwrap_or(usize::MAX)
}

fn given(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| here(path))
}

fn server(report: &mut Report, postgres: raw::Postgres) -> PostgresPolicy {
    let raw::Postgres {
        dsn,
        password_file,
        schema,
        connections,
        authorities,
    } = postgres;
    if schema.is_empty() || schema.len() > LONGEST_NAME || schema.contains('\0') {
        report.fault(
            "Common.DB.Postgres.Schema",
            format!(
                "a schema's name has 1 to {LONGEST_NAME} bytes; write for example \"damocles\""
            ),
        );
    }
    if !(1..=MOST_CONNECTIONS).contains(&connections) {
        report.fault(
            "Common.DB.Postgres.Connections",
            format!("{connections} is not between 1 and {MOST_CONNECTIONS}"),
        );
    }
    let policy = PostgresPolicy {
        dsn,
        password_file: given(&password_file),
        schema,
        connections: usize::try_from(connections).unwrap_or(1).max(1),
        authorities: given(&authorities),
    };
    if policy.dsn.is_empty() {
        report.fault(
            "Common.DB.Postgres.DSN",
            "the address of the database is missing; write for example DSN = \"postgres://damocles@db.example.org/damocles?sslmode=require\"",
        );
    } else if let Err(what) = policy.postgres(None).check() {
        report.fault("Common.DB.Postgres.DSN", what);
    }
    policy
}

/// An address as it may be shown: nothing of it is, where a password cannot be told from the
/// rest.
pub(super) fn without_password(dsn: &str) -> String {
    match dsn.split_once("://") {
        _ if dsn.is_empty() => String::new(),
        Some(_) => crate::policy::without_secrets(dsn),
        None => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, check_text};
    use damocles_daemon::exit::Fatal;

    fn check(db: &str) -> Result<Config, Fatal> {
        let text = format!(
            "[Common.API]\nChain = \"/ip4/127.0.0.1/tcp/1234\"\n[Common.DB]\n{db}\n[[Miners]]\nActor = 1000\n"
        );
        check_text(Path::new("sector-manager.cfg"), &text)
    }

    #[test]
    fn a_shared_database_is_described_and_its_password_is_not_shown() {
        let config = check(
            "Driver = \"postgres\"\n[Common.DB.Postgres]\nDSN = \"postgres://u:secret@db.example.org/power?sslmode=require\"\nConnections = 4\nPasswordFile = \"/run/secret\"",
        )
        .unwrap();
        let DatabasePlace::Server(server) = &config.database else {
            panic!("{:?}", config.database)
        };
        assert_eq!(
            (server.connections, server.schema.as_str()),
            (4, "damocles")
        );
        assert_eq!(
            server.password_file.as_deref(),
            Some(Path::new("/run/secret"))
        );
        let place = config.database.to_string();
        assert!(place.contains("db.example.org/power"), "{place}");
        for shown in [&place, &config.effective, &format!("{:?}", config.database)] {
            assert!(
                !shown.contains("secret@") && !shown.contains("u:"),
                "{shown}"
            );
        }
        let odd = check(
            "Driver = \"postgres\"\n[Common.DB.Postgres]\nDSN = \"host=db user=u password=secret\"",
        )
        .unwrap();
        assert!(!odd.effective.contains("secret"), "{}", odd.effective);
    }

    #[test]
    fn a_database_that_cannot_be_reached_so_is_refused_with_the_keys_name() {
        for (db, key) in [
            ("Driver = \"postgres\"", "Postgres.DSN"),
            (
                "Driver = \"postgres\"\n[Common.DB.Postgres]\nDSN = \"postgres://:::\"",
                "Postgres.DSN",
            ),
            (
                "Driver = \"postgres\"\n[Common.DB.Postgres]\nDSN = \"host=a user=b\"\nConnections = 0",
                "Postgres.Connections",
            ),
            (
                "Driver = \"postgres\"\n[Common.DB.Postgres]\nDSN = \"host=a user=b\"\nSchema = \"\"",
                "Postgres.Schema",
            ),
            ("[Common.DB.RocksDB]\nCacheMiB = 1", "RocksDB.CacheMiB"),
            (
                "[Common.DB.RocksDB]\nWritesMiB = 99999999",
                "RocksDB.WritesMiB",
            ),
            ("Driver = \"mysql\"", "DB.Driver"),
            ("Driver = \"Mongo\"", "DB.Driver"),
        ] {
            let error = check(db).unwrap_err().to_string();
            assert!(error.contains(key), "{db}: {error}");
        }
        assert!(matches!(
            check("Driver = \"RocksDB\"").unwrap().database,
            DatabasePlace::Directory { dir: None, .. }
        ));
    }
}
