//! One connection, driven by a thread of the store's own, so that callers need no runtime.

use super::{
    settings::Postgres,
    sql::{Fault, HABITS},
    tls::Tls,
};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{Client, Config};
use uuid::Uuid;

/// For an answer. What is longer under way has lost its connection.
const ANSWER: Duration = Duration::from_secs(30);

/// Runs what waits for the network.
pub(super) struct Driver {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    config: Config,
    tls: Tls,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// A connection, with the name under which its commits are numbered.
#[derive(Debug)]
pub(super) struct Connection {
    client: Arc<Client>,
    pub(super) name: Uuid,
    pub(super) commits: i64,
}

impl Driver {
    pub(super) fn new(postgres: &Postgres) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|e| format!("its thread: {e}"))?;
        Ok(Self {
            runtime: Some(runtime),
            config: postgres.config()?,
            tls: postgres.tls()?,
        })
    }

    pub(super) fn connect(&self) -> Result<Connection, Fault> {
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let client = self.wait(async move {
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database ended");
                }
            });
            for habit in HABITS {
                // what a database does not know it cannot do; a lost connection is seen later
                let _ = client.batch_execute(habit).await;
            }
            Ok(client)
        })?;
        Ok(Connection {
            client: Arc::new(client),
            name: Uuid::new_v4(),
            commits: 0,
        })
    }

    /// Waits for what the database answers.
    pub(super) fn ask<T, F>(
        &self,
        connection: &Connection,
        question: impl FnOnce(Arc<Client>) -> F,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        self.wait(question(connection.client.clone()))
    }

    /// The caller may be anywhere, also on a thread of another runtime.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T, Fault> {
        let stopped = || Fault::Lost("the store is being closed".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        let (done, answer) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            let answer = match timeout(ANSWER, work).await {
                Ok(answer) => answer.map_err(Fault::from),
                Err(_) => Err(Fault::Lost(format!("no answer in {} s", ANSWER.as_secs()))),
            };
            let _ = done.send(answer);
        });
        answer.recv().unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // from async code, too, where waiting is not allowed
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}
