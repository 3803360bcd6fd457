//! What is tried with upstream's programs, in order, and the report of it.

use super::{
    Programs,
    cli::{self, Outcome, Record},
    manager,
    mock::Mock,
    scene::{Cast, Scene, Who},
};
use crate::{
    house::{Files, House, MINER, checkout},
    peers::report::{self, Step, Steps},
};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{fs, path::Path, time::Duration};

const SECTORS: u64 = 2;
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_secs(600);

/// In this order: the first gives what upstream's commands print against their own manager.
const CASTS: [Cast; 5] = [
    cast(Who::Upstream, Who::Ours, Who::Ours),
    cast(Who::Ours, Who::Ours, Who::Ours),
    cast(Who::Ours, Who::Upstream, Who::Upstream),
    cast(Who::Ours, Who::Upstream, Who::Ours),
    cast(Who::Ours, Who::Ours, Who::Upstream),
];

const fn cast(manager: Who, worker: Who, children: Who) -> Cast {
    Cast {
        manager,
        worker,
        children,
    }
}

/// `report.json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Of upstream's manager, as it tells it.
    upstream: Option<&'a str>,
    /// Sealed in each cast.
    sectors: u64,
    steps: &'a [Step],
    /// Commands that ask our manager for a method that it does not serve, with the method.
    refused: &'a [String],
    /// What could not be tried, and why.
    left_out: &'a [String],
}

/// What is collected on the way.
#[derive(Debug, Default)]
struct Story {
    steps: Steps,
    upstream: Option<String>,
    refused: Vec<String>,
    left_out: Vec<String>,
    /// What upstream's commands said to their own manager.
    theirs: Option<Record>,
}

/// Runs everything that can be run with what is there, into the folder `out`: a house for each
/// cast, logs, `report.json`. An error if a step failed.
pub async fn run(programs: &Programs, out: &Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)
            .with_context(|| format!("{} of an earlier run cannot be removed", out.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let mut story = Story::default();
    story.begin(programs, out).await?;
    for (number, cast) in CASTS.into_iter().enumerate() {
        if let Some(missing) = cast.missing(programs) {
            let title = cast.title();
            story.leave_out(format!("{title}: there is no {missing} of upstream"));
            continue;
        }
        // our own two are tried everywhere else; here they serve upstream's command line
        if cast == CASTS[1] && programs.manager.is_none() {
            continue;
        }
        let home = out.join(format!("house-{number}"));
        // the step says what went wrong; the others may still do
        let _ = story.play(programs, cast, &home).await;
    }
    story.end(out)
}

impl Story {
    fn leave_out(&mut self, what: String) {
        eprintln!("left out: {what}");
        self.left_out.push(what);
    }

    /// What upstream's manager says of itself, and its `mock`.
    async fn begin(&mut self, programs: &Programs, out: &Path) -> Result<()> {
        let Some(program) = &programs.manager else {
            self.leave_out(
                "upstream's command line: there is no damocles-manager of upstream".to_owned(),
            );
            return Ok(());
        };
        let version = async {
            let version = manager::version(program).await?;
            Ok((version.clone(), version))
        };
        let version = self
            .steps
            .take("upstream's version", SHORT, version)
            .await?;
        self.upstream = Some(version);
        self.mock(programs, program, out).await
    }

    /// Our worker under a manager that keeps no chain: upstream's as it is, or the build of it that
    /// somebody brought because as it is it does not serve.
    async fn mock(&mut self, programs: &Programs, program: &Path, out: &Path) -> Result<()> {
        let house = House::new(&out.join("house-mock"), Files::demo(&checkout()), SECTORS)?;
        let start = async {
            let mock = Mock::start(program, &house).await?;
            let said = match &mock {
                Ok(mock) => format!("serves, as {}", mock.version),
                Err(words) => format!("does not serve in this version: {words}"),
            };
            Ok((mock, said))
        };
        let started = self.steps.take("upstream's mock mode", SHORT, start);
        let mock = match (started.await?, &programs.mock) {
            (Ok(mock), _) => mock,
            (Err(words), None) => {
                self.leave_out(format!("our worker under `mock`: it ends with \"{words}\""));
                return Ok(());
            }
            (Err(words), Some(program)) => {
                self.leave_out(format!(
                    "our worker under `mock` as it is: it ends with \"{words}\""
                ));
                let start = async {
                    let mock = Mock::start(program, &house).await?;
                    let mock = mock.map_err(|words| anyhow::anyhow!("it ends with \"{words}\""))?;
                    let said = format!("serves, as {}", mock.version);
                    Ok((mock, said))
                };
                let name = "upstream's mock mode, as somebody mended it";
                match self.steps.take(name, SHORT, start).await {
                    Ok(mock) => mock,
                    Err(_) => return Ok(()),
                }
            }
        };
        let seal = async { Ok(((), mock.seal(&house, SECTORS).await?)) };
        // the step says what went wrong; the casts may still do
        let _ = self
            .steps
            .take("our worker under upstream's mock mode", LONG, seal)
            .await;
        Ok(())
    }

    /// One cast from an empty house to its end.
    async fn play(&mut self, programs: &Programs, cast: Cast, home: &Path) -> Result<()> {
        let title = cast.title();
        let open = async {
            let scene = Scene::open(home, programs, cast, SECTORS).await?;
            Ok((scene, "chain and manager are up".to_owned()))
        };
        let name = format!("{title}: start");
        let mut scene = self.steps.take(&name, SHORT, open).await?;
        let played = self.acts(&title, cast, &mut scene).await;
        let close = async {
            Ok((
                (),
                scene.close().await.map(|()| "nothing is left".to_owned())?,
            ))
        };
        let name = format!("{title}: stop");
        let closed = self.steps.take(&name, SHORT, close).await;
        played.and(closed)
    }

    async fn acts(&mut self, title: &str, cast: Cast, scene: &mut Scene) -> Result<()> {
        let seal = async { Ok(((), scene.seal().await?)) };
        self.steps
            .take(&format!("{title}: seal"), LONG, seal)
            .await?;
        let prove = async { Ok(((), scene.prove().await?)) };
        let proven = self
            .steps
            .take(&format!("{title}: WindowPoSt"), LONG, prove)
            .await;
        let Some(upstream) = &scene.upstream else {
            return proven;
        };
        if cast.worker != cast.children || cast.worker == Who::Upstream {
            return proven;
        }
        let node = scene.house.node()?;
        let deadline = node.location(MINER, 1).await?.deadline;
        let record = async {
            let record = cli::record(upstream, deadline).await?;
            let words = scene.house.home().with_extension("commands.txt");
            fs::write(&words, cli::told(&record))?;
            let said = format!("{} commands", record.len());
            Ok((record, said))
        };
        let name = format!(
            "upstream's command line against {} manager",
            cast.manager.whose()
        );
        let record = self.steps.take(&name, LONG, record).await?;
        match cast.manager {
            Who::Upstream => self.theirs = Some(record),
            Who::Ours => self.compare(&record).await,
        }
        proven
    }

    /// A step for each command.
    async fn compare(&mut self, ours: &Record) {
        let Some(theirs) = self.theirs.take() else {
            self.leave_out(
                "the comparison of commands: upstream's manager gave nothing to compare with"
                    .to_owned(),
            );
            return;
        };
        for (command, outcome) in cli::compare(&theirs, ours) {
            let name = format!("util {}", command.words);
            let step = async {
                match &outcome {
                    Outcome::Same => Ok(((), "the same shape".to_owned())),
                    Outcome::Refused(method) => {
                        Ok(((), format!("refused: {method} is not served")))
                    }
                    Outcome::Differs(lines) => bail!("{}", lines.join("; ")),
                }
            };
            // a failed step is written down, and the next command has nothing to do with it
            let _ = self.steps.take(&name, SHORT, step).await;
            if let Outcome::Refused(method) = outcome {
                self.refused.push(format!("{name}: Venus.{method}"));
            }
        }
    }

    fn end(&self, out: &Path) -> Result<()> {
        println!("{}", self.steps.table());
        for what in &self.left_out {
            println!("left out: {what}");
        }
        for what in &self.refused {
            println!("refused: {what}");
        }
        let report = Report {
            upstream: self.upstream.as_deref(),
            sectors: SECTORS,
            steps: self.steps.done(),
            refused: &self.refused,
            left_out: &self.left_out,
        };
        let path = out.join("report.json");
        report::write(&path, &report)?;
        println!("report: {}", path.display());
        let failed = self.steps.failed();
        if !failed.is_empty() {
            bail!("{} steps failed: {}", failed.len(), failed.join(", "));
        }
        Ok(())
    }
}
