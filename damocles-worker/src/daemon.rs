//! Wiring: the only place where the real parts are chosen. Reads as the list of what a
//! worker is made of, in the order in which it comes up.

use crate::{
    config::{self, Config, Loaded, ThreadConfig},
    control::Control,
    manager::{CallError, Connection, Manager},
    metadb::{MetaDb, MetaError},
    metrics,
    pieces::PieceSource,
    ping,
    plans::{Programs, World},
    rpc::{self, Seat, WorkerRpc},
    stores::{AttachedStores, SealingStore, StoreError},
    threads::{Engine, Reporter, Reports},
    view::Board,
};
use damocles_daemon::{
    auth::{Guard, Secret},
    build,
    clock::SystemClock,
    exit::{Exit, Fatal},
    http,
    metrics::{Metrics, Readiness, router},
    net, runtime,
    services::Services,
    signals, systemd,
};
use damocles_kv::OpenError;
use damocles_processor::{Pool, Stage, StartOptions, params};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Stages of the plans that this version has.
const STAGES: [Stage; 8] = [
    Stage::AddPieces,
    Stage::TreeD,
    Stage::Pc1,
    Stage::Pc2,
    Stage::SynthProof,
    Stage::C1,
    Stage::C2,
    Stage::Transfer,
];
/// How long a stop waits for steps to end. What runs longer is cut off: it is done again at
/// the next start, and nothing that was finished is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shorter than that, so that the daemon itself says what is cut off.
const LEAVE: Duration = Duration::from_secs(4);
/// Between two looks whether the manager has come.
const LOOK: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop.
pub fn run(file: &Path, check_only: bool) -> anyhow::Result<()> {
    runtime::frugal_memory();
    let loaded = config::load(file)?;
    say_notices(&loaded, file);
    if check_only {
        println!("{}: the configuration is right", file.display());
        return Ok(());
    }
    let runtime = runtime::build(2)?;
    let result = runtime.block_on(serve(loaded.config));
    // threads that still compute end with the process, and their children with them
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn say_notices(loaded: &Loaded, file: &Path) {
    for notice in &loaded.notices {
        tracing::warn!("{}: {notice}", file.display());
    }
    for key in &loaded.retired {
        tracing::warn!("{}: {key} is retired, ignored", file.display());
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    tracing::info!(
        version = build::version(),
        manager = %config.manager.addr,
        threads = config.threads.len(),
        "damocles-worker starts"
    );
    let stop = signals::stop_token(|| ())?;
    let attached = config::attached_stores(&config).map_err(store_fatal)?;
    let guard = guard(&config)?;
    let manager = Manager::new(
        &connection(&config)?,
        tokio::runtime::Handle::current(),
        stop.clone(),
    )?;
    let (listener, address) = listen(config.listen, "[worker] rpc_server.port").await?;
    let seats = Arc::new(seats(&config.threads)?);
    warn_of_missing_parameters(&config);
    let pool = start_pool(&config).await?;
    let readiness = Readiness::waiting("the manager");
    let registry = Metrics::new("damocles_worker");
    metrics::register(
        &registry,
        seats.iter().map(|s| Arc::clone(&s.board)).collect(),
    );

    let mut services = Services::new(stop.clone());
    let monitoring = router(registry, readiness.clone());
    if let Some(listen_on) = config.metrics {
        let (listener, address) = listen(listen_on, "[metrics] http_listen").await?;
        tracing::info!(%address, "metrics");
        services.spawn(
            "metrics",
            serve_http(listener, monitoring.clone(), stop.clone()),
        );
    }
    let worker_rpc = WorkerRpc {
        seats: Arc::clone(&seats),
    };
    tracing::info!(%address, "RPC");
    services.spawn(
        "rpc",
        serve_http(
            listener,
            rpc::router(worker_rpc, guard, monitoring),
            stop.clone(),
        ),
    );
    let sealing = Sealing {
        world: World {
            manager,
            pool,
            attached: Arc::new(attached),
            pieces: PieceSource {
                enabled: config.pieces_enabled,
                dirs: config.piece_dirs.clone(),
                manager: config.manager.addr.clone(),
            },
            clock: Arc::new(SystemClock),
            static_trees: config.processors.static_tree_d.clone(),
            programs: programs(&config)?,
        },
        seats,
        readiness,
        address,
        config,
        stop,
    };
    services.spawn("sealing", sealing.run());
    systemd::ready();
    let result = services.run(PATIENCE).await;
    systemd::stopping();
    tracing::info!("stopped");
    result
}

fn store_fatal(error: StoreError) -> Fatal {
    let exit = match &error {
        StoreError::Foreign { .. } | StoreError::Description { .. } => Exit::Data,
        StoreError::Missing(_) | StoreError::NotADirectory(_) | StoreError::NotInitialised(_) => {
            Exit::NotFound
        }
        StoreError::AlreadyInitialised(_) | StoreError::Io { .. } => Exit::Refused,
        StoreError::Pattern { .. } | StoreError::Duplicate { .. } => Exit::Config,
    };
    let hint = error.hint();
    Fatal::new(exit, error).hint(hint)
}

/// Without a secret no token can be right: commands come from this host only.
fn guard(config: &Config) -> Result<Guard, Fatal> {
    let secret = match &config.token_secret_file {
        Some(file) => Secret::load_or_create(file)?,
        None => Secret::new(unguessable().as_bytes()),
    };
    Ok(Guard::new(secret, Vec::new()))
}

/// Bytes that nobody knows, for the secret of a worker without one.
fn unguessable() -> String {
    use std::hash::{BuildHasher, RandomState};
    (0..4u8)
        .map(|i| format!("{:016x}", RandomState::new().hash_one(i)))
        .collect()
}

fn connection(config: &Config) -> Result<Connection, Fatal> {
    let manager = &config.manager;
    let token = match &manager.token_file {
        None => None,
        Some(file) => Some(std::fs::read_to_string(file).map_err(|e| {
            Fatal::new(
                Exit::Config,
                format!("the manager's token {} cannot be read: {e}", file.display()),
            )
            .hint("put the manager's token there (`damocles-manager util auth create-token --perm write`), readable by the worker's user")
        })?),
    };
    Ok(Connection {
        addr: manager.addr.clone(),
        headers: manager.headers.clone(),
        token,
        timeout: manager.timeout,
    })
}

async fn listen(listen: net::Listen, key: &str) -> Result<(TcpListener, SocketAddr), Fatal> {
    net::bind(listen).await.map_err(|fatal| {
        let message = fatal.message.clone();
        Fatal::new(fatal.exit, message).hint(format!(
            "stop the program that uses the port, or set another one: {key} in the worker's config"
        ))
    })
}

async fn serve_http(
    listener: TcpListener,
    routes: axum::Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    http::serve(listener, routes, stop).await;
    Ok(())
}

/// Opens every sealing store. One whose database another process holds ends the start; one
/// that is damaged stops its own thread only.
fn seats(threads: &[ThreadConfig]) -> Result<Vec<Seat>, Fatal> {
    let mut seats = Vec::new();
    for thread in threads {
        let store = SealingStore::open(&thread.location).map_err(store_fatal)?;
        let board = Board::new(thread.index, store.root().to_owned(), thread.settings.plan);
        match MetaDb::open(&store.meta()) {
            Ok(meta) => {
                if let Ok(document) = meta.load() {
                    board.sector(thread.settings.plan, document.as_ref());
                }
                board.meta(meta);
            }
            Err(MetaError::Open(OpenError::Busy { .. })) => {
                return Err(Fatal::new(
                    Exit::Occupied,
                    format!(
                        "the sealing store {} is in use by another worker",
                        store.root().display()
                    ),
                )
                .hint("stop that worker, or give this one a location of its own"));
            }
            // the thread opens it again, fails, and says so for as long as it lasts
            Err(_) => {}
        }
        seats.push(Seat {
            control: Arc::new(Control::default()),
            board: Arc::new(board),
        });
    }
    Ok(seats)
}

/// Better now than after hours of work.
fn warn_of_missing_parameters(config: &Config) {
    let mut sizes: Vec<_> = config
        .threads
        .iter()
        .flat_map(|t| t.settings.sealing.allowed_sizes.iter().copied())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        if let Err(error) = params::require(Stage::C2, size) {
            let hint = error.hint().unwrap_or_default();
            tracing::warn!(hint, "sectors will stop before C2: {error}");
        }
    }
}

fn programs(config: &Config) -> std::io::Result<Programs> {
    let own = std::env::current_exe()?;
    Ok(Programs {
        // our own program has no such stage yet
        synthetic: config.processors.is_foreign(Stage::SynthProof, &own),
        foreign_pc2: config.processors.is_foreign(Stage::Pc2, &own),
    })
}

async fn start_pool(config: &Config) -> anyhow::Result<Pool> {
    let processors = config.processors.clone();
    let options = StartOptions::own_executable()?;
    let started =
        tokio::task::spawn_blocking(move || Pool::start(&STAGES, &processors, &options)).await?;
    started.map_err(|error| {
        let hint = error.failure().and_then(|f| f.hint);
        let fatal = Fatal::new(Exit::Config, format!("a processor does not start: {error}"));
        anyhow::Error::new(match hint {
            Some(hint) => fatal.hint(hint),
            None => fatal,
        })
    })
}

/// The sealing threads, from the wait for the manager to their end.
struct Sealing {
    world: World,
    seats: Arc<Vec<Seat>>,
    readiness: Readiness,
    address: SocketAddr,
    config: Config,
    stop: CancellationToken,
}

impl Sealing {
    async fn run(self) -> anyhow::Result<()> {
        let Some(identity) = self.meet_manager().await? else {
            return Ok(());
        };
        tracing::info!(name = identity.name, dest = %identity.dest, "the manager is there; sealing begins");
        self.readiness.ready();
        let pings = tokio::spawn(ping::run(
            self.world.manager.clone(),
            identity.clone(),
            Arc::clone(&self.seats),
            self.config.ping_interval,
            self.stop.clone(),
        ));
        let reports = Reports::default();
        let reporter = Reporter {
            manager: self.world.manager.clone(),
            instance: identity.name.clone(),
            boards: self.seats.iter().map(|s| Arc::clone(&s.board)).collect(),
            reports: reports.clone(),
        };
        std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || reporter.run())?;
        let (ended, mut all_ended) = mpsc::channel::<()>(1);
        for (thread, seat) in self.config.threads.iter().zip(self.seats.iter()) {
            let engine = Engine {
                config: thread.clone(),
                world: self.world.clone(),
                reports: reports.clone(),
                control: Arc::clone(&seat.control),
                board: Arc::clone(&seat.board),
                probe: None,
            };
            let held = ended.clone();
            std::thread::Builder::new()
                .name(format!("sealing-{}", thread.index))
                .spawn(move || {
                    let _held = held;
                    engine.run();
                })?;
        }
        drop(ended);
        drop(self.world);
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = all_ended.recv() => anyhow::bail!("all sealing threads ended"),
        }
        for seat in self.seats.iter() {
            seat.control.stop();
        }
        reports.stop();
        // none is ever sent: the channel closes when the last thread has ended
        if tokio::time::timeout(LEAVE, all_ended.recv()).await.is_err() {
            for given_up in self.seats.iter().filter_map(|s| s.board.given_up()) {
                tracing::info!("{given_up}");
            }
        }
        pings.abort();
        Ok(())
    }

    /// Waits until the manager answers and knows every attached store. None: told to stop.
    async fn meet_manager(&self) -> Result<Option<ping::Identity>, Fatal> {
        let mut said = String::new();
        loop {
            let waits_for = match self.greet().await {
                Ok(identity) => return Ok(Some(identity)),
                Err(Greeting::Fatal(fatal)) => return Err(fatal),
                Err(Greeting::Later(reason)) => reason,
            };
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            if waits_for != said {
                tracing::warn!(
                    hint = "start the manager, or correct rpc_client.addr; this worker goes on waiting",
                    "{waits_for}"
                );
                self.readiness.wait_for(waits_for.clone());
                for seat in self.seats.iter() {
                    seat.board.idle(waits_for.clone());
                }
                said = waits_for;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn greet(&self) -> Result<ping::Identity, Greeting> {
        let manager = &self.world.manager;
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => {
                local_ip(&manager.addr().host_port()).await.map_err(|e| {
                    Greeting::Later(format!(
                        "the manager at {} cannot be reached: {e}",
                        manager.addr()
                    ))
                })?
            }
            ip => ip,
        };
        check_stores(manager, &self.world.attached).await?;
        Ok(ping::Identity {
            name: self.config.name.clone().unwrap_or_else(|| ip.to_string()),
            dest: SocketAddr::new(ip, self.address.port()),
        })
    }
}

/// Why the manager was not met.
enum Greeting {
    Fatal(Fatal),
    Later(String),
}

async fn check_stores(manager: &Manager, attached: &AttachedStores) -> Result<(), Greeting> {
    for store in attached.iter() {
        match manager.store_basic_info(store.name.clone()).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Greeting::Fatal(
                    Fatal::new(
                        Exit::NotFound,
                        format!("the manager at {} does not know the store {:?}", manager.addr(), store.name),
                    )
                    .hint("give the store the same name in the manager's config ([[Common.PersistStores]]) and in this worker's [[attached]]"),
                ));
            }
            Err(error @ CallError::Denied { .. }) => {
                return Err(Greeting::Fatal(Fatal::new(Exit::Refused, &error).hint(
                    "put a token of the manager (`damocles-manager util auth create-token --perm write`) into the file of [sector_manager] rpc_client.token_file",
                )));
            }
            Err(error) => return Err(Greeting::Later(error.to_string())),
        }
    }
    Ok(())
}

/// This machine's address on the way to the manager. Nothing is sent.
async fn local_ip(host_port: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::other("its name has no address");
    for peer in tokio::net::lookup_host(host_port).await? {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let found = async {
            let socket = tokio::net::UdpSocket::bind(any).await?;
            socket.connect(peer).await?;
            socket.local_addr()
        };
        match found.await {
            Ok(address) => return Ok(address.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
