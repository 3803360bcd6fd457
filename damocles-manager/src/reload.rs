//! Reads the configuration again while the daemon runs. The file is checked whole; then all that
//! can count at once does, or nothing. What only counts at the next start is named.

use crate::{
    config::{self, Config, Counts, Difference, Secrets},
    db::{Db, DbError, pages::Wanted, record::SectorRecord},
    policy::Retention,
    served::Served,
    storage::{StorageError, Stores},
};
use damocles_api::damocles_cli::ConfigurationView;
use damocles_daemon::{
    auth::Guard,
    clock::{Clock as _, SystemClock},
    exit::Fatal,
    signals::Reloads,
    tls::Tls,
};
use damocles_types::ActorId;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
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
    #[error("miner t0{miner} is not in the file any more, and still has {what}: {hint}")]
    InWork {
        miner: ActorId,
        what: String,
        hint: &'static str,
    },
    #[error(
        "persist store {store:?} would be gone, and sectors lie in it or are on their way there, such as {sectors}: nobody would find them for their WindowPoSt"
    )]
    Holds { store: String, sectors: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the database could not be asked: {0}")]
    Db(#[from] DbError),
    #[error("the two configurations cannot be compared: {0}")]
    Compare(String),
}

const NO_NEW_ONES: &str =
    "with [Miners.Sector] Enabled = false it gets no new sectors, and can go when these are done";
const NOT_PROVEN: &str = "if another manager proves them, write [Miners.PoSt] Enabled = false for it first, and read the file again";

/// What a configuration that is read again is applied to.
#[derive(Clone, Debug)]
pub struct Parts {
    pub served: Served,
    pub stores: Stores,
    pub guard: Guard,
    pub tls: Tls,
    pub retention: watch::Sender<Retention>,
    pub db: Db,
}

/// A file as it was read.
#[derive(Clone, Debug)]
struct Text {
    /// Every key with its value, without secrets.
    effective: String,
    secrets: Secrets,
}

impl Text {
    fn of(config: &Config) -> Self {
        Self {
            effective: config.effective.clone(),
            secrets: config.secrets.clone(),
        }
    }

    /// What is another one in the other.
    fn differences(&self, other: &Self) -> Result<Vec<Difference>, toml::de::Error> {
        let found = config::differences(&self.effective, &other.effective)?;
        let same = self.secrets == other.secrets;
        Ok(config::with_secrets(found, same))
    }
}

/// By what the daemon goes.
#[derive(Debug)]
struct Running {
    /// As it was read last.
    now: Text,
    /// As it was read at the start: what counts only then goes by this.
    at_start: Text,
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
    pub fn new(path: PathBuf, started_with: &Config, parts: Parts) -> Self {
        let text = Text::of(started_with);
        let running = Running {
            at_start: text.clone(),
            now: text,
            read_at: SystemClock.now_seconds(),
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

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the daemon goes by.
    pub fn view(&self) -> ConfigurationView {
        let running = self.running.lock();
        let waiting = running.at_start.differences(&running.now);
        let salt = uuid::Uuid::new_v4().to_string();
        ConfigurationView {
            secrets: running.now.secrets.fingerprint(&salt),
            salt,
            path: self.path.display().to_string(),
            effective: running.now.effective.clone(),
            read_at: running.read_at,
            waiting: waiting
                .unwrap_or_default()
                .into_iter()
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
        let text = Text::of(&new);
        let was = self.running.lock().now.clone();
        let changed = was.differences(&text);
        let changed = changed.map_err(|e| Refused::Compare(e.to_string()))?;
        let parts = &self.parts;
        // what begins between the look and its end would be left behind all the same
        let _still = (parts.served.still().await, parts.stores.still().await);
        self.nothing_is_left_behind(&new).await?;
        parts.stores.replace(new.stores, new.store_scans)?;
        parts.served.replace(new.miners);
        parts.guard.open(new.open_networks);
        parts.tls.show(new.tls);
        parts.retention.send_replace(new.retention);
        let mut running = self.running.lock();
        (running.now, running.read_at) = (text, SystemClock.now_seconds());
        Ok(changed)
    }

    /// Refuses what would leave work or sectors without anybody who looks after them.
    async fn nothing_is_left_behind(&self, new: &Config) -> Result<(), Refused> {
        let served = self.parts.served.all();
        let stay: BTreeSet<ActorId> = new.miners.iter().map(|m| m.actor).collect();
        for miner in served.iter().filter(|m| !stay.contains(&m.actor)) {
            let (actor, proves) = (miner.actor, miner.post.enabled);
            let work = move |db: &Db| work_of(db, actor, proves);
            if let Some((what, hint)) = self.parts.db.call(work).await? {
                let miner = actor;
                return Err(Refused::InWork { miner, what, hint });
            }
        }
        for store in self.parts.stores.leaving(&new.stores, &new.store_scans) {
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

/// What of a miner needs it, and how it can go all the same; None: nothing.
fn work_of(
    db: &Db,
    miner: ActorId,
    proves: bool,
) -> Result<Option<(String, &'static str)>, DbError> {
    let first = Wanted::first(NAMED);
    let page = db.sectors_page(true, Some(miner), &first, |_| true)?;
    if !page.items.is_empty() {
        let names: Vec<String> = page.items.iter().map(|r| r.id.to_string()).collect();
        let more = if page.next.is_some() { " and more" } else { "" };
        let what = format!("sectors in work: {}{more}", names.join(", "));
        return Ok(Some((what, NO_NEW_ONES)));
    }
    let messages = db.open_messages_briefly()?;
    let open = messages.iter().filter(|m| m.miner == miner).count();
    if open > 0 {
        let what = format!("{open} messages on their way");
        return Ok(Some((what, NO_NEW_ONES)));
    }
    if proves {
        let first = Wanted::first(1);
        let proven = db.sectors_page(false, Some(miner), &first, SectorRecord::is_finished)?;
        if let Some(sector) = proven.items.first() {
            let what = format!("sectors that this manager proves, such as {}", sector.id);
            return Ok(Some((what, NOT_PROVEN)));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Location, Replica, tests::in_use};
    use damocles_daemon::auth::Secret;
    use damocles_types::{SealProof, SectorId, SectorSize};
    use std::{fs, path::Path, time::Duration};
    use tempfile::TempDir;

    const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

    /// A daemon's configuration, with two miners and two stores.
    struct Running {
        dir: TempDir,
        reload: Reload,
    }

    fn text(dir: &Path, stores: &[&str], miners: &[ActorId]) -> String {
        let mut text = "[Common.API]\nChain = \"http://127.0.0.1:9\"\n".to_owned();
        for store in stores {
            let path = dir.join(store);
            text += &format!("[[Common.PersistStores]]\nName = {store:?}\nPath = {path:?}\n");
        }
        for miner in miners {
            text += &format!("[[Miners]]\nActor = {miner}\n");
        }
        text
    }

    impl Running {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for store in ["a", "b"] {
                fs::create_dir(dir.path().join(store)).unwrap();
            }
            let path = dir.path().join("sector-manager.cfg");
            fs::write(&path, text(dir.path(), &["a", "b"], &[1000, 1001])).unwrap();
            let config = config::check_file(&path).unwrap();
            let db = Db::in_memory();
            let stores = Stores::new(db.clone(), config.stores.clone()).unwrap();
            let parts = Parts {
                served: Served::new(config.miners.clone()),
                stores,
                guard: Guard::new(Secret::new(b"secret"), Vec::new()),
                tls: Tls::default(),
                retention: watch::Sender::new(config.retention),
                db,
            };
            let reload = Reload::new(path, &config, parts);
            Self { dir, reload }
        }

        fn write(&self, stores: &[&str], miners: &[ActorId]) {
            let text = text(self.dir.path(), stores, miners);
            fs::write(&self.reload.path, text).unwrap();
        }
    }

    /// With the clock stopped, an hour is over when there is nothing else to do.
    async fn waits<T>(reload: impl Future<Output = T> + Unpin) {
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, reload).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_begins_meanwhile_is_not_left_behind() {
        let it = Running::new();
        let Parts { served, db, .. } = &it.reload.parts;
        it.write(&["a", "b"], &[1000]);
        let begun = served.begin(1001).await.unwrap();
        let mut again = Box::pin(it.reload.again());
        waits(&mut again).await;
        db.allocate(1001, KIND, 0, 99, Some).unwrap().unwrap();
        drop(begun);
        let refused = again.await.unwrap_err();
        assert!(matches!(refused, Refused::InWork { miner: 1001, .. }));
        assert!(served.begin(1001).await.is_some());
        it.write(&["a", "b"], &[1001]);
        it.reload.again().await.unwrap();
        assert!(served.begin(1000).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_into_use_meanwhile_stays() {
        let it = Running::new();
        let Parts { stores, db, .. } = &it.reload.parts;
        it.write(&["b"], &[1000, 1001]);
        let writing = in_use(stores).await;
        let mut again = Box::pin(it.reload.again());
        waits(&mut again).await;
        let location = Location {
            sector: SectorId::new(1000, 1),
            replica: Replica::Normal,
            sealed: "a".into(),
            cache: "a".into(),
        };
        db.put_locations(&[location]).unwrap();
        drop(writing);
        let refused = again.await.unwrap_err();
        assert!(matches!(refused, Refused::Holds { store, .. } if store == "a"));
        assert_eq!(stores.names(), ["a", "b"]);
        it.write(&["a"], &[1000, 1001]);
        it.reload.again().await.unwrap();
        assert_eq!(stores.names(), ["a"]);
    }
}
