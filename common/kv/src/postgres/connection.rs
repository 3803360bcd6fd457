//! One connection, driven by a thread of the store's own, so that callers need no runtime.

use super::{
    question::Question,
    settings::Postgres,
    sql::{Fault, HABITS},
    tls::Tls,
};
use futures::future::try_join_all;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{Client, Config, Error, Row, Statement};
use uuid::Uuid;

/// For an answer. What is longer under way has lost its connection.
const ANSWER: Duration = Duration::from_secs(30);

/// So many statements a connection keeps planned. There are a few for each table, and one for
/// each combination of tables that a transaction reads and writes.
const PLANNED: usize = 400;

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
    planned: Arc<Planned>,
    pub(super) name: Uuid,
    /// How many were applied.
    pub(super) commits: i64,
}

/// Statements that the server has planned, by their text.
#[derive(Default)]
struct Planned(Mutex<HashMap<String, Statement>>);

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Planned")
            .field(&self.0.lock().len())
            .finish()
    }
}

impl Planned {
    async fn statement(&self, client: &Client, question: &Question) -> Result<Statement, Error> {
        let known = self.0.lock().get(&question.text).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = client
            .prepare_typed(&question.text, &question.kinds())
            .await?;
        let mut all = self.0.lock();
        if all.len() >= PLANNED {
            all.clear();
        }
        all.insert(question.text.clone(), statement.clone());
        Ok(statement)
    }
}

/// Questions that are sent in one go, before the first of them is answered.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Opens a transaction, if any.
    pub(super) begin: Option<&'static str>,
    pub(super) questions: Vec<Question>,
    /// Ends it.
    pub(super) end: Option<&'static str>,
}

impl Flight {
    /// The rows of each question. The first that fails tells why.
    async fn go(self, client: &Client, planned: &Planned) -> Result<Vec<Vec<Row>>, Error> {
        let mut statements = Vec::new();
        for question in &self.questions {
            statements.push(planned.statement(client, question).await?);
        }
        let say = async |words: Option<&'static str>| match words {
            Some(words) => client.batch_execute(words).await,
            None => Ok(()),
        };
        let ask = async |(question, statement): (&Question, &Statement)| {
            client.query(statement, &question.values()).await
        };
        // each is sent when it is polled first, and that is in this order
        let (began, found, ended) = futures::join!(
            say(self.begin),
            try_join_all(self.questions.iter().zip(&statements).map(ask)),
            say(self.end),
        );
        began?;
        let found = found?;
        ended?;
        Ok(found)
    }
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
            planned: Arc::default(),
            name: Uuid::new_v4(),
            commits: 0,
        })
    }

    /// Asks something whose answer nobody wants: the server has planned it then. What it cannot
    /// answer is told to whoever wants it.
    pub(super) fn rehearse(
        &self,
        connection: &Connection,
        questions: Vec<Question>,
    ) -> Result<(), Fault> {
        let (client, planned) = (connection.client.clone(), connection.planned.clone());
        self.wait(async move {
            let ask = async |question: Question| {
                let statement = planned.statement(&client, &question).await?;
                client.query(&statement, &question.values()).await
            };
            let _ = futures::future::join_all(questions.into_iter().map(ask)).await;
            Ok(())
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
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.wait(question(connection.client.clone()))
    }

    /// Waits for the answers of a flight, and reads them.
    pub(super) fn fly<T: Send + 'static>(
        &self,
        connection: &Connection,
        flight: Flight,
        read: impl FnOnce(Vec<Vec<Row>>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Fault> {
        let (client, planned) = (connection.client.clone(), connection.planned.clone());
        self.wait(async move { read(flight.go(&client, &planned).await?) })
    }

    /// The caller may be anywhere, also on a thread of another runtime.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
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
