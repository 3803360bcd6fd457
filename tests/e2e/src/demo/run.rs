//! The demo from start to end: starts the house, watches until every sector is proven, sums
//! up, and leaves nothing behind.

use crate::{
    alone,
    demo::{
        screen::Screen,
        summary::{SectorSummary, Summary},
        view::{OnChain, Sector},
    },
    house::{Files, House, MINER, Role},
    node::{PRE_COMMIT, PROVE_COMMIT},
};
use anyhow::{Context, Result, bail};
use damocles_node::DeadlineInfo;
use damocles_types::Epoch;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// Pause between two looks at the house.
const LOOK: Duration = Duration::from_millis(500);
/// Between two blocks, as the house starts its devnet, and where all that is left is to wait for a
/// window.
const BLOCK: Duration = Duration::from_millis(500);
const FAST_BLOCK: Duration = Duration::from_millis(50);
/// Epochs before a window opens, in which blocks come at the usual pace: a look at a busy house takes
/// a while, in which time runs on.
const NEAR: Epoch = 30;
/// No sector stands in one place for longer than this, or the demo has failed.
const STALL: Duration = Duration::from_secs(600);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    pub sectors: u64,
    /// Stay up after the end, until Ctrl-C.
    pub keep: bool,
    /// The folder that holds `config-examples`.
    pub checkout: PathBuf,
    /// Where logs, sectors and `summary.json` go.
    pub out: PathBuf,
}

/// How a demo ended, other than by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Proven,
    Interrupted,
}

/// Runs the demo. On failure `summary.json` says why, and the error names the logs.
pub async fn run(options: &Options) -> Result<End> {
    fs::create_dir_all(&options.out)
        .with_context(|| format!("{} cannot be made", options.out.display()))?;
    let _lock = alone::hold(&options.out)?;
    let home = options.out.join("home");
    if home.exists() {
        fs::remove_dir_all(&home)
            .with_context(|| format!("{} of an earlier run cannot be removed", home.display()))?;
    }
    let summary = options.out.join("summary.json");
    if summary.exists() {
        fs::remove_file(&summary).context("the summary of an earlier run cannot be removed")?;
    }

    let house = House::new(&home, Files::demo(&options.checkout), options.sectors)?;
    let mut demo = Demo {
        house: &house,
        options,
        screen: Screen::new(),
        started: Instant::now(),
        sectors: Vec::new(),
        fast: false,
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut result = tokio::select! {
        result = demo.seal() => result.map(|()| End::Proven),
        _ = interrupt.recv() => Ok(End::Interrupted),
        _ = terminate.recv() => Ok(End::Interrupted),
    };
    demo.screen.clear();
    demo.sum_up(&result, &summary)?;
    if options.keep && matches!(result, Ok(End::Proven)) {
        demo.tell_what_to_try()?;
        let stayed = tokio::select! {
            dead = demo.stay() => dead,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        result = stayed.map(|()| End::Proven);
    }
    if result.is_ok() {
        demo.screen.say("stopping");
    }
    // a second Ctrl-C does not wait for the gentle way; dropping the house kills what is left
    let closed = tokio::select! {
        closed = house.close() => closed,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let end = result.with_context(|| format!("the demo failed; logs: {}", demo.logs()))?;
    closed?;
    Ok(end)
}

struct Demo<'a> {
    house: &'a House,
    options: &'a Options,
    screen: Screen,
    started: Instant,
    /// As last seen, by number.
    sectors: Vec<Sector>,
    /// Whether blocks come faster now, as there is nothing to do.
    fast: bool,
}

impl Demo<'_> {
    fn logs(&self) -> String {
        self.house.path("logs").display().to_string()
    }

    /// Starts everything and returns when all sectors are proven.
    async fn seal(&mut self) -> Result<()> {
        self.screen.say("starting the devnet");
        self.house.start_devnet().await?;
        self.screen.say("starting the manager");
        self.house.start_manager().await?;
        self.screen.say("starting the worker");
        self.house.start_worker().await?;
        self.screen.say(&format!(
            "sealing {} sectors; logs: {}",
            self.options.sectors,
            self.logs()
        ));
        self.watch().await
    }

    async fn watch(&mut self) -> Result<()> {
        let limit = Duration::from_secs(600 + 300 * self.options.sectors);
        let mut moved = Instant::now();
        let mut places = Vec::new();
        let mut unanswered: Option<anyhow::Error>;
        loop {
            self.house.check_alive()?;
            match self.look().await {
                Ok(deadline) => {
                    let rows: Vec<_> = self.sectors.iter().map(|s| s.row(&deadline)).collect();
                    self.screen.show(deadline.current_epoch, &rows);
                    unanswered = self.pace(&deadline).await.err();
                    let now: Vec<_> = rows
                        .iter()
                        .map(|row| (row.sector, row.stage.clone()))
                        .collect();
                    if now != places {
                        places = now;
                        moved = Instant::now();
                    }
                }
                // a busy machine answers late; for how long is bounded below
                Err(error) => {
                    // nobody knows how near a window is
                    let _ = self.blocks(false).await;
                    unanswered = Some(error);
                }
            }
            if let Some((id, trouble)) = self
                .sectors
                .iter()
                .find_map(|sector| Some((sector.id(), sector.trouble()?)))
            {
                bail!("{id} {trouble}");
            }
            let proven = self
                .sectors
                .iter()
                .filter(|sector| sector.is_proven())
                .count();
            if proven as u64 == self.options.sectors {
                return Ok(());
            }
            let stalled = moved.elapsed() >= STALL;
            if stalled || self.started.elapsed() >= limit {
                let why = if stalled {
                    format!("nothing moved for {} s", STALL.as_secs())
                } else {
                    format!("not done within {} s", limit.as_secs())
                };
                bail!("{why}; {}", self.standing(unanswered.as_ref()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets blocks come faster while all sectors wait for a window that is far away.
    async fn pace(&mut self, deadline: &DeadlineInfo) -> Result<()> {
        let all = self.sectors.len() as u64 == self.options.sectors;
        let rests = self.sectors.iter().filter_map(|s| s.rests_for(deadline));
        self.blocks(all && rests.min().is_some_and(|epochs| epochs > NEAR))
            .await
    }

    /// Lets blocks come fast, or at the usual pace.
    async fn blocks(&mut self, fast: bool) -> Result<()> {
        if fast == self.fast {
            return Ok(());
        }
        let (block, says) = match fast {
            true => (
                FAST_BLOCK,
                "nothing to do until a window is near: blocks come ten times as fast",
            ),
            false => (BLOCK, "a window is near: blocks come at the usual pace"),
        };
        self.house.node()?.set_block_time(block).await?;
        self.screen.say(says);
        self.fast = fast;
        Ok(())
    }

    /// Where each sector stands, for the report of a failure.
    fn standing(&self, unanswered: Option<&anyhow::Error>) -> String {
        let mut places: Vec<String> = self
            .sectors
            .iter()
            .map(|sector| {
                let state = sector.state.latest_state.as_ref();
                let state = state.map_or("unknown", |report| report.state_change.next.as_str());
                let active = if sector.chain.activation.is_some() {
                    ", active, waits for its WindowPoSt"
                } else {
                    ""
                };
                format!("{} is in state {state}{active}", sector.id())
            })
            .collect();
        if places.is_empty() {
            places.push("no sector was begun".to_owned());
        }
        if let Some(error) = unanswered {
            places.push(format!("the last question was not answered: {error:#}"));
        }
        places.join("; ")
    }

    /// Asks everybody about every sector.
    async fn look(&mut self) -> Result<DeadlineInfo> {
        let node = self.house.node()?;
        let deadline = node.deadline(MINER).await?;
        let posts = node.posts(MINER).await?;
        let threads = self.house.threads().await?;
        let mut sectors = Vec::new();
        for state in self.house.sectors().await? {
            let number = state.id.number;
            let mut chain = OnChain {
                precommit: accepted(node.messages(MINER, PRE_COMMIT, number).await?),
                commit: accepted(node.messages(MINER, PROVE_COMMIT, number).await?),
                ..OnChain::default()
            };
            if let Some(info) = node.sector(MINER, number).await? {
                chain.activation = Some(info.activation);
                chain.location = Some(node.location(MINER, number).await?);
                chain.post = posts
                    .iter()
                    .find(|post| post.sectors.contains(&number))
                    .cloned();
            }
            let job = state.id.to_string();
            sectors.push(Sector {
                timeline: self.house.timeline(state.id).await?,
                thread: threads
                    .iter()
                    .find(|thread| thread.job_id.as_ref() == Some(&job))
                    .cloned(),
                state,
                chain,
            });
        }
        self.sectors = sectors;
        Ok(deadline)
    }

    /// Writes `summary.json` and, when all went well, prints the tables.
    fn sum_up(&self, result: &Result<End>, path: &Path) -> Result<()> {
        let ok = matches!(result, Ok(End::Proven));
        let error = match result {
            Ok(End::Proven) => None,
            Ok(End::Interrupted) => Some("interrupted".to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
        let summary = Summary {
            ok,
            error,
            logs: (!ok).then(|| self.logs()),
            seconds: self.started.elapsed().as_secs_f64(),
            sectors: self.sectors.iter().map(SectorSummary::of).collect(),
        };
        summary.write(path)?;
        if ok {
            println!("{}", summary.tables());
            println!(
                "{} sectors sealed and proven in {:.0} s; whole CIDs: {}",
                summary.sectors.len(),
                summary.seconds,
                path.display()
            );
        }
        Ok(())
    }

    /// Doors, keys and three commands.
    fn tell_what_to_try(&self) -> Result<()> {
        let manager = crate::process::program(Role::Manager.program())?;
        let worker = crate::process::program(Role::Worker.program())?;
        let home = self.house.home().display();
        let node = self.house.node_address()?;
        println!(
            "\nEverything stays up until Ctrl-C.
  node     http://{node}/rpc/v1   admin token: {token}
  manager  http://{manager_address}/rpc/v0   admin token: {manager_token}
  worker   http://{worker_address}   needs no token from this host
  files    {home}

Try:
  {manager} --home {home}/manager util sealer sectors state {MINER} 1
  {worker} worker -c {home}/worker.toml list
  {manager} --home {home}/manager util sealer proving posts {MINER}\n",
            token = self.house.node_token()?,
            manager_token = self.house.manager_token()?,
            manager_address = self.house.manager_address()?,
            worker_address = self.house.worker_address(),
            manager = manager.display(),
            worker = worker.display(),
        );
        Ok(())
    }

    /// Ends when a daemon does.
    async fn stay(&self) -> Result<()> {
        loop {
            self.house.check_alive()?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The message that did it; failed ones before it do not count.
fn accepted(
    messages: Vec<damocles_node::devnet::MessageRecord>,
) -> Option<damocles_node::devnet::MessageRecord> {
    messages.into_iter().find(|message| message.exit_code == 0)
}
