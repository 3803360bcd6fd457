//! Wires the rooms: the only place where real parts are chosen. Reads from top to bottom as
//! the daemon starts; everything ends together.
//!
//! ```text
//! config checked → home locked → database open → port bound → rooms → services
//! ```
//! The node may be away at the start: the port answers meanwhile, `/readiness` says what is
//! waited for, and work begins when the node comes.

use crate::{
    actor::Actors,
    chain::{Chain, Facts, Head, HeadFollower, NodeChain},
    cli::{self, RunArgs},
    commit::{self, Commit, PoolAggregator, ProofsVerifier},
    config::{self, CONFIG_FILE, Config, ExtProvers},
    contact::Contact,
    deals::Deals,
    jobs::Jobs,
    messages::{self, Engine},
    pieces::Pieces,
    policy::MarketPolicy,
    post::{self, PoolProver, Prover, WorkerProver},
    proxy::{self, OtherManager},
    reload::{self, Reload},
    retention,
    roles::{Role, Roles},
    rpc::{self, API_FILE, Counts, Rooms, SECRET_FILE},
    sealing::Sealing,
    served::Served,
    state::{self, PROGRAM},
    storage::Stores,
    venus::{self, Market as _, Messager as _, Service, VenusMarket, VenusMessager},
    wallet::{self, Keys},
    winning,
};
use anyhow::Context;
use damocles_daemon::{
    audit::Audit,
    auth::{Guard, LEDGER_FILE, Ledger, Secret},
    build, database,
    exit::{Exit, Fatal},
    file,
    lock::Home,
    metrics::{Metrics, Readiness},
    net, runtime,
    services::Services,
    signals, systemd,
    tls::Tls,
};
use damocles_processor::{
    KernelChoice, Pool, ProcessorError, Processors, Stage, StartOptions,
    config::{ChildConfig, StageConfig},
    stage,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Threads of the runtime on which callers are answered.
const RPC_THREADS: usize = 4;
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
    let programs = ext_provers(&conf_dir, args.ext_prover)?;
    if args.config_check {
        show(&path, &config);
        println!("# home {}, listening on {}", home.display(), args.listen);
        return Ok(());
    }
    tracing::info!(version = build::version(), home = %home.display(), config = %path.display(), "starting");
    for line in config.warnings() {
        tracing::warn!("{line}");
    }
    for line in &programs.notices {
        tracing::warn!("{}: {line}", config::EXT_PROVER_FILE);
    }
    runtime::raise_descriptors();
    tracing::info!("effective configuration:\n{}", config.effective);

    state::refuse_upstreams(&home, config.upstream_database.as_deref())?;
    let home = Home::acquire(&home, PROGRAM)?;
    let db = state::open(home.path().to_owned(), config.database.clone()).await?;
    db.open_ahead();
    let secret = Secret::load_or_create(&home.path().join(SECRET_FILE))?;
    let (listener, address) = net::bind(args.listen).await?;

    let ledger = Ledger::open(&home.path().join(LEDGER_FILE))?;
    let audit = Audit::open(home.path())?;
    if !address.ip().is_loopback() && config.tls.is_none() {
        tracing::info!(
            "what callers on other hosts say, their tokens too, is not encrypted: see [Common.API.Tls]"
        );
    }
    if !address.ip().is_loopback() && config.open_networks.is_empty() {
        tell_who_may_call(ledger.is_empty()?);
    }

    let stop = signals::stop_token(|| {}).context("signals cannot be caught")?;
    let reloads = signals::reloads().context("signals cannot be caught")?;
    let metrics = Metrics::new("damocles_manager");
    let readiness = Readiness::waiting("the Filecoin node");
    let served = Served::new(config.miners.clone());
    let network = db.network().context("the database cannot be read")?;
    let node = NodeChain::new(&config.nodes).map_err(|e| Fatal::new(Exit::Config, e))?;
    let node = Arc::new(node.believing(config.max_head_age).of_network(network));
    let chain: Arc<dyn Chain> = node.clone();
    let facts = Facts::new(chain.clone());
    let (follower, head) = HeadFollower::new(chain.clone(), facts.clone());
    let trouble = follower.trouble();
    let stores = Stores::with_scans(
        db.clone(),
        config.stores.clone(),
        config.store_scans.clone(),
    )
    .map_err(|e| Fatal::new(Exit::Config, e))?;
    if let Some(address) = &args.proxy {
        let rpc = cli::another_manager(address, args.proxy_token.as_deref(), proxy::LIMIT)?;
        stores.ask_elsewhere(Arc::new(OtherManager::new(rpc, address)));
    }
    if let Some(file) = wallet::exposed(&config.wallet) {
        tracing::warn!(
            file = %file.display(), hint = "chmod 600, and let it be the manager's user's",
            "others may read the password of the key store"
        );
    }
    let (policy, place) = (config.wallet.clone(), home.path().to_owned());
    let keys = tokio::task::spawn_blocking(move || Keys::load(&policy, &place)).await?;
    if keys.is_there() && keys.trouble().is_none() {
        tracing::info!(keys = keys.addresses().len(), "the key store is open");
    }
    let mut messages = Engine::new(db.clone(), chain.clone(), head.clone()).with_keys(keys.clone());
    let messager = config.messager.as_ref().map(VenusMessager::new);
    let messager = messager
        .transpose()
        .map_err(|e| Fatal::new(Exit::Config, e))?;
    let messager = messager.map(Arc::new);
    if let Some(messager) = &messager {
        messages = messages.with_messager(messager.clone());
        if keys.is_there() {
            tracing::warn!(
                hint =
                    "set SendsItself = true in [Common.API] if this manager is to sign by itself",
                "the key store signs nothing new: messages are given to the messager"
            );
        }
    }
    let commit = Commit::new(
        db.clone(),
        chain.clone(),
        facts.clone(),
        messages.clone(),
        Arc::new(ProofsVerifier),
        served.clone(),
    );
    let commit = commit.with_aggregator(Arc::new(PoolAggregator::new(aggregate_pool().await?)));
    let mut sealing = Sealing::new(db.clone(), chain.clone(), facts.clone(), served.clone());
    let mut deals = Deals::new(db.clone(), chain.clone(), facts.clone());
    let market = match &config.market {
        Some(market) => {
            let client = VenusMarket::new(&market.endpoint);
            let client = Arc::new(client.map_err(|e| Fatal::new(Exit::Config, e))?);
            sealing = sealing.with_market(client.clone(), market.named);
            deals = deals.with_market(client.clone(), market.named);
            Some(client).filter(|_| market.named)
        }
        None => None,
    };

    let holder = format!("{}:{}", net::host_name(), address.port());
    let roles = Roles::new(db.clone(), &holder, args.roles);
    let (engine, stamped) = (messages.clone(), db.clone());
    let mut services = Services::new(stop.clone());
    let tls = Tls::default();
    tls.show(config.tls.clone());
    let guard = Guard::new(secret, config.open_networks.clone()).asking(ledger);
    let (retained, retention) = tokio::sync::watch::channel(config.retention);
    let reload = Reload::new(
        path,
        &config,
        reload::Parts {
            served: served.clone(),
            stores: stores.clone(),
            guard: guard.clone(),
            tls: tls.clone(),
            retention: retained,
            db: db.clone(),
        },
    );
    let jobs = Jobs::new(
        db.clone(),
        head.clone(),
        config.proving.workers,
        args.worker_prover,
        stop.clone(),
    );
    if args.worker_prover {
        services.spawn("window post jobs", jobs.clone().sweep());
    }
    let poster = args.poster && roles.has(Role::Post);
    let parts = if poster {
        Some(post::Parts {
            db: db.clone(),
            chain: chain.clone(),
            head: head.clone(),
            messages: messages.clone(),
            stores: stores.clone(),
            prover: prover(
                &config,
                programs.window,
                args.worker_prover.then_some(&jobs),
                &head,
            )
            .await?,
            proving: config.proving.clone(),
            by: roles.holder().to_owned(),
        })
    } else {
        None
    };
    let makes_blocks = args.miner && roles.has(Role::Winning);
    if makes_blocks {
        let parts = winning::Parts {
            db: db.clone(),
            chain: chain.clone(),
            node: node.clone(),
            facts: facts.clone(),
            head: head.clone(),
            stores: stores.clone(),
            prover: Arc::new(block_prover(config.proving.kernel, programs.winning).await?),
            keys: keys.clone(),
            by_the_clock: config.max_head_age.is_some(),
            counts: winning::Counts::register(&metrics),
            by: roles.holder().to_owned(),
        };
        let blocks = winning::run(parts, served.clone(), roles.clone(), stop.clone());
        services.spawn("blocks", blocks);
    } else if config.miners.iter().any(|m| m.makes_blocks) {
        tracing::warn!(
            "this manager makes no blocks, although [Miners.Proof] Enabled is set: it runs without --miner, or its --roles leave winning out"
        );
    }
    let rooms = Rooms {
        db: db.clone(),
        sealing: sealing.clone(),
        commit: commit.clone(),
        stores: stores.clone(),
        messages: messages.clone(),
        deals: deals.clone(),
        chain: chain.clone(),
        asked: post::Asked {
            db: db.clone(),
            chain: chain.clone(),
            served: served.clone(),
            parts: parts.clone(),
        },
        actors: Actors::new(db.clone(), chain.clone(), served.clone(), messages.clone()),
        jobs,
        reload: reload.clone(),
        counts: Counts::register(&metrics),
    };
    let pieces = Pieces::new(
        db.clone(),
        config.piece_stores.clone(),
        config.market.as_ref().and_then(MarketPolicy::origin),
    );
    services.spawn("configuration", reload.run(reloads, stop.clone()));
    let serve = rpc::Serve {
        methods: if roles.has(Role::Rpc) {
            rooms.methods().context("two rooms serve the same method")?
        } else {
            rpc::no_methods()
        }
        .into(),
        pieces,
        guard,
        tls,
        audit: Some(audit.clone()),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    };
    let until = stop.clone();
    let answer = move |listener| rpc::run(listener, serve, until);
    services.spawn(
        "rpc",
        net::serve_apart("rpc", RPC_THREADS, listener, answer),
    );
    services.spawn(
        "database",
        database::watch(
            state::watched(db.clone()),
            readiness.condition("database"),
            stop.clone(),
        ),
    );
    let (engine_of_keys, condition) = (messages.clone(), readiness.condition("key store"));
    let opened = move || engine_of_keys.wake();
    services.spawn("key store", keys.watch(condition, opened, stop.clone()));
    if roles.has(Role::Stores) {
        services.spawn("stores", stores.clone().run(stop.clone()));
    }
    if let Some(messager) = messager {
        let version = move || {
            let messager = messager.clone();
            async move { messager.version().await }
        };
        let condition = readiness.condition("venus-messager");
        let watch = venus::watch(Service::Messager, version, condition, stop.clone());
        services.spawn("messager", watch);
    }
    if let Some(market) = market {
        let version = move || {
            let market = market.clone();
            async move { market.version().await }
        };
        let condition = readiness.condition("the market");
        let watch = venus::watch(Service::Market, version, condition, stop.clone());
        services.spawn("market", watch);
    }
    services.spawn("watchdog", systemd::watchdog(stop.clone()));
    services.spawn("head", follower.run(stop.clone()));
    if roles.has(Role::Messages) {
        let engine = messages.clone();
        services.spawn(
            "messages",
            messages::run(engine, roles.clone(), stop.clone()),
        );
        let keep = retention::keep(db.clone(), retention, stop.clone());
        services.spawn("history", keep);
    }
    if roles.has(Role::Commit) {
        services.spawn("commit", commit::run(commit, roles.clone(), stop.clone()));
        services.spawn("deals", deals.give_back(stop.clone()));
    }
    services.spawn(
        "message counts",
        rpc::watch_messages(db.clone(), metrics.clone(), stop.clone()),
    );
    services.spawn(
        "workers",
        rpc::watch_workers(sealing, metrics, stop.clone()),
    );
    if let Some(parts) = parts {
        services.spawn(
            "post",
            post::run(parts, served.clone(), roles, stop.clone()),
        );
    } else {
        tracing::warn!(
            "this manager proves no sectors: it runs without --poster, or its --roles leave post out"
        );
    }
    let contact = Contact {
        node,
        token: config.nodes.first().and_then(|n| n.token.clone()),
        facts,
        served,
        messages: engine,
        db: stamped,
        readiness: readiness.clone(),
        poster,
    };
    services.spawn("node", contact.run(head, trouble, stop.clone()));

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
    audit.flush();
    // a stale address would only mislead
    let _ = std::fs::remove_file(&api);
    tracing::info!("stopped");
    ended
}

/// Says who can call when other hosts reach the port and none is named that needs no token.
fn tell_who_may_call(no_token_was_made: bool) {
    const HOW: &str = "callers on other hosts need a token (`damocles-manager util auth create-token --perm write`); upstream's workers cannot send one: name their networks in [Common.Auth] AllowAnonymous";
    if no_token_was_made {
        tracing::warn!(
            hint = HOW,
            "other hosts reach this port, and none of them may call: no token is listed in this home, and no network is allowed without one"
        );
    } else {
        tracing::info!("{HOW}");
    }
}

/// The child's side: one stage, tasks on stdin, answers on stdout.
///
/// # Errors
/// An unknown stage, or a broken pipe.
pub fn processor(name: &str, kernel: KernelChoice) -> anyhow::Result<()> {
    let mut known = Stage::ALL.into_iter().chain(Stage::INTERNAL);
    let known = known.find(|s| s.name() == name);
    let stage = known.ok_or_else(|| {
        let all: Vec<&str> = Stage::ALL.iter().map(|s| s.name()).collect();
        Fatal::new(Exit::Usage, format!("there is no stage {name:?}"))
            .hint(format!("the stages are {}", all.join(", ")))
    })?;
    stage::run_processor(stage, kernel.into())
}

/// What starts children of these stages, in this executable.
fn starter(
    stages: &'static [Stage],
    processors: Processors,
) -> anyhow::Result<impl Fn() -> Result<Pool, ProcessorError> + Send + Sync + 'static> {
    let options =
        StartOptions::own_executable().context("the path of this program is not known")?;
    Ok(move || Pool::start(stages, &processors, &options))
}

async fn pool(
    what: &str,
    stages: &'static [Stage],
    processors: Processors,
) -> anyhow::Result<Pool> {
    let pool = tokio::task::spawn_blocking(starter(stages, processors)?).await?;
    Ok(pool.map_err(|e| {
        Fatal::new(
            Exit::Unexpected,
            format!("the {what} cannot be started: {e}"),
        )
    })?)
}

/// The programs that prove, where they are wanted.
fn ext_provers(conf_dir: &Path, wanted: bool) -> Result<ExtProvers, Fatal> {
    match wanted {
        true => config::ext_provers(&conf_dir.join(config::EXT_PROVER_FILE)),
        false => Ok(ExtProvers::default()),
    }
}

/// Who proves WindowPoSts and reads sectors for them; tries have children of their own. `jobs`:
/// workers prove, and children what workers do not; `programs`: which children.
async fn prover(
    config: &Config,
    programs: Vec<ChildConfig>,
    jobs: Option<&Jobs>,
    head: &watch::Receiver<Option<Head>>,
) -> anyhow::Result<Arc<dyn Prover>> {
    let mut processors = Processors::by_kernel(Stage::WindowPost, config.proving.kernel);
    if !programs.is_empty() {
        let stage = processors.stages.entry(Stage::WindowPost).or_default();
        stage.children = programs;
    }
    let tries = starter(&[Stage::WindowPost], processors.clone())?;
    let pool = pool(
        "prover",
        &[Stage::WindowPost, Stage::ReadSectors],
        processors,
    );
    let here: Arc<dyn Prover> = Arc::new(PoolProver::new(pool.await?, tries));
    Ok(match jobs {
        Some(jobs) => Arc::new(WorkerProver::new(
            jobs.clone(),
            here,
            head.clone(),
            config.proving.clone(),
        )),
        None => here,
    })
}

/// Who proves for blocks: children of their own, that wait for no WindowPoSt, and that stay: a win comes
/// once in hours, and has no time for parameters to be read.
async fn block_prover(
    kernel: KernelChoice,
    programs: Vec<ChildConfig>,
) -> anyhow::Result<winning::PoolProver> {
    let mut processors = Processors::by_kernel(Stage::WinningPost, kernel);
    let ours = ChildConfig {
        kernel,
        ..ChildConfig::default()
    };
    for stage in processors.stages.values_mut() {
        stage.longest = Some(winning::LONGEST);
        stage.children = match programs.is_empty() {
            true => vec![ours.clone()],
            false => programs.clone(),
        };
    }
    let stages = &[Stage::WinningPost, Stage::ReadSectors];
    let pool = pool("prover of blocks", stages, processors);
    Ok(winning::PoolProver::new(pool.await?))
}

/// The child that aggregates proofs, one batch at a time, started when it is first needed.
async fn aggregate_pool() -> anyhow::Result<Pool> {
    let one = StageConfig {
        concurrent: Some(NonZeroU32::MIN),
        ..StageConfig::default()
    };
    let processors = Processors {
        stages: BTreeMap::from([(Stage::Aggregate, one)]),
        ..Processors::default()
    };
    pool("aggregator", &[Stage::Aggregate], processors).await
}

fn show(path: &Path, config: &Config) {
    for line in config.warnings() {
        println!("warning: {line}");
    }
    println!(
        "# effective configuration of {}\n{}",
        path.display(),
        config.effective
    );
    println!("{}", config.summary(path));
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
