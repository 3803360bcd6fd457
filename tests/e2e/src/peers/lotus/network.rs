//! A private network of real Lotus nodes on loopback: a genesis with pre-sealed sectors, a node, a
//! producer of blocks, and a second node that begins at the genesis. They are started, stopped,
//! killed and held as a story likes.

use super::{Programs, chain::Chain};
use crate::{
    process::{self, Daemon},
    rpc::{self, Rpc},
    wait,
};
use anyhow::{Context, Result, ensure};
use damocles_node::AddrInfo;
use damocles_types::Epoch;
use serde_json::json;
use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The miner of the genesis, who makes the blocks.
pub(super) const PRODUCER: &str = "t01000";
/// Sectors of the genesis.
const PRESEALED: &str = "2";
/// How long a node may take until it answers; it migrates its state at upgrades, too.
const START: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(60);

/// What the tests of a node say to switch off its guards against being what it is here: the one
/// producer of a chain that goes back and takes another way.
const CONFIRMED: &str = "_yes_i_know_i_can_and_probably_will_lose_all_my_fil_and_power_";

/// One of the nodes.
#[derive(Debug)]
struct Node {
    repo: PathBuf,
    port: u16,
    daemon: RefCell<Option<Daemon>>,
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    programs: Programs,
    home: PathBuf,
    mark: String,
    first: Node,
    second: Node,
    producer: RefCell<Option<Daemon>>,
    producer_port: u16,
    held: Cell<bool>,
    /// The head when the producer was started.
    since: Cell<Epoch>,
}

impl Network {
    /// A new network below `home`: its genesis is made, a node runs, blocks are made. Its processes
    /// carry `mark`.
    pub(super) async fn begin(programs: &Programs, home: &Path, mark: &str) -> Result<Self> {
        fs::create_dir_all(home.join("logs"))?;
        let node = |name: &str| -> Result<Node> {
            Ok(Node {
                repo: home.join(name),
                port: damocles_test_ports::port(),
                daemon: RefCell::new(None),
            })
        };
        let network = Self {
            programs: programs.clone(),
            home: home.to_owned(),
            mark: mark.to_owned(),
            first: node("first")?,
            second: node("second")?,
            producer: RefCell::new(None),
            producer_port: damocles_test_ports::port(),
            held: Cell::new(false),
            since: Cell::new(0),
        };
        network.make_genesis()?;
        let template = network.path("genesis.json");
        let mut birth = network.node_command(&network.first);
        birth
            .arg(option("--lotus-make-genesis", &network.path("genesis.car")))
            .arg(option("--genesis-template", &template));
        network.start(&network.first, birth, "first").await?;
        let seed = network.path("seed");
        let key = seed.join(format!("pre-seal-{PRODUCER}.key"));
        let mut import = network.command(&network.programs.node, &network.first);
        import.args(["wallet", "import", "--as-default"]).arg(key);
        network.to_its_end(import, "import")?;
        let meta = seed.join(format!("pre-seal-{PRODUCER}.json"));
        let mut init = network.command(&network.programs.miner, &network.first);
        init.args(["init", "--genesis-miner", "--nosync"])
            .args(["--sector-size", "2KiB", "--actor", PRODUCER])
            .arg(option("--pre-sealed-sectors", &seed))
            .arg(option("--pre-sealed-metadata", &meta));
        network.to_its_end(init, "producer-init")?;
        network.start_producer().await?;
        Ok(network)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.home.join(part)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join("logs").join(format!("{name}.log"))
    }

    fn make_genesis(&self) -> Result<()> {
        let seed = |args: &[&str]| {
            let mut command = self.command(&self.programs.seed, &self.first);
            command
                .arg(option("--sector-dir", &self.path("seed")))
                .args(args);
            self.to_its_end(command, "seed")
        };
        let sealed = ["--sector-size", "2KiB", "--num-sectors", PRESEALED];
        seed(&[&["pre-seal"], &sealed[..]].concat())?;
        let template = self.path("genesis.json");
        let template = template.to_string_lossy();
        seed(&["genesis", "new", &template])?;
        let miner = self.path(&format!("seed/pre-seal-{PRODUCER}.json"));
        seed(&["genesis", "add-miner", &template, &miner.to_string_lossy()])
    }

    /// A command with the environment of a node of this network.
    fn command(&self, program: &Path, node: &Node) -> Command {
        let mut command = process::foreign(program);
        command
            .env("LOTUS_PATH", &node.repo)
            .env("LOTUS_MINER_PATH", self.path("producer"))
            .env("LOTUS_SKIP_GENESIS_CHECK", "_yes_")
            .env("LOTUS_NO_SLASHFILTER", CONFIRMED)
            .env("LOTUS_MINER_NO_SLASHFILTER", CONFIRMED)
            // what it has finalised could not be taken back
            .env("LOTUS_F3_ENABLED", "0")
            .env("LOTUS_LIBP2P_LISTENADDRESSES", "/ip4/127.0.0.1/tcp/0")
            .env("BELLMAN_NO_GPU", "1")
            .env("TRUST_PARAMS", "1");
        command
    }

    fn node_command(&self, node: &Node) -> Command {
        let mut command = self.command(&self.programs.node, node);
        let port = node.port.to_string();
        command.args(["daemon", "--bootstrap=false", "--api", &port]);
        command
    }

    /// Runs a command that ends by itself; it must end well.
    fn to_its_end(&self, mut command: Command, log: &str) -> Result<()> {
        let log = self.log(log);
        let out = File::options().create(true).append(true).open(&log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let ended = command
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .status()
            .with_context(|| format!("{program} cannot be started"))?;
        let tail = || process::tail(&log, 15);
        ensure!(ended.success(), "{program} ended with {ended}:\n{}", tail());
        Ok(())
    }

    async fn start(&self, node: &Node, command: Command, name: &str) -> Result<()> {
        let api = node.repo.join("api");
        match fs::remove_file(&api) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let daemon = Daemon::start(name, &self.mark, command, &self.log(name))?;
        *node.daemon.borrow_mut() = Some(daemon);
        wait::until(format!("the {name} node to answer"), START, async || {
            let alive = node.daemon.borrow_mut().as_mut().map(Daemon::check_alive);
            if let Some(Err(dead)) = alive {
                return Ok(Some(Err(dead)));
            }
            if rpc::read_api(&api).is_none() {
                return Ok(None);
            }
            let height = self.door(node)?.height().await?;
            Ok(Some(Ok(height)))
        })
        .await?
        .map(drop)
    }

    fn door(&self, node: &Node) -> Result<Chain> {
        let url = format!("http://{}/rpc/v1", address(node));
        Ok(Chain::new(Rpc::new(&url, Some(&token(node)?))?))
    }

    /// The first node's door.
    pub(super) fn chain(&self) -> Result<Chain> {
        self.door(&self.first)
    }

    /// `host:port` of the first node.
    pub(super) fn address(&self) -> String {
        address(&self.first)
    }

    /// A token of the first node that allows everything.
    pub(super) fn token(&self) -> Result<String> {
        token(&self.first)
    }

    /// Token and address of a node as `[Common.API]` has them; `instead` of its own address.
    pub(super) fn info(&self, instead: Option<&str>) -> Result<String> {
        info(&self.first, instead)
    }

    pub(super) fn second_info(&self) -> Result<String> {
        info(&self.second, None)
    }

    /// Kills the first node and the producer, who asks it.
    pub(super) fn kill(&self) -> Result<()> {
        self.stop_producer()?;
        kill(&self.first)
    }

    /// Starts the first node again; the producer is not started.
    pub(super) async fn revive(&self) -> Result<()> {
        let command = self.node_command(&self.first);
        self.start(&self.first, command, "first").await
    }

    /// Starts the second node, which has the genesis alone and knows nobody.
    pub(super) async fn start_second(&self) -> Result<()> {
        let mut command = self.node_command(&self.second);
        command.arg(option("--genesis", &self.path("genesis.car")));
        self.start(&self.second, command, "second").await
    }

    /// The height of the second node's head.
    pub(super) async fn second_height(&self) -> Result<i64> {
        self.door(&self.second)?.height().await
    }

    /// The nodes hear of each other.
    pub(super) async fn connect(&self) -> Result<()> {
        let listens: AddrInfo = self
            .door(&self.first)?
            .rpc
            .call("Filecoin.NetAddrsListen", [])
            .await?;
        let second = self.door(&self.second)?;
        second
            .rpc
            .call::<serde_json::Value>("Filecoin.NetConnect", [json!(listens)])
            .await
            .map(drop)
    }

    /// Blocks are made from now on.
    pub(super) async fn start_producer(&self) -> Result<()> {
        let mut command = self.command(&self.programs.miner, &self.first);
        let port = self.producer_port.to_string();
        command.args(["run", "--nosync", "--miner-api", &port]);
        let daemon = Daemon::start("producer", &self.mark, command, &self.log("producer"))?;
        *self.producer.borrow_mut() = Some(daemon);
        self.held.set(false);
        self.since.set(self.chain()?.height().await?);
        self.grown(2).await
    }

    /// The height from which on the producer knows what it made.
    pub(super) fn producing_since(&self) -> Epoch {
        self.since.get()
    }

    /// No blocks are made any more.
    pub(super) fn stop_producer(&self) -> Result<()> {
        match self.producer.borrow_mut().take() {
            Some(mut producer) => producer.kill9(),
            None => Ok(()),
        }
    }

    /// The chain stands still, until [`Network::go_on`].
    pub(super) fn hold(&self) {
        if let Some(producer) = self.producer.borrow().as_ref() {
            producer.stand_still();
            self.held.set(true);
        }
    }

    pub(super) fn go_on(&self) {
        if let Some(producer) = self.producer.borrow().as_ref() {
            producer.go_on();
            self.held.set(false);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.get()
    }

    /// Waits until the chain has grown by so many epochs.
    pub(super) async fn grown(&self, epochs: i64) -> Result<()> {
        let chain = self.chain()?;
        let begin = chain.height().await?;
        wait::until(format!("epoch {}", begin + epochs), START, async || {
            Ok((chain.height().await? >= begin + epochs).then_some(()))
        })
        .await
    }

    /// Stops everything the gentle way.
    pub(super) fn close(&self) -> Result<()> {
        self.go_on();
        let mut running = vec![self.producer.borrow_mut().take()];
        for node in [&self.second, &self.first] {
            running.push(node.daemon.borrow_mut().take());
        }
        for mut daemon in running.into_iter().flatten() {
            daemon.stop(STOP)?;
        }
        Ok(())
    }

    /// The ends of all logs.
    pub(super) fn tails(&self, lines: usize) -> String {
        ["first", "second", "producer"]
            .map(|name| {
                let log = self.log(name);
                format!("{}:\n{}", log.display(), process::tail(&log, lines))
            })
            .join("\n")
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn address(node: &Node) -> String {
    format!("127.0.0.1:{}", node.port)
}

fn token(node: &Node) -> Result<String> {
    let path = node.repo.join("token");
    let token =
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(token.trim().to_owned())
}

fn info(node: &Node, instead: Option<&str>) -> Result<String> {
    let own = address(node);
    let (host, port) = instead
        .unwrap_or(&own)
        .rsplit_once(':')
        .context("an address has a port")?;
    Ok(format!("{}:/ip4/{host}/tcp/{port}/http", token(node)?))
}

fn kill(node: &Node) -> Result<()> {
    match node.daemon.borrow_mut().take() {
        Some(mut daemon) => daemon.kill9(),
        None => Ok(()),
    }
}
