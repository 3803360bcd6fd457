//! How the database is reached.

use super::tls::Tls;
use std::{path::PathBuf, time::Duration};
use tokio_postgres::Config;

/// For a connection to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that does not answer that long is gone.
const SILENCE: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How a database that speaks PostgreSQL's protocol is reached.
#[derive(Clone)]
pub struct Postgres {
    /// `postgres://user:password@host:5432/database?sslmode=require`, or the same as
    /// `host=… user=…`. With `sslmode=require` the server's certificate is checked.
    pub dsn: String,
    /// For an address without one.
    pub password: Option<String>,
    /// The schema of the database in which the tables are, of which nobody else has any.
    pub schema: String,
    /// So many connections at most, and so many transactions at a time.
    pub connections: usize,
    /// Certificates (PEM) that are trusted; None: those of the system.
    pub authorities: Option<PathBuf>,
}

impl std::fmt::Debug for Postgres {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("place", &self.place())
            .field("connections", &self.connections)
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// For messages: host, database and schema, without user and password.
    pub fn place(&self) -> String {
        let Ok(config) = self.dsn.parse::<Config>() else {
            return format!("(unreadable), schema {}", self.schema);
        };
        let host = |host: &tokio_postgres::config::Host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
        let database = config.get_dbname().unwrap_or_default();
        format!("{}/{database}, schema {}", hosts.join(","), self.schema)
    }

    /// Whether the address can be understood.
    ///
    /// # Errors
    /// Why not, without what may be secret.
    pub fn check(&self) -> Result<(), String> {
        self.config().map(|_| ())
    }

    pub(super) fn config(&self) -> Result<Config, String> {
        let mut config: Config = self.dsn.parse().map_err(|e| format!("its address: {e}"))?;
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
            .application_name("damocles")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .keepalives_retries(2);
        Ok(config)
    }

    pub(super) fn tls(&self) -> Result<Tls, String> {
        Tls::trusting(self.authorities.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        let postgres = Postgres {
            dsn: "postgres://damocles:secret@db.example.org/power?sslmode=require".into(),
            password: Some("secret too".into()),
            schema: "damocles".into(),
            connections: 4,
            authorities: None,
        };
        let told = format!("{postgres:?}");
        assert!(
            told.contains("db.example.org/power, schema damocles"),
            "{told}"
        );
        assert!(!told.contains("secret"), "{told}");
        assert!(postgres.config().is_ok());
        let odd = Postgres {
            dsn: "postgres://secret@:::".into(),
            ..postgres
        };
        assert!(!odd.config().unwrap_err().contains("secret"));
        assert!(!format!("{odd:?}").contains("secret"));
    }
}
