//! Wires the rooms: the only place where real parts are chosen. Reads from top to bottom as
//! the daemon starts; everything ends together.
//!
//! ```text
//! config checked → home locked → database open → port bound → rooms → services
//! ```
//! The node may be away at the start: the port answers meanwhile, `/readiness` says what is
//! waited for, and work begins when the node comes.

use crate::{
    chain::{Chain, ChainError, Facts, Head, HeadFollower, NodeChain},
    cli::RunArgs,
    commit::{Commit, ProofsVerifier},
    config::{self, CONFIG_FILE, Config},
    db::Db,
    messages::Engine,
    model::unix_ms,
    policy::MinerPolicy,
    post::{self, PoolProver},
    rpc::{self, API_FILE, Counts, Rooms, SECRET_FILE},
    sealing::Sealing,
    storage::Stores,
};
use anyhow::Context;
use damocles_daemon::{
    auth::{Guard, Secret},
    build,
    exit::{Exit, Fatal},
    file,
    lock::Home,
    metrics::{Metrics, Readiness},
    net,
    services::Services,
    signals, systemd,
};
use damocles_kv::OpenError;
use damocles_node::TipSetKey;
use damocles_processor::{KernelChoice, Pool, Processors, Stage, StartOptions, stage};
use damocles_types::ActorId;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = "damocles-manager";
/// Where the database is unless the operator says otherwise.
const DATABASE: &str = "state";
/// Services are given this long to end; a message or proof under way is resumed at the next start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// A [`Fatal`] for everything that an operator can mend.
pub async fn run(home: PathBuf, args: RunArgs) -> anyhow::Result<()> {
    let conf_dir = config::config_dir(args.conf_dir.as_deref(), &home, &|name| {
        std::env::var(name).ok()
    });
    let path = conf_dir.join(CONFIG_FILE);
    let config = config::check_file(&path)?;
    if args.config_check {
        show(&path, &config);
        println!("# home {}, listening on {}", home.display(), args.listen);
        return Ok(());
    }
    tracing::info!(version = build::version(), home = %home.display(), config = %path.display(), "starting");
    for line in notices(&config) {
        if line.contains(config::MESSAGER) {
            tracing::error!("{line}");
        } else {
            tracing::warn!("{line}");
        }
    }
    tracing::info!("effective configuration:\n{}", config.effective);

    const ANOTHER_HOME: &str = "let the upstream manager finish its sectors, and give this one a home of its own with --home";
    refuse_upstreams_database(&home, ANOTHER_HOME)?;
    if let Some(dir) = &config.upstream_database {
        const TAKE_OUT: &str = "let the upstream manager finish its sectors, then take Common.DB.Badger.BaseDir out of this one's configuration";
        refuse_upstreams_database(dir, TAKE_OUT)?;
    }
    let home = Home::acquire(&home, PROGRAM)?;
    let database = config
        .database
        .clone()
        .unwrap_or_else(|| home.path().join(DATABASE));
    let db = Db::open(&database).map_err(open_error)?;
    let secret = Secret::load_or_create(&home.path().join(SECRET_FILE))?;
    let (listener, address) = net::bind(args.listen).await?;

    if !address.ip().is_loopback() && config.open_networks.is_empty() {
        tracing::info!(
            "callers on other hosts need a token (`damocles-manager util auth create-token --perm write`); upstream's workers cannot send one: name their networks in [Common.Auth] AllowAnonymous"
        );
    }

    let stop = signals::stop_token(|| {}).context("signals cannot be caught")?;
    let metrics = Metrics::new("damocles_manager");
    let readiness = Readiness::waiting("the Filecoin node");
    let miners = Arc::new(config.miners.clone());
    let node = NodeChain::new(&config.nodes).map_err(|e| Fatal::new(Exit::Config, e))?;
    let node = Arc::new(node);
    let chain: Arc<dyn Chain> = node.clone();
    let facts = Facts::new(chain.clone());
    let (follower, head) = HeadFollower::new(chain.clone(), facts.clone());
    let stores = Stores::with_scans(
        db.clone(),
        config.stores.clone(),
        config.store_scans.clone(),
    )
    .map_err(|e| Fatal::new(Exit::Config, e))?;
    let messages = Engine::new(db.clone(), chain.clone(), head.clone());
    let commit = Commit::new(
        db.clone(),
        chain.clone(),
        facts.clone(),
        messages.clone(),
        Arc::new(ProofsVerifier),
        miners.clone(),
    );
    let sealing = Sealing::new(db.clone(), chain.clone(), facts.clone(), miners.clone());

    let mut services = Services::new(stop.clone());
    let rooms = Rooms {
        db: db.clone(),
        sealing: sealing.clone(),
        commit: commit.clone(),
        stores: stores.clone(),
        messages: messages.clone(),
        counts: Counts::register(&metrics),
    };
    let serve = rpc::Serve {
        methods: rooms
            .methods()
            .context("two rooms serve the same method")?
            .into(),
        guard: Guard::new(secret, config.open_networks.clone()),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    };
    services.spawn("rpc", rpc::run(listener, serve, stop.clone()));
    services.spawn("stores", stores.clone().run(stop.clone()));
    services.spawn("head", follower.run(stop.clone()));
    services.spawn("messages", messages.clone().run(stop.clone()));
    services.spawn("commit", commit.run(stop.clone()));
    services.spawn(
        "workers",
        rpc::watch_workers(sealing, metrics, stop.clone()),
    );
    if args.poster && miners.iter().any(|m| m.post.enabled) {
        let parts = post::Parts {
            db,
            chain: chain.clone(),
            head: head.clone(),
            messages,
            stores,
            prover: Arc::new(PoolProver::new(prover_pool().await?)),
            proving: config.proving.clone(),
        };
        services.spawn(
            "post",
            post::run(parts, config.miners.clone(), stop.clone()),
        );
    } else {
        tracing::warn!(
            "this manager proves no sectors: it runs without --poster, or [Miners.PoSt] Enabled is false everywhere"
        );
    }
    let watch = NodeWatch {
        node,
        token: config.nodes.first().and_then(|n| n.token.clone()),
        facts,
        miners,
        readiness: readiness.clone(),
    };
    services.spawn("node", watch.run(head, stop.clone()));

    services.spawn("reload", no_reload(stop.clone()));

    let api = home.path().join(API_FILE);
    publish(&api, address)?;
    tracing::info!(%address, "listening");
    systemd::ready();
    tokio::spawn(async move {
        stop.cancelled().await;
        readiness.wait_for("the daemon's end");
        systemd::stopping();
    });
    let ended = services.run(PATIENCE).await;
    // a stale address would only mislead
    let _ = std::fs::remove_file(&api);
    tracing::info!("stopped");
    ended
}

/// Upstream reads its configuration again on SIGUSR1; unhandled, the signal would end us.
async fn no_reload(stop: CancellationToken) -> anyhow::Result<()> {
    let mut asked = signal(SignalKind::user_defined1()).context("SIGUSR1 cannot be caught")?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = asked.recv() => tracing::warn!(
                "SIGUSR1: this version does not read its configuration again; restart it, nothing on its way is lost"
            ),
        }
    }
}

/// The child's side: one stage, tasks on stdin, answers on stdout.
///
/// # Errors
/// An unknown stage, or a broken pipe.
pub fn processor(name: &str, kernel: KernelChoice) -> anyhow::Result<()> {
    let known = Stage::ALL.into_iter().find(|s| s.name() == name);
    let stage = known.ok_or_else(|| {
        let all: Vec<&str> = Stage::ALL.iter().map(|s| s.name()).collect();
        Fatal::new(Exit::Usage, format!("there is no stage {name:?}"))
            .hint(format!("the stages are {}", all.join(", ")))
    })?;
    stage::run_processor(stage, kernel.into())
}

/// The poster's children: `window_post` in this executable, started when first needed.
async fn prover_pool() -> anyhow::Result<Pool> {
    let options =
        StartOptions::own_executable().context("the path of this program is not known")?;
    let start = move || Pool::start(&[Stage::WindowPost], &Processors::default(), &options);
    let pool = tokio::task::spawn_blocking(start).await?;
    Ok(pool.map_err(|e| {
        Fatal::new(
            Exit::Unexpected,
            format!("the prover cannot be started: {e}"),
        )
    })?)
}

fn show(path: &Path, config: &Config) {
    for line in notices(config) {
        println!("warning: {line}");
    }
    println!(
        "# effective configuration of {}\n{}",
        path.display(),
        config.effective
    );
    println!(
        "# {} is good; miners: {}, persist stores: {}",
        path.display(),
        config.miners.len(),
        config.stores.len()
    );
}

/// One line per kind of notice, with all the keys it is about.
fn notices(config: &Config) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for n in &config.notices {
        kinds
            .entry(&n.message)
            .or_default()
            .push(format!("{} (line {})", n.key, n.line));
    }
    kinds
        .into_iter()
        .map(|(what, keys)| format!("{}: {what}", keys.join(", ")))
        .collect()
}

/// Upstream kept its state in Badger databases in the home. Beginning anew beside them would
/// lose every sector on its way.
fn refuse_upstreams_database(home: &Path, hint: &str) -> Result<(), Fatal> {
    let old = ["meta", "offline_meta", "common"].map(|name| home.join(name).join("MANIFEST"));
    match old.iter().find(|manifest| manifest.exists()) {
        None => Ok(()),
        Some(manifest) => Err(Fatal::new(
            Exit::Data,
            format!(
                "{} holds the state of an upstream manager ({}), which this version cannot take over",
                home.display(),
                manifest.display()
            ),
        )
        .hint(hint)),
    }
}

fn open_error(error: OpenError) -> Fatal {
    let exit = match &error {
        OpenError::Busy { .. } => Exit::Occupied,
        OpenError::Unwritable { .. } => Exit::Refused,
        OpenError::Foreign { .. }
        | OpenError::Newer { .. }
        | OpenError::Damaged { .. }
        | OpenError::Migration { .. } => Exit::Data,
    };
    // the sentence ends in what to do; here it stands in a line of its own
    match error.to_string().rsplit_once("; ") {
        Some((what, hint)) => Fatal::new(exit, what).hint(hint),
        None => Fatal::new(exit, error),
    }
}

/// Writes where the daemon listens, as a multiaddr that a program on this host can dial.
fn publish(path: &Path, address: SocketAddr) -> Result<(), Fatal> {
    let local = net::reachable(address);
    let kind = if local.is_ipv4() { "ip4" } else { "ip6" };
    let text = format!("/{kind}/{}/tcp/{}/http\n", local.ip(), local.port());
    file::write_atomic(path, text.as_bytes(), 0o644).map_err(|e| {
        Fatal::new(
            Exit::Refused,
            format!("cannot write {}: {e}", path.display()),
        )
    })
}

/// Waits for the node, checks at first contact what only the node knows, and keeps saying
/// whether it is there.
struct NodeWatch {
    node: Arc<NodeChain>,
    token: Option<String>,
    facts: Facts,
    miners: Arc<Vec<MinerPolicy>>,
    readiness: Readiness,
}

/// Pause between two tries, and between two lines in the log.
const RETRY: Duration = Duration::from_secs(2);
const REMIND: Duration = Duration::from_secs(60);

impl NodeWatch {
    async fn run(
        self,
        mut head: watch::Receiver<Option<Head>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            met = self.first_contact() => met?,
        }
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = self.keep_watching(&mut head) => Ok(()),
        }
    }

    async fn first_contact(&self) -> Result<(), Fatal> {
        // the follower of the head says it first
        let mut said = tokio::time::Instant::now();
        loop {
            match self.introduce().await {
                Ok(()) => {
                    tracing::info!("the Filecoin node answers; ready");
                    systemd::status("ready");
                    self.readiness.ready();
                    return Ok(());
                }
                Err(Meeting::Later(reason)) => {
                    self.readiness
                        .wait_for(format!("the Filecoin node: {reason}"));
                    systemd::status("waiting for the Filecoin node");
                    if said.elapsed() >= REMIND {
                        tracing::warn!("still waiting for the Filecoin node: {reason}");
                        said = tokio::time::Instant::now();
                    }
                }
                Err(Meeting::Never(fatal)) => return Err(fatal),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Our token is taken, and every configured miner exists.
    async fn introduce(&self) -> Result<(), Meeting> {
        self.facts.block_delay().await.map_err(Meeting::of)?;
        self.token_signs().await?;
        for miner in self.miners.iter() {
            match self.node.miner_info(miner.actor, &TipSetKey::HEAD).await {
                Ok(info) => {
                    tracing::info!(miner = miner.actor, sector_size = info.sector_size, worker = %info.worker, "serving a miner");
                }
                Err(ChainError::Refused { message, .. }) => {
                    let head = self.node.head().await.map_err(Meeting::of)?;
                    let at = head.blocks.first().map_or(0, |b| b.timestamp);
                    let age = Duration::from_secs((unix_ms() / 1000).saturating_sub(at));
                    return Err(Meeting::without_miner(miner.actor, &message, age));
                }
                Err(other) => return Err(Meeting::of(other)),
            }
        }
        Ok(())
    }

    /// A token that may not sign is found now, not when the first sector wants its message.
    async fn token_signs(&self) -> Result<(), Meeting> {
        let Some(token) = &self.token else {
            tracing::warn!(
                "Common.API.Chain carries no token: the node may be read, but it will sign no message of this manager"
            );
            return Ok(());
        };
        match self.node.token_allows(token).await {
            Ok(allowed) if allowed.iter().any(|p| p == "sign") => Ok(()),
            Ok(allowed) => Err(Meeting::Never(
                Fatal::new(
                    Exit::Refused,
                    format!(
                        "the token in Common.API allows only {:?} at the Filecoin node",
                        allowed.join(", ")
                    ),
                )
                .hint(TOKEN_HINT),
            )),
            Err(e @ (ChainError::Unreachable { .. } | ChainError::Denied { .. })) => {
                Err(Meeting::of(e))
            }
            // not every node has the method; then the first message shows it
            Err(error) => {
                tracing::debug!(%error, "the node does not tell what our token allows");
                Ok(())
            }
        }
    }

    async fn keep_watching(&self, head: &mut watch::Receiver<Option<Head>>) {
        let block_delay = self
            .facts
            .block_delay()
            .await
            .unwrap_or(Duration::from_secs(30));
        // several null rounds in a row are no outage
        let silence = (block_delay * 8).max(Duration::from_secs(30));
        loop {
            match tokio::time::timeout(silence, head.changed()).await {
                Ok(Ok(())) => {
                    if self.readiness.reason().is_some() {
                        self.readiness.ready();
                    }
                }
                // the follower ends only when the daemon does
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => {
                    let reason =
                        format!("the Filecoin node: no new head for {} s", silence.as_secs());
                    self.readiness.wait_for(reason);
                    // A node that hangs behind answers well, and deadlines pass all the same.
                    self.node.turn();
                }
            }
        }
    }
}

/// Why the node and this manager cannot work together.
enum Meeting {
    /// Not now.
    Later(String),
    /// Not before a person changes something.
    Never(Fatal),
}

const TOKEN_HINT: &str = "make one there (Lotus: `lotus auth create-token --perm sign`) and write Chain = \"<token>:<address>\"";

/// A node whose head is older than this is not up to date yet.
const SYNCING: Duration = Duration::from_secs(3600);

impl Meeting {
    /// The node does not know the miner, and its head is `age` old: a mistake in the config,
    /// unless the node is still on its way to the blocks that made the miner.
    fn without_miner(actor: ActorId, message: &str, age: Duration) -> Self {
        if age > SYNCING {
            return Self::Later(format!(
                "it does not know miner {actor} ({message}), but its head is {} minutes old; waiting for it to catch up",
                age.as_secs() / 60
            ));
        }
        Self::Never(
            Fatal::new(
                Exit::NotFound,
                format!("there is no miner {actor} on the node's chain: {message}"),
            )
            .hint("correct Actor in [[Miners]], or let Common.API.Chain name a node of the right network"),
        )
    }

    fn of(error: ChainError) -> Self {
        match error {
            ChainError::Denied { .. } => Self::Never(
                Fatal::new(
                    Exit::Refused,
                    "the Filecoin node does not accept the token in Common.API",
                )
                .hint(TOKEN_HINT),
            ),
            other => Self::Later(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_syncs_is_waited_for_one_that_is_up_to_date_has_the_last_word() {
        let after = |minutes: u64| {
            let age = Duration::from_secs(minutes * 60);
            Meeting::without_miner(1000, "actor not found", age)
        };
        for minutes in [0, 10, 60] {
            let met = after(minutes);
            assert!(matches!(met, Meeting::Never(f) if f.exit == Exit::NotFound));
        }
        let met = after(2880);
        assert!(matches!(met, Meeting::Later(why) if why.contains("2880 minutes old")));
    }
}
