//! Wiring: the only place where the real parts are chosen. Reads as the list of what a
//! worker is made of, in the order in which it comes up.

use crate::{
    config::{
        self, Attached, Config, Loaded, MainFile, Profile, ThreadConfig, ThreadPlan, WantedProfile,
    },
    control::Control,
    disks::Disks,
    figures::Figures,
    greeting::Greeter,
    hardware::{Hardware, Roots},
    manager::{CallError, Manager},
    metadb::{MetaDb, MetaError},
    metrics, mounts,
    pieces::PieceSource,
    ping,
    plans::{Programs, World},
    profiles,
    reload::{Load, OtherProfile, Reload},
    resources,
    rpc::{self, Seat, WorkerRpc},
    stores::{AttachedStores, StoreError, look},
    threads::{Engine, Prover, Reporter, Reports, drain::Drain},
    view::{Board, Doing},
};
use damocles_daemon::{
    auth::{Guard, Secret},
    build,
    clock::SystemClock,
    database,
    exit::{Exit, Fatal},
    http,
    metrics::{Metrics, Readiness, router},
    net, runtime,
    services::Services,
    signals, systemd,
};
use damocles_kv::OpenError;
use damocles_processor::{Pool, Stage, StartOptions};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Stages of the plans that seal.
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
/// Shown where a thread has no directory; upstream's word.
const NO_LOCATION: &str = "-";
/// How long the manager may take to be told of the stop.
const GOODBYE: Duration = Duration::from_secs(2);
/// After that a service counts as one that does not stop.
const LONGEST_STOP: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop.
pub fn run(file: &Path, check_only: bool) -> anyhow::Result<()> {
    runtime::frugal_memory();
    let runtime = Arc::new(runtime::build(2)?);
    let profiles = profile_source(&runtime);
    let loaded = if check_only {
        config::check(file, &profiles)?
    } else {
        config::load(file, &profiles)?
    };
    say_notices(&loaded, file);
    if check_only {
        println!("{}: the configuration is right", file.display());
        return Ok(());
    }
    check_plan(&loaded, file)?;
    runtime::raise_descriptors();
    let main = Arc::new(MainFile::of(&loaded.config.threads));
    let reload = reload(file, &loaded, &runtime, Arc::clone(&main));
    let result = runtime.block_on(serve(loaded.config, main, reload));
    // threads that still compute end with the process, and their children with them
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
    result
}

/// Profiles by the manager, or the last one while it is away.
fn profile_source(
    runtime: &Arc<Runtime>,
) -> impl Fn(&WantedProfile) -> Result<Profile, Fatal> + Send + Sync + use<> {
    let runtime = Arc::downgrade(runtime);
    move |wanted| match runtime.upgrade() {
        Some(runtime) => profiles::ask(&runtime, wanted),
        None => wanted.kept("the worker is stopping"),
    }
}

/// What reads the configuration again: as the start does, with the plan held against the machine.
fn reload(file: &Path, loaded: &Loaded, runtime: &Arc<Runtime>, main: Arc<MainFile>) -> Reload {
    let (path, source) = (file.to_owned(), profile_source(runtime));
    let load: Load = Arc::new(move || {
        let loaded = config::load(&path, &source)?;
        check_plan(&loaded, &path)?;
        Ok(loaded)
    });
    let source = profile_source(runtime);
    let wanted = loaded.profile.as_ref().map(|(wanted, _)| wanted.clone());
    let other: Option<OtherProfile> = wanted.map(|wanted| -> OtherProfile {
        Arc::new(move |text| {
            let got = source(&wanted);
            got.is_ok_and(|profile| profile.kept.is_none() && profile.text != text)
        })
    });
    Reload::new(file, loaded, load, other, main)
}

fn say_notices(loaded: &Loaded, file: &Path) {
    if let Some((_, profile)) = &loaded.profile {
        match &profile.kept {
            None => tracing::info!(profile = profile.name, "laid over the manager's profile"),
            Some(why) => tracing::warn!(
                profile = profile.name,
                "the profile is the last one that was kept: {why}"
            ),
        }
    }
    for notice in &loaded.notices {
        tracing::warn!("{}: {notice}", file.display());
    }
    for key in &loaded.retired {
        tracing::warn!("{}: {key} is retired, ignored", file.display());
    }
    for away in &loaded.away {
        tracing::error!(
            hint = away.error.hint(),
            "{}: {away}; the rest goes on without it",
            file.display()
        );
    }
}

async fn serve(config: Config, main: Arc<MainFile>, reload: Reload) -> anyhow::Result<()> {
    tracing::info!(
        version = build::version(),
        manager = %config.manager.addr,
        threads = config.threads.len(),
        "damocles-worker starts"
    );
    let stop = signals::stop_token(|| ())?;
    let reloads = signals::reloads()?;
    let Attached {
        stores: attached, ..
    } = config::attached_stores(&config).map_err(store_fatal)?;
    // read before anything is made
    let connection = profiles::connection(&config.manager)?;
    let guard = guard(&config)?;
    let manager = Manager::new(&connection, tokio::runtime::Handle::current(), stop.clone())?;
    let (listener, address) = listen(config.listen, "[worker] rpc_server.port").await?;
    let seats = Arc::new(seats(&config)?);
    say_mounts(&config, &attached, &seats);
    let Some(pool) = start_pool(&config, &stop).await? else {
        return Ok(());
    };
    let readiness = Readiness::waiting("the manager");
    let registry = Metrics::new("damocles_worker");

    let drain = drain_of(&seats);
    let disks = Disks::new(&config, &attached);
    let figures = Figures::default();
    let sources = metrics::Sources {
        boards: seats.iter().map(|s| Arc::clone(&s.board)).collect(),
        drain: drain.clone(),
        figures: figures.clone(),
        calls: manager.calls().clone(),
        pool: Some(pool.clone()),
        disks: Some(disks.clone()),
    };
    metrics::register(&registry, sources);

    let mut services = Services::new(stop.clone());
    let (stop_watchdog, stop_disks) = (stop.clone(), stop.clone());
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
        drain: drain.clone(),
        pool: Some(pool.clone()),
        disks: Some(disks.clone()),
    };
    tracing::info!(%address, "RPC");
    let routes = rpc::router(worker_rpc, guard, monitoring);
    let until = stop.clone();
    let serve = move |listener| serve_http(listener, routes, until);
    services.spawn("rpc", net::serve_apart("rpc", 2, listener, serve));
    services.spawn(
        "databases",
        database::watch(
            databases(Arc::clone(&seats)),
            readiness.condition("database"),
            stop.clone(),
        ),
    );
    services.spawn("configuration", reload.run(reloads, stop.clone()));
    let sealing = Sealing {
        main,
        drain,
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
            figures,
        },
        seats,
        readiness,
        address,
        config,
        stop,
    };
    services.spawn("sealing", sealing.run());
    services.spawn("disks", async move {
        disks.watch(stop_disks).await;
        Ok(())
    });
    services.spawn("watchdog", systemd::watchdog(stop_watchdog));
    systemd::ready();
    let result = services.run(LONGEST_STOP).await;
    systemd::stopping();
    tracing::info!("stopped");
    result
}

/// What is wrong with the stores as they are configured.
fn store_fatal(error: StoreError) -> Fatal {
    let hint = error.hint();
    Fatal::new(Exit::Config, error).hint(hint)
}

/// Without a secret no token can be right: commands come from this host only.
fn guard(config: &Config) -> Result<Guard, Fatal> {
    let secret = match &config.token_secret_file {
        Some(file) => Secret::load_or_create(file)?,
        None => Secret::unknown(),
    };
    Ok(Guard::new(secret, Vec::new()))
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

/// As it was ordered before a restart.
fn drain_of(seats: &[Seat]) -> Drain {
    let databases = seats.iter().filter_map(|seat| seat.board.database());
    let drain = Drain::found(&databases.collect::<Vec<_>>());
    if let Some(to) = drain.to() {
        tracing::warn!(
            hint = "`damocles-worker worker undrain` ends it",
            "this worker drains, as it did before the restart: no sector is begun, those in work go on to: {to}"
        );
    }
    drain
}

/// The databases of all sealing threads as one: what fails there stops its thread only, and is
/// opened anew with the next write.
fn databases(seats: Arc<Vec<Seat>>) -> database::Watched {
    let ill = move || {
        let mut all = seats.iter().filter_map(|seat| seat.board.database());
        all.find_map(|meta| Some((meta.trouble()?, meta)))
    };
    let look = ill.clone();
    database::Watched {
        trouble: Arc::new(move || {
            look().map(|(trouble, _)| database::Trouble {
                since: trouble.since,
                reason: trouble.reason,
                heals: trouble.full.then_some(database::Cure::Room),
            })
        }),
        probe: Arc::new(move || {
            if let Some((_, meta)) = ill()
                && let Err(error) = meta.probe()
            {
                tracing::debug!("{error}");
            }
        }),
        patience: None,
    }
}

/// Opens every sealing store, side by side. One whose database another process holds ends the
/// start; one that is away or damaged stops its own thread only.
fn seats(config: &Config) -> Result<Vec<Seat>, Fatal> {
    let threads = &config.threads;
    let found: Vec<_> = std::thread::scope(|scope| {
        let looks: Vec<_> = threads
            .iter()
            .map(|thread| scope.spawn(|| MetaDb::at(&thread.location, look::LIMIT)))
            .collect();
        let hangs =
            |thread: &ThreadConfig| MetaError::Store(StoreError::Hangs(thread.location.clone()));
        let found = looks.into_iter().zip(threads);
        found
            .map(|(look, thread)| look.join().unwrap_or_else(|_| Err(hangs(thread))))
            .collect()
    });
    let mut seats = Vec::new();
    for (thread, found) in threads.iter().zip(found) {
        let plan = thread.settings.plan;
        let board = Board::new(thread.index, look::real(&thread.location), plan);
        match found {
            Ok((_, meta)) => {
                if let Ok(document) = meta.load() {
                    board.sector(plan, document.as_ref());
                }
                board.meta(meta);
            }
            Err(MetaError::Open(OpenError::Busy { .. })) => {
                return Err(Fatal::new(
                    Exit::Occupied,
                    format!(
                        "the sealing store {} is in use by another worker",
                        thread.location.display()
                    ),
                )
                .hint("stop that worker, or give this one a location of its own"));
            }
            // the thread looks again, and says so for as long as it lasts
            Err(error) => {
                board.doing(Doing::Waiting("its sealing store".to_owned()));
                board.error(Some(error.failure()));
            }
        }
        seats.push(Seat {
            control: Arc::new(Control::default()),
            board: Arc::new(board),
        });
    }
    for thread in &config.placeless {
        seats.push(Seat {
            control: Arc::new(Control::default()),
            board: Arc::new(Board::new(thread.index, NO_LOCATION.into(), thread.plan)),
        });
    }
    // as they stand in the file
    seats.sort_by_key(|seat| seat.board.index());
    Ok(seats)
}

/// The seat of a thread.
fn seat_of(seats: &[Seat], index: usize) -> Option<&Seat> {
    seats.iter().find(|seat| seat.board.index() == index)
}

/// What an operator should know of the attached stores now and not after hours of sealing.
fn say_mounts(config: &Config, attached: &AttachedStores, seats: &[Seat]) {
    let databases: Vec<_> = seats.iter().filter_map(|s| s.board.database()).collect();
    match mounts::at_start(attached, &databases, &config.scan) {
        Ok(said) => said.iter().for_each(|line| tracing::warn!("{line}")),
        Err(error) => tracing::warn!("which stores were seen before is not known: {error}"),
    }
}

/// Refuses what this machine cannot carry: better now than after hours of work.
fn check_plan(loaded: &Loaded, file: &Path) -> Result<(), Fatal> {
    let config = &loaded.config;
    let machine = match Hardware::look(&Roots::default(), Some(&config.locations())) {
        Ok(machine) => machine,
        Err(error) => {
            tracing::warn!(
                "the plan is not held against this machine, which does not show itself: {error}"
            );
            return Ok(());
        }
    };
    let plan = resources::here(loaded, &machine);
    let allowed = &config.oversubscription;
    for finding in plan.findings.iter().filter(|f| !f.refuses(allowed)) {
        tracing::warn!("{}: {}", file.display(), finding.message);
    }
    resources::refusal(&plan, allowed, file).map_or(Ok(()), Err)
}

fn programs(config: &Config) -> std::io::Result<Programs> {
    let own = std::env::current_exe()?;
    Ok(Programs {
        synthetic: resources::synthetic(config),
        foreign_pc2: config.processors.is_foreign(Stage::Pc2, &own),
    })
}

/// The stages that a worker of this configuration may need.
fn stages(config: &Config) -> Vec<Stage> {
    let placed = config.threads.iter().map(|thread| thread.settings.plan);
    let mut plans = placed.chain(config.placeless.iter().map(|thread| thread.plan));
    let configured = &config.processors.stages;
    let proves = plans.any(ThreadPlan::proves) || configured.contains_key(&Stage::WindowPost);
    let mut stages = STAGES.to_vec();
    stages.extend(proves.then_some(Stage::WindowPost));
    stages
}

/// Starts the children; each may take its time. None: a stop came first, and those that were
/// begun have ended again.
async fn start_pool(config: &Config, stop: &CancellationToken) -> anyhow::Result<Option<Pool>> {
    let processors = config.processors.clone();
    let stages = stages(config);
    let options = StartOptions::own_executable()?;
    let unwanted = options.stop.clone();
    let mut starting =
        tokio::task::spawn_blocking(move || Pool::start(&stages, &processors, &options));
    let started = tokio::select! {
        started = &mut starting => started?,
        () = stop.cancelled() => {
            unwanted.cancel();
            starting.await?
        }
    };
    match started {
        Ok(pool) => Ok(Some(pool)),
        Err(_) if stop.is_cancelled() => Ok(None),
        Err(error) => {
            let hint = error.failure().and_then(|f| f.hint);
            let fatal = Fatal::new(Exit::Config, format!("a processor does not start: {error}"));
            Err(anyhow::Error::new(match hint {
                Some(hint) => fatal.hint(hint),
                None => fatal,
            }))
        }
    }
}

/// The sealing threads, from the wait for the manager to their end.
struct Sealing {
    main: Arc<MainFile>,
    drain: Drain,
    world: World,
    seats: Arc<Vec<Seat>>,
    readiness: Readiness,
    address: SocketAddr,
    config: Config,
    stop: CancellationToken,
}

impl Sealing {
    async fn run(self) -> anyhow::Result<()> {
        let greeter = Greeter {
            manager: &self.world.manager,
            attached: &self.world.attached,
            seats: &self.seats,
            readiness: &self.readiness,
            address: self.address,
            name: self.config.name.as_deref(),
        };
        let Some((identity, manager)) = greeter.meet(&self.stop).await? else {
            return Ok(());
        };
        tracing::info!(name = identity.name, dest = %identity.dest, "the manager is there; sealing begins");
        self.readiness.ready();
        let reports = Reports::default();
        let reporter = Reporter {
            manager: manager.for_another(&identity.name)?,
            instance: identity.name.clone(),
            boards: self.seats.iter().map(|s| Arc::clone(&s.board)).collect(),
            reports: reports.clone(),
        };
        std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || reporter.run())?;
        let (ended, mut all_ended) = mpsc::channel::<()>(1);
        for thread in &self.config.placeless {
            let Some(Seat { control, board }) = seat_of(&self.seats, thread.index).cloned() else {
                continue;
            };
            let (thread, held) = (thread.clone(), ended.clone());
            let prover = Prover {
                manager: manager.for_another(&identity.name)?,
                pool: self.world.pool.clone(),
                attached: Arc::clone(&self.world.attached),
                control,
                board,
            };
            std::thread::Builder::new()
                .name(format!("sealing-{}", thread.index))
                .spawn(move || {
                    let _held = held;
                    prover.live(thread.index, &thread.sealing);
                })?;
        }
        for thread in &self.config.threads {
            let Some(seat) = seat_of(&self.seats, thread.index) else {
                continue;
            };
            let mut world = self.world.clone();
            world.manager = manager.for_another(&identity.name)?;
            let engine = Engine {
                config: thread.clone(),
                main: Arc::clone(&self.main),
                drain: self.drain.clone(),
                world,
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
        let pings = tokio::spawn(ping::run(
            manager.clone(),
            identity.clone(),
            Arc::clone(&self.seats),
            self.config.ping_interval,
            self.readiness.clone(),
            self.stop.clone(),
        ));
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = all_ended.recv() => anyhow::bail!("all sealing threads ended"),
        }
        for seat in self.seats.iter() {
            seat.control.stop();
        }
        reports.stop();
        // none is ever sent: the channel closes when the last thread has ended
        if tokio::time::timeout(PATIENCE, all_ended.recv())
            .await
            .is_err()
        {
            for given_up in self.seats.iter().filter_map(|s| s.board.given_up()) {
                tracing::info!("{given_up}");
            }
        }
        // after the last ping, or it would count as running again
        let _ = pings.await;
        match tokio::time::timeout(GOODBYE, manager.leave(identity.name)).await {
            Ok(Ok(()) | Err(CallError::Unsupported(_))) => {}
            Ok(Err(error)) => tracing::info!("the manager was not told of the stop: {error}"),
            Err(_) => tracing::info!("the manager was not told of the stop: it gives no answer"),
        }
        Ok(())
    }
}
