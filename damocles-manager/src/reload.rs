//! Reads the configuration again while the daemon runs. The file is checked whole; then all that
//! can count at once does, or nothing. What only counts at the next start is named.

use crate::{
    config::{self, Config, Counts, Difference},
    db::{Db, DbError, pages::Wanted},
    policy::Retention,
    served::Served,
    storage::{StorageError, Stores},
};
use damocles_api::damocles_cli::ConfigurationView;
use damocles_daemon::{auth::Guard, exit::Fatal, signals::Reloads};
use damocles_types::ActorId;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// So many sectors are named of those that stand in the way.
const NAMED: usize = 5;

/// Why a new configuration was not taken. Everything goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Wrong(#[from] Fatal),
    #[error(
        "miner t0{miner} is not in the file any more, and still has {what}: with [Miners.Sector] Enabled = false it gets no new sectors, and can go when these are done"
    )]
    InWork { miner: ActorId, what: String },
    #[error(
        "persist store {store:?} is not in the file any more, and sectors lie in it, such as {sectors}: nobody would find them for their WindowPoSt"
    )]
    Holds { store: String, sectors: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the database could not be asked: {0}")]
    Db(#[from] DbError),
    #[error("the two configurations cannot be compared: {0}")]
    Compare(String),
}

/// What a configuration that is read again is applied to.
#[derive(Clone, Debug)]
pub struct Parts {
    pub served: Served,
    pub stores: Stores,
    pub guard: Guard,
    pub retention: watch::Sender<Retention>,
    pub db: Db,
}

/// By what the daemon goes.
#[derive(Debug)]
struct Running {
    /// The effective file, as it was read last.
    effective: String,
    /// By which it started: what counts only then goes by this.
    at_start: String,
    /// Unix seconds.
    read_at: i64,
}

/// The configuration of a running daemon; clones share it.
#[derive(Clone, Debug)]
pub struct Reload {
    path: PathBuf,
    parts: Parts,
    running: Arc<Mutex<Running>>,
}

impl Reload {
    /// `effective`: the file by which the daemon started, with every key.
    pub fn new(path: PathBuf, effective: String, parts: Parts) -> Self {
        let running = Running {
            at_start: effective.clone(),
            effective,
            read_at: now(),
        };
        Self {
            path,
            parts,
            running: Arc::new(Mutex::new(running)),
        }
    }

    /// Reads the file again at every signal, until `stop`.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, mut signals: Reloads, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let signal = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                signal = signals.next() => signal,
            };
            tracing::info!(signal, file = %self.path.display(), "reading the configuration again");
            match self.again().await {
                Ok(changed) if changed.is_empty() => tracing::info!("nothing has changed in it"),
                Ok(changed) => said(&changed),
                Err(refused) => tracing::error!(
                    "the new configuration is not taken, and everything goes on as before: {refused}"
                ),
            }
        }
    }

    /// What the daemon goes by.
    pub fn view(&self) -> ConfigurationView {
        let running = self.running.lock();
        let waiting = config::differences(&running.at_start, &running.effective);
        let waiting = waiting.unwrap_or_default().into_iter();
        ConfigurationView {
            path: self.path.display().to_string(),
            effective: running.effective.clone(),
            read_at: running.read_at,
            waiting: waiting
                .filter(|d| d.counts == Counts::AtStart)
                .map(|d| d.to_string())
                .collect(),
        }
    }

    /// Reads the file again. What has changed in it since it was read last.
    async fn again(&self) -> Result<Vec<Difference>, Refused> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || config::check_file(&path)).await;
        let new = read.map_err(|e| Refused::Compare(e.to_string()))??;
        let was = self.running.lock().effective.clone();
        let changed = config::differences(&was, &new.effective)
            .map_err(|e| Refused::Compare(e.to_string()))?;
        self.nothing_is_left_behind(&new).await?;
        let parts = &self.parts;
        parts.stores.replace(new.stores, new.store_scans)?;
        parts.served.replace(new.miners);
        parts.guard.open(new.open_networks);
        parts.retention.send_replace(new.retention);
        let mut running = self.running.lock();
        (running.effective, running.read_at) = (new.effective, now());
        Ok(changed)
    }

    /// Refuses what would leave work or sectors without anybody who looks after them.
    async fn nothing_is_left_behind(&self, new: &Config) -> Result<(), Refused> {
        let served = self.parts.served.all();
        let stay: BTreeSet<ActorId> = new.miners.iter().map(|m| m.actor).collect();
        for miner in served.iter().filter(|m| !stay.contains(&m.actor)) {
            let miner = miner.actor;
            let work = self.parts.db.call(move |db| work_of(db, miner)).await?;
            if let Some(what) = work {
                return Err(Refused::InWork { miner, what });
            }
        }
        let stay: BTreeSet<&str> = new.stores.iter().map(|s| s.name.as_str()).collect();
        let gone: Vec<String> = self.parts.stores.configured();
        for store in gone
            .into_iter()
            .filter(|name| !stay.contains(name.as_str()))
        {
            let name = store.clone();
            let held = move |db: &Db| db.some_in_store(&name, NAMED);
            let held = self.parts.db.call(held).await?;
            if !held.is_empty() {
                let names: Vec<String> = held.iter().map(ToString::to_string).collect();
                let sectors = names.join(", ");
                return Err(Refused::Holds { store, sectors });
            }
        }
        Ok(())
    }
}

/// What of a miner is on its way; None: nothing.
fn work_of(db: &Db, miner: ActorId) -> Result<Option<String>, DbError> {
    let page = db.sectors_page(true, Some(miner), &Wanted::first(NAMED), |_| true)?;
    if !page.items.is_empty() {
        let names: Vec<String> = page.items.iter().map(|r| r.id.to_string()).collect();
        let more = if page.next.is_some() { " and more" } else { "" };
        return Ok(Some(format!("sectors in work: {}{more}", names.join(", "))));
    }
    let messages = db.open_messages_briefly()?;
    let open = messages.iter().filter(|m| m.miner == miner).count();
    if open > 0 {
        return Ok(Some(format!("{open} messages on their way")));
    }
    let posts = db.unfinished_posts(miner)?.len();
    Ok((posts > 0).then(|| format!("{posts} WindowPoSts that are not final")))
}

fn said(changed: &[Difference]) {
    for difference in changed {
        match difference.counts {
            Counts::Now => tracing::info!("{difference}; counts from now on"),
            Counts::AtStart => {
                tracing::warn!("{difference}; counts when this daemon is started anew");
            }
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
