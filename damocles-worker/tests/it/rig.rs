//! One sealing thread with everything around it: a store, a persist store, a pool of fake
//! children, a fake manager. It can be "killed" at a probe and started again.

use crate::{NEVER, fake_manager::FakeManager, until};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_daemon::clock::SystemClock;
use damocles_flow::State;
use damocles_kv::{Durability, Record, Store, StoreError, Table};
use damocles_processor::{Pool, Processors, RawProcessors, Stage, StartOptions, fake};
use damocles_types::SectorId;
use damocles_worker::{
    config::{self, MainFile, ThreadPlan},
    control::{Control, Standing},
    figures::Figures,
    manager::{Connection, Manager},
    managers::Managers,
    metadb::{MetaDb, SCHEMA},
    pieces::PieceSource,
    plans::{Programs, World},
    stores::SealingStore,
    threads::{Engine, Probe, Reporter, Reports, drain::Drain},
    view::Board,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(crate) const STAGES: [Stage; 8] = [
    Stage::AddPieces,
    Stage::TreeD,
    Stage::Pc1,
    Stage::Pc2,
    Stage::SynthProof,
    Stage::C1,
    Stage::C2,
    Stage::Transfer,
];

/// The runtime of all fake managers and clients.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// `fake-processor`, which cargo builds beside the tests.
pub(crate) fn fake_processor() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    let program = target.join("examples/fake-processor");
    assert!(
        program.is_file(),
        "{} is missing: run all of `cargo test -p damocles-worker`",
        program.display()
    );
    program
}

/// What stands in the place of a sector's document in this sealing store, which nobody has open.
pub(crate) fn read_document(location: &Path) -> Option<Vec<u8>> {
    let records = Store::open(&location.join("meta"), &SCHEMA).unwrap();
    let document: Result<Record, StoreError> = records.read(|t| t.get(Table("sector"), b"now"));
    document.unwrap().bytes().map(<[u8]>::to_vec)
}

/// Puts bytes in that place.
pub(crate) fn write_document(location: &Path, bytes: &[u8]) {
    let records = Store::open(&location.join("meta"), &SCHEMA).unwrap();
    let written: Result<(), StoreError> = records.transact(Durability::Synced, |t| {
        t.overwrite(Table("sector"), "now", bytes)
    });
    written.unwrap();
}

/// A pool whose children obey files in `dir`.
pub(crate) fn pool(dir: &Path, more: &str) -> Pool {
    let raw: RawProcessors = toml::from_str(&format!("{}{more}", children(dir, ""))).unwrap();
    let processors: Processors = raw.check().unwrap();
    let options = StartOptions {
        idle: NEVER,
        ..StartOptions::of(fake_processor())
    };
    Pool::start(&STAGES, &processors, &options).unwrap()
}

/// One fake child for each stage, as a configuration has them below `prefix`.
pub(crate) fn children(dir: &Path, prefix: &str) -> String {
    let mut toml = String::new();
    for stage in STAGES {
        toml.push_str(&format!(
            "[[{prefix}{stage}]]\nbin = {:?}\nargs = [\"processor\", \"{stage}\"]\nstable_wait = \"60s\"\nenvs = {{ {} = {:?} }}\n",
            fake_processor().display().to_string(),
            fake::DIR_ENV,
            dir.display().to_string(),
        ));
    }
    toml
}

/// How often children began a task of the stage, by the log in their directory.
pub(crate) fn runs(dir: &Path, stage: Stage) -> usize {
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    log.lines()
        .filter(|line| line.starts_with(&format!("{stage} ")) && line.ends_with(" start"))
        .count()
}

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) manager: FakeManager,
    pool: Pool,
    /// Where the children's orders are.
    pub(crate) orders: PathBuf,
    /// What the thread is told about the children's programs.
    pub(crate) programs: Programs,
    /// The thread's database, when it is not to be the one of its store.
    pub(crate) meta: Option<MetaDb>,
    pub(crate) drain: Drain,
    pub(crate) figures: Figures,
}

pub(crate) struct Running {
    pub(crate) control: Arc<Control>,
    pub(crate) board: Arc<Board>,
    pub(crate) reports: Reports,
    thread: JoinHandle<()>,
    reporter: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    /// Waits until the thread waits for `what`.
    pub(crate) fn waits_for(&self, what: &str) {
        let mut last = None;
        until(&format!("waiting for {what}"), || {
            let waits_for = self.board.info().waiting_for;
            let holds = waits_for.as_ref().is_some_and(|w| w.contains(what));
            if waits_for.is_some() && waits_for != last {
                eprintln!("waits for {waits_for:?}");
                last = waits_for;
            }
            holds
        });
    }

    /// Whether the thread has nothing to do for want of sectors.
    pub(crate) fn is_idle(&self) -> bool {
        let waits_for = self.board.info().waiting_for.unwrap_or_default();
        waits_for.starts_with("the manager has no sector to give")
    }

    /// Waits until the thread stands paused.
    pub(crate) fn paused(&self) {
        until("the pause", || self.control.standing() == Standing::Paused);
    }

    /// Tells the thread to stop and waits for its end.
    pub(crate) fn stop(self) {
        self.control.stop();
        self.ends();
    }

    fn ends(self) {
        self.stop.cancel();
        self.reports.stop();
        self.thread.join().unwrap();
        self.reporter.join().unwrap();
    }

    /// Waits until the thread ends by itself.
    pub(crate) fn ended(self) {
        until("the thread's end", || self.thread.is_finished());
        self.ends();
    }
}

impl Rig {
    /// A rig with children of its own.
    pub(crate) fn new(sectors: u64) -> Self {
        Self::with(sectors, None, "")
    }

    /// `shared`: a pool and the directory of its orders.
    pub(crate) fn with(sectors: u64, shared: Option<(&Pool, &Path)>, processors: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hdd")).unwrap();
        SealingStore::init(&dir.path().join("t0")).unwrap();
        let (pool, orders) = match shared {
            Some((pool, orders)) => (pool.clone(), orders.to_owned()),
            None => {
                let orders = dir.path().join("orders");
                fs::create_dir(&orders).unwrap();
                (pool(&orders, processors), orders)
            }
        };
        let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), sectors));
        Self {
            dir,
            manager,
            pool,
            orders,
            programs: Programs::default(),
            meta: None,
            drain: Drain::default(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tells the children of a stage what to do with the next task.
    pub(crate) fn order_once(&self, stage: Stage, order: &str) {
        fs::write(self.orders.join(format!("{stage}.once")), order).unwrap();
    }

    /// How often children began a task of the stage.
    pub(crate) fn runs(&self, stage: Stage) -> usize {
        runs(&self.orders, stage)
    }

    pub(crate) fn location(&self) -> PathBuf {
        self.dir.path().join("t0")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(None, "")
    }

    pub(crate) fn start_probed(&self, probe: Probe) -> Running {
        self.start_with(Some(probe), "")
    }

    /// Starts the thread; `sealing` are more lines of `[sealing]`.
    pub(crate) fn start_with(&self, probe: Option<Probe>, sealing: &str) -> Running {
        let dir = self.dir.path().display();
        let file = self.dir.path().join("worker.toml");
        let recover = if sealing.contains("recover_interval") {
            ""
        } else {
            "recover_interval = \"5ms\"\n"
        };
        let text = format!(
            "[sector_manager]\nrpc_client.addr = \"{}\"\n\
             [[attached]]\nname = \"hdd\"\nlocation = \"{dir}/hdd\"\n\
             [[sealing_thread]]\nlocation = \"{dir}/t0\"\n\
             [sealing]\nallowed_sizes = [\"2KiB\"]\nseal_interval = \"5ms\"\n{recover}\
             rpc_polling_interval = \"5ms\"\n{sealing}",
            self.manager.url()
        );
        fs::write(&file, text).unwrap();
        let config = config::load(&file, &config::kept_profiles).unwrap().config;
        let attached = config::attached_stores(&config).unwrap().stores;
        let stop = CancellationToken::new();
        let connection = Connection {
            addr: Managers::new(config.manager.addr.clone(), Vec::new()),
            headers: Default::default(),
            token: None,
            tls: None,
            timeout: Duration::from_secs(20),
        };
        let manager = Manager::new(&connection, runtime().handle().clone(), stop.clone()).unwrap();
        let manager = manager.for_another("rig").unwrap();
        let control = Arc::new(Control::default());
        let board = Arc::new(Board::new(0, self.location(), ThreadPlan::Sealer));
        if let Some(meta) = &self.meta {
            board.meta(meta.clone());
        }
        let reports = Reports::default();
        let reporter = Reporter {
            manager: manager.for_another("rig").unwrap(),
            instance: "rig".into(),
            boards: vec![Arc::clone(&board)],
            reports: reports.clone(),
        };
        let reporter = std::thread::spawn(move || reporter.run());
        let engine = Engine {
            config: config.threads[0].clone(),
            main: Arc::new(MainFile::of(&config.threads)),
            drain: self.drain.clone(),
            world: World {
                manager,
                pool: self.pool.clone(),
                attached: Arc::new(attached),
                pieces: PieceSource {
                    enabled: false,
                    dirs: Vec::new(),
                    manager: config.manager.addr.clone(),
                },
                clock: Arc::new(SystemClock),
                static_trees: Default::default(),
                programs: self.programs,
                figures: self.figures.clone(),
            },
            reports: reports.clone(),
            control: Arc::clone(&control),
            board: Arc::clone(&board),
            probe,
        };
        let thread = std::thread::spawn(move || engine.run());
        Running {
            control,
            board,
            reports,
            thread,
            reporter,
            stop,
        }
    }

    /// Starts the thread, waits until so many sectors are done with, and stops it.
    pub(crate) fn run(&self, sectors: usize) {
        let running = self.start();
        self.wait_done(&running, sectors);
        running.stop();
    }

    /// Waits until so many sectors are done with at the manager and cleared here, and all of it
    /// is reported.
    pub(crate) fn wait_done(&self, running: &Running, sectors: usize) {
        until("the sectors' end", || {
            self.manager.script().done.len() >= sectors && running.board.info().job_id.is_none()
        });
        until("the last report", || running.reports.quiet());
    }

    /// Files of a sector that lie in the sealing store.
    pub(crate) fn sealing_files(&self) -> usize {
        let sealed = fs::read_dir(self.location().join("data/sealed"));
        sealed.into_iter().flatten().flatten().count()
    }

    /// The thread's timeline; the thread must not be running.
    pub(crate) fn timeline(&self) -> Vec<TimelineEntry> {
        MetaDb::open(&self.location().join("meta"))
            .unwrap()
            .timeline()
            .unwrap()
    }

    /// Puts bytes in the place of the sector's document.
    pub(crate) fn put_document(&self, bytes: &[u8]) {
        SealingStore::open(&self.location()).unwrap();
        write_document(&self.location(), bytes);
    }

    /// Changes the document as it lies on disk; the thread must not be running.
    pub(crate) fn change_document(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut document = serde_json::from_slice(&self.document().unwrap()).unwrap();
        change(&mut document);
        self.put_document(document.to_string().as_bytes());
    }

    pub(crate) fn document(&self) -> Option<Vec<u8>> {
        read_document(&self.location())
    }

    /// Files of a sector in the persist store.
    pub(crate) fn persisted(&self, sector: SectorId) -> Vec<String> {
        let hdd = self.dir.path().join("hdd");
        let mut found = Vec::new();
        for dir in [hdd.join("sealed"), hdd.join(format!("cache/{sector}"))] {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                found.push(
                    entry
                        .path()
                        .strip_prefix(&hdd)
                        .unwrap()
                        .display()
                        .to_string(),
                );
            }
        }
        found.sort();
        found
    }
}

/// How often each state's step ended well.
pub(crate) fn done(timeline: &[TimelineEntry], state: State) -> usize {
    timeline
        .iter()
        .filter(|e| e.state == state.to_string() && matches!(e.ending, Some(Ending::Done { .. })))
        .count()
}
