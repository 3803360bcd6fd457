//! A house of three daemons in one folder: a devnet, a manager and a worker, started from
//! config files, stopped, killed and started again as a test or the demo likes. What they
//! decide is theirs; a house only starts them and carries questions to them.

pub use crate::files::{Files, checkout};

use crate::{
    node::Node,
    process::{self, Daemon},
    render,
    rpc::{self, Rpc},
    usage::{self, MARK},
    wait,
};
use anyhow::{Context, Result, bail};
use damocles_api::{
    damocles::DamoclesClient,
    sealer_cli::SealerCliClient,
    sector::SectorState,
    timeline::TimelineEntry,
    worker::{ThreadInfo, WorkerClient},
};
use damocles_types::{ActorId, SectorId};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The miner that every devnet has from its genesis.
pub const MINER: ActorId = 1000;
/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How long a chain may take to be made whose sectors are sealed at its genesis.
const GENESIS: Duration = Duration::from_secs(1800);
/// How long a daemon may take to end when asked to.
const STOP: Duration = Duration::from_secs(30);

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Devnet,
    Manager,
    Worker,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Devnet, Self::Manager, Self::Worker];

    /// The program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Devnet => "damocles-devnet",
            Self::Manager => "damocles-manager",
            Self::Worker => "damocles-worker",
        }
    }
}

/// The three daemons, their folder and their doors.
#[derive(Debug)]
pub struct House {
    home: PathBuf,
    id: String,
    files: Files,
    sectors: u64,
    daemons: [RefCell<Option<Daemon>>; 3],
    /// `host:port`, kept over restarts so that those who know the address find it again.
    node_address: RefCell<Option<String>>,
    manager_address: RefCell<Option<String>>,
    worker_port: Cell<u16>,
    /// Who stands before a daemon, by role: the others are told this `host:port` in its place.
    fronts: [RefCell<Option<String>>; 3],
    /// What other places of the config files are filled with.
    places: RefCell<BTreeMap<&'static str, String>>,
    descriptors: Cell<Option<u64>>,
    /// Further words of the devnet's and of the manager's command line.
    devnet: RefCell<Vec<String>>,
    manager: RefCell<Vec<String>>,
}

/// A command of the manager whose home that is.
pub fn manager_at(home: &Path) -> Result<Command> {
    let mut command = process::command(Role::Manager.program())?;
    command.arg("--home").arg(home);
    Ok(command)
}

/// Makes a manager's home where there is none.
pub(crate) fn begin_manager(home: &Path) -> Result<()> {
    if home.exists() {
        return Ok(());
    }
    let out = manager_at(home)?
        .args(["daemon", "init"])
        .output()
        .context("damocles-manager cannot be started")?;
    if !out.status.success() {
        bail!(
            "damocles-manager daemon init failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(())
}

impl House {
    /// An empty house in the folder `home`, which must be new: nothing runs yet. `sectors`
    /// is how many sector numbers the manager may hand out. Its processes carry the mark that
    /// this process carries, or one of their own.
    pub fn new(home: &Path, files: Files, sectors: u64) -> Result<Self> {
        for dir in [
            "logs",
            "persist",
            "threads",
            "gates/pc2",
            "gates/c2",
            "gates/synth_proof",
            "gates/window_post",
        ] {
            fs::create_dir_all(home.join(dir))
                .with_context(|| format!("{} cannot be made", home.join(dir).display()))?;
        }
        Ok(Self {
            home: home.canonicalize()?,
            id: std::env::var(MARK).unwrap_or_else(|_| uuid::Uuid::new_v4().to_string()),
            files,
            sectors,
            daemons: [const { RefCell::new(None) }; 3],
            node_address: RefCell::new(None),
            manager_address: RefCell::new(None),
            worker_port: Cell::new(damocles_test_ports::port()),
            fronts: [const { RefCell::new(None) }; 3],
            places: RefCell::default(),
            descriptors: Cell::new(None),
            devnet: RefCell::default(),
            manager: RefCell::default(),
        })
    }

    /// From its next start on, a daemon that needs this one is sent to `address` instead.
    pub fn stand_before(&self, role: Role, address: &str) {
        *self.fronts[role as usize].borrow_mut() = Some(address.to_owned());
    }

    /// Questions to the manager go to this `host:port` from now on: one of several that run beside.
    pub fn ask_manager_at(&self, address: &str) {
        *self.manager_address.borrow_mut() = Some(address.to_owned());
    }

    /// From the next start on, a place of the config files that the house itself knows nothing
    /// for, as the node of a chain that is not its own.
    pub fn fill(&self, place: &'static str, with: &str) {
        self.places.borrow_mut().insert(place, with.to_owned());
    }

    /// The mark that its processes carry, for those that are started beside it.
    pub fn mark(&self) -> &str {
        &self.id
    }

    /// Daemons that are started from now on may have so many files and sockets open.
    pub fn limit_descriptors(&self, most: Option<u64>) {
        self.descriptors.set(most);
    }

    /// The devnet is started with these words too, from now on.
    pub fn devnet_with(&self, words: &[&str]) {
        let mut devnet = self.devnet.borrow_mut();
        devnet.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// The same of the manager.
    pub fn manager_with(&self, words: &[&str]) {
        let mut manager = self.manager.borrow_mut();
        manager.extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn front_of(&self, role: Role, address: Result<String>) -> Result<String> {
        let front = self.fronts[role as usize].borrow().clone();
        front.map_or(address, Ok)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn path(&self, part: &str) -> PathBuf {
        self.home.join(part)
    }

    /// The file that holds what a daemon said.
    pub fn log(&self, role: Role) -> PathBuf {
        self.home
            .join("logs")
            .join(format!("{}.log", role.program()))
    }

    /// Starts the devnet and waits until it answers.
    pub async fn start_devnet(&self) -> Result<()> {
        let repo = self.path("devnet");
        let policy = self.path("devnet.toml");
        self.render(&self.files.devnet, &policy)?;
        forget(&repo.join("api"))?;
        let mut command = process::command(Role::Devnet.program())?;
        command
            .args(["run", "--block-time", "500ms", "--sector-size", "2KiB"])
            .arg("--repo")
            .arg(&repo)
            .arg("--policy")
            .arg(&policy)
            .arg("--listen")
            .arg(self.known(&self.node_address))
            .args(&*self.devnet.borrow());
        self.start(Role::Devnet, command)?;
        let api = repo.join("api");
        let address = self.wait_for_api("the devnet", &api, GENESIS).await?;
        *self.node_address.borrow_mut() = Some(address);
        self.until("the devnet to answer", START, async || {
            self.node()?.epoch().await.map(Some)
        })
        .await
        .map(drop)
    }

    /// Starts the manager and waits until it answers.
    pub async fn start_manager(&self) -> Result<()> {
        let home = self.prepare_manager()?;
        forget(&home.join("api"))?;
        let mut command = manager_at(&home)?;
        command
            .args(["daemon", "run", "--poster", "--listen"])
            .arg(self.known(&self.manager_address))
            .args(&*self.manager.borrow());
        self.start(Role::Manager, command)?;
        let api = home.join("api");
        let address = self.wait_for_api("the manager", &api, START).await?;
        *self.manager_address.borrow_mut() = Some(address);
        self.until("the manager to answer", START, async || {
            Ok(Some(self.manager()?.typed().version().await?))
        })
        .await
        .map(drop)
    }

    /// Its home, begun if there is none, with its config as it is to be at the next start.
    pub fn prepare_manager(&self) -> Result<PathBuf> {
        let home = self.path("manager");
        begin_manager(&home)?;
        self.render(&self.files.manager, &home.join("sector-manager.cfg"))?;
        Ok(home)
    }

    /// Starts the worker and waits until it answers.
    pub async fn start_worker(&self) -> Result<()> {
        let config = self.path("worker.toml");
        self.render(&self.files.worker, &config)?;
        self.make_sealing_stores(&config, &process::program(Role::Worker.program())?)?;
        let mut command = process::command(Role::Worker.program())?;
        command.args(["daemon", "-c"]).arg(&config);
        self.start(Role::Worker, command)?;
        self.until("the worker to answer", START, async || {
            Ok(Some(self.worker()?.typed().worker_version().await?))
        })
        .await
        .map(drop)
    }

    /// As an operator makes them with the worker's program: those that the config names.
    pub fn make_sealing_stores(&self, config: &Path, worker: &Path) -> Result<()> {
        let config = fs::read_to_string(config)?;
        let threads = self.path("threads");
        let stores = (0..).map(|n: u32| threads.join(n.to_string()));
        let named = |store: &PathBuf| config.contains(&format!("{}\"", store.display()));
        for store in stores.take_while(named) {
            if store.exists() {
                continue;
            }
            let mut init = process::foreign(worker);
            init.args(["store", "sealing-init", "-l"]).arg(&store);
            let out = init.output().context("damocles-worker cannot be started")?;
            if !out.status.success() {
                bail!(
                    "damocles-worker store sealing-init failed: {}",
                    String::from_utf8_lossy(&out.stderr).trim()
                );
            }
        }
        Ok(())
    }

    /// Fills in what is known by now: who has not been started yet has no address.
    pub(crate) fn render(&self, from: &Path, to: &Path) -> Result<()> {
        let home = self.home.to_string_lossy();
        let sectors = self.sectors.to_string();
        let port = self.worker_port.get().to_string();
        let worker = process::program(Role::Worker.program())?;
        let gated = worker.with_file_name("gated-processor");
        let node = self.node_info().ok();
        let manager = self.front_of(Role::Manager, self.manager_address());
        let manager = manager.ok().map(|a| format!("http://{a}"));
        let mut values = vec![("HOME", &*home), ("SECTORS", &sectors), ("PORT", &port)];
        let (worker, gated) = (worker.to_string_lossy(), gated.to_string_lossy());
        values.extend([("WORKER", &*worker), ("GATED", &*gated)]);
        values.extend(node.as_deref().map(|node| ("NODE", node)));
        values.extend(manager.as_deref().map(|manager| ("MANAGER", manager)));
        let places = self.places.borrow();
        values.extend(places.iter().map(|(place, with)| (*place, &**with)));
        render::file(from, to, &values)
    }

    fn start(&self, role: Role, mut command: Command) -> Result<()> {
        if let Some(most) = self.descriptors.get() {
            process::limit_descriptors(&mut command, most);
        }
        let daemon = Daemon::start(role.program(), &self.id, command, &self.log(role))?;
        *self.daemon(role).borrow_mut() = Some(daemon);
        Ok(())
    }

    /// Starts another program, marked as one of this house, with a log of that name. It must be
    /// stopped before the house is closed.
    pub fn start_beside(&self, name: &str, command: Command) -> Result<Daemon> {
        let log = self.home.join("logs").join(format!("{name}.log"));
        Daemon::start(name, &self.id, command, &log)
    }

    fn daemon(&self, role: Role) -> &RefCell<Option<Daemon>> {
        &self.daemons[role as usize]
    }

    /// `kill -9` of a daemon alone. It stays down until it is started again.
    pub fn kill9(&self, role: Role) -> Result<()> {
        match self.daemon(role).borrow_mut().take() {
            Some(mut daemon) => daemon.kill9(),
            None => bail!("{} is not running", role.program()),
        }
    }

    /// Kills what may have ended by itself already, as a daemon does that refuses to serve.
    pub fn bury(&self, role: Role) {
        self.daemon(role).borrow_mut().take();
    }

    /// Stops a daemon the gentle way. It must end with exit code 0.
    pub fn stop(&self, role: Role) -> Result<()> {
        let Some(mut daemon) = self.daemon(role).borrow_mut().take() else {
            return Ok(());
        };
        let status = daemon.stop(STOP)?;
        if !status.success() {
            bail!("{} ended with {status} when asked to stop", role.program());
        }
        Ok(())
    }

    /// Stops whatever runs, worker first, and looks for processes that were left behind.
    pub async fn close(&self) -> Result<()> {
        for role in [Role::Worker, Role::Manager, Role::Devnet] {
            self.stop(role)?;
        }
        let left = self.wait_until_empty().await;
        left.context("a stopped house must be empty")
    }

    /// Waits until no process of this house is left.
    pub async fn wait_until_empty(&self) -> Result<()> {
        let result = wait::until(
            "every process to end",
            Duration::from_secs(15),
            async || Ok(usage::marked(&self.id).is_empty().then_some(())),
        )
        .await;
        result.with_context(|| format!("left behind: {:?}", self.processes()))
    }

    /// Waits until no process of a daemon's program is left, its children included.
    pub async fn wait_until_no(&self, role: Role) -> Result<()> {
        let program = role.program();
        let what = format!("every {program} to end");
        wait::until(what, Duration::from_secs(15), async || {
            let left = self.processes();
            Ok((!left.iter().any(|(_, line)| line.contains(program))).then_some(()))
        })
        .await
    }

    /// Every process of this house, with its command line.
    pub fn processes(&self) -> Vec<(u32, String)> {
        usage::marked(&self.id)
    }

    pub fn pid(&self, role: Role) -> Result<u32> {
        let daemon = self.daemon(role).borrow();
        let daemon = daemon.as_ref();
        Ok(daemon
            .with_context(|| format!("{} is not running", role.program()))?
            .pid())
    }

    /// An error with the end of its log, if a daemon that should run has ended.
    pub fn check_alive(&self) -> Result<()> {
        for daemon in &self.daemons {
            if let Some(daemon) = daemon.borrow_mut().as_mut() {
                daemon.check_alive()?;
            }
        }
        Ok(())
    }

    /// The ends of all logs, for the report of a failure.
    pub fn tails(&self, lines: usize) -> String {
        Role::ALL
            .map(|role| {
                let log = self.log(role);
                format!("{}:\n{}", log.display(), process::tail(&log, lines))
            })
            .join("\n")
    }

    /// [`wait::until`], which ends at once when a daemon dies.
    pub async fn until<T>(
        &self,
        what: impl Display,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait::until(what, limit, async || {
            if let Err(dead) = self.check_alive() {
                return Ok(Some(Err(dead)));
            }
            Ok(probe().await?.map(Ok))
        })
        .await?
    }

    async fn wait_for_api(&self, who: &str, api: &Path, limit: Duration) -> Result<String> {
        let what = format!("{who} to write {}", api.display());
        self.until(what, limit, async || Ok(rpc::read_api(api)))
            .await
    }

    /// The address a daemon had, or any free one.
    fn known(&self, address: &RefCell<Option<String>>) -> String {
        let known = address.borrow().clone();
        known.unwrap_or_else(|| "127.0.0.1:0".to_owned())
    }

    /// The node's `host:port`.
    pub fn node_address(&self) -> Result<String> {
        let address = self.node_address.borrow().clone();
        address.context("the devnet has not been started yet")
    }

    /// The manager's `host:port`.
    pub fn manager_address(&self) -> Result<String> {
        let address = self.manager_address.borrow().clone();
        address.context("the manager has not been started yet")
    }

    /// The worker's `host:port`.
    pub fn worker_address(&self) -> String {
        format!("127.0.0.1:{}", self.worker_port.get())
    }

    /// The devnet's admin token.
    pub fn node_token(&self) -> Result<String> {
        let path = self.path("devnet").join("token");
        let token = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(token.trim().to_owned())
    }

    /// A token of the manager's that allows everything.
    pub fn manager_token(&self) -> Result<String> {
        let mut command = manager_at(&self.path("manager"))?;
        command.args(["util", "auth", "create-token", "--perm", "admin"]);
        let out = command.output()?;
        if !out.status.success() {
            bail!(
                "the manager made no token: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    }

    /// Token and address in the form of `[Common.API] Chain`.
    fn node_info(&self) -> Result<String> {
        let address = self.front_of(Role::Devnet, self.node_address())?;
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        Ok(format!(
            "{}:/ip4/{host}/tcp/{port}/http",
            self.node_token()?
        ))
    }

    /// The chain's door.
    pub fn node(&self) -> Result<Node> {
        self.node_at(&self.node_address()?)
    }

    /// The door of the chain's second node, which must have been asked for: what is wrong with the
    /// first is not wrong with it.
    pub fn second_node(&self) -> Result<Node> {
        let api = self.path("devnet/second/api");
        let address = rpc::read_api(&api).context("the devnet was started without --second")?;
        self.node_at(&address)
    }

    fn node_at(&self, address: &str) -> Result<Node> {
        let url = format!("http://{address}/rpc/v1");
        Ok(Node {
            rpc: Rpc::new(&url, Some(&self.node_token()?))?,
        })
    }

    /// The manager's door.
    pub fn manager(&self) -> Result<Rpc> {
        let url = format!("http://{}/rpc/v0", self.manager_address()?);
        Rpc::new(&url, None)
    }

    /// The worker's door.
    pub fn worker(&self) -> Result<Rpc> {
        Rpc::new(&format!("http://{}", self.worker_address()), None)
    }

    /// All sectors that the manager knows, by number.
    pub async fn sectors(&self) -> Result<Vec<SectorState>> {
        let manager = self.manager()?;
        let mut all = Vec::new();
        for state in ["online", "offline"] {
            all.extend(manager.typed().list_sectors(state.to_owned(), 0).await?);
        }
        all.sort_by_key(|sector| sector.id.number);
        Ok(all)
    }

    /// The sector's timeline as the manager was told.
    pub async fn timeline(&self, sector: SectorId) -> Result<Vec<TimelineEntry>> {
        Ok(self.manager()?.typed().timeline(sector).await?)
    }

    /// The timeline of the sector that a thread works on, as the worker keeps it.
    pub async fn worker_timeline(&self, thread: u64) -> Result<Vec<TimelineEntry>> {
        Ok(self.worker()?.typed().worker_timeline(thread).await?)
    }

    /// What the worker's threads do.
    pub async fn threads(&self) -> Result<Vec<ThreadInfo>> {
        Ok(self.worker()?.typed().worker_list().await?)
    }
}

impl Drop for House {
    /// Kills what the daemons' own groups do not hold: a child may have a group of its own.
    fn drop(&mut self) {
        for daemon in &self.daemons {
            daemon.borrow_mut().take();
        }
        for (pid, _) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Removes a file that an earlier run wrote, so that the next one is told from it.
fn forget(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}
