//! What a disk can do to a daemon between two starts: a bit of a log turned over, a log cut or
//! gone, a directory empty because its disk is not mounted. Each time everything is put back as
//! it was, so that the house goes on.

use anyhow::{Context, Result, bail, ensure};
use damocles_api::sealer::SealerClient;
use damocles_api::sector::AllocateSectorSpec;
use damocles_e2e::{
    copy::copy,
    house::{House, Role},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);

/// What happened to the files.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Bit,
    Half,
    EmptyLog,
    NoLog,
    EmptyDatabase,
    Empty,
}

impl Damage {
    /// A home that is empty altogether is no manager's any more: whoever configures a new one
    /// there has another manager, which workers tell from theirs.
    const OF_MANAGERS: [Self; 5] = [
        Self::Bit,
        Self::Half,
        Self::EmptyLog,
        Self::NoLog,
        Self::EmptyDatabase,
    ];
    const OF_STORES: [Self; 3] = [Self::Empty, Self::Bit, Self::EmptyDatabase];

    const fn words(self) -> &'static str {
        match self {
            Self::Bit => "a bit of the log turned over",
            Self::Half => "the log cut to its half",
            Self::EmptyLog => "the log emptied",
            Self::NoLog => "the log removed",
            Self::EmptyDatabase => "the database's directory emptied",
            Self::Empty => "everything removed",
        }
    }

    /// `database` lies in `home`.
    fn happens(self, home: &Path, database: &Path) -> Result<()> {
        match self {
            Self::EmptyDatabase => return empty(database),
            Self::Empty => return empty(home),
            _ => {}
        }
        let log = newest_log(database)?;
        let mut bytes = fs::read(&log)?;
        ensure!(bytes.len() > 3, "{} has something in it", log.display());
        match self {
            Self::Bit => {
                let third = bytes.len() / 3;
                bytes[third] ^= 4;
            }
            Self::Half => bytes.truncate(bytes.len() / 2),
            Self::EmptyLog => bytes.clear(),
            Self::NoLog => return Ok(fs::remove_file(&log)?),
            Self::EmptyDatabase | Self::Empty => {}
        }
        Ok(fs::write(&log, bytes)?)
    }
}

/// The log with something in it that was written last.
fn newest_log(database: &Path) -> Result<PathBuf> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(database)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "log") && entry.metadata()?.len() > 0 {
            logs.push(path);
        }
    }
    logs.sort();
    logs.pop()
        .with_context(|| format!("{} has a log", database.display()))
}

/// The folder below `root` that holds a database.
fn database_in(root: &Path) -> Result<PathBuf> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("CURRENT").is_file() {
            return Ok(folder);
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    bail!("{} holds a database", root.display())
}

fn empty(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir)?;
    Ok(fs::create_dir(dir)?)
}

/// Does each damage to the manager's home. It must refuse to start and say what to do, or start
/// and hand out none of the `given` numbers again. Returns what happened, and what is a fault.
pub(crate) async fn of_manager(
    house: &House,
    given: &BTreeSet<u64>,
) -> Result<Vec<(String, Result<String>)>> {
    house.stop(Role::Manager)?;
    let (home, whole) = (house.path("manager"), house.path("manager.whole"));
    fs::rename(&home, &whole)?;
    let mut told = Vec::new();
    for damage in Damage::OF_MANAGERS {
        copy(&whole, &home)?;
        damage.happens(&home, &database_in(&home)?)?;
        let outcome = match house.start_manager().await {
            Err(error) => refused(&format!("{error:#}")),
            Ok(()) => numbers_go_on(house, given).await,
        };
        house.bury(Role::Manager);
        fs::remove_dir_all(&home)?;
        told.push((format!("manager: {}", damage.words()), outcome));
    }
    fs::rename(&whole, &home)?;
    house.start_manager().await?;
    Ok(told)
}

fn refused(error: &str) -> Result<String> {
    let code = error
        .split_once("exit status: ")
        .and_then(|(_, rest)| rest.split([')', ';']).next())
        .with_context(|| format!("it neither started nor ended: {error}"))?;
    ensure!(error.contains("hint"), "what to do: {error}");
    Ok(format!("refused to start, exit code {code}"))
}

async fn numbers_go_on(house: &House, given: &BTreeSet<u64>) -> Result<String> {
    let manager = house.manager()?;
    let mut next = Vec::new();
    for _ in 0..5 {
        let spec = AllocateSectorSpec::default();
        let sector = manager.typed().allocate_sector(spec).await?;
        next.push(sector.context("a number")?.id.number);
    }
    let again: Vec<_> = next.iter().filter(|n| given.contains(n)).collect();
    ensure!(
        again.is_empty(),
        "it started, and handed out again: {again:?}"
    );
    Ok(format!("started; the next number is {}", next[0]))
}

/// Empties a thread's store, as when its disk is not mounted, and then damages its log: the
/// thread must not begin anything there, and with the store back it has its sector again.
pub(crate) async fn of_worker(house: &House) -> Result<Vec<(String, Result<String>)>> {
    let before = jobs(house).await?;
    house.stop(Role::Worker)?;
    let (store, whole) = (house.path("threads/0"), house.path("threads.whole"));
    fs::rename(&store, &whole)?;
    let mut told = Vec::new();
    for damage in Damage::OF_STORES {
        copy(&whole, &store)?;
        damage.happens(&store, &database_in(&store)?)?;
        let outcome = match house.start_worker().await {
            Err(error) => refused(&format!("{error:#}")),
            Ok(()) => stands(house, &before[0]).await,
        };
        house.bury(Role::Worker);
        house.wait_until_no(Role::Worker).await?;
        fs::remove_dir_all(&store)?;
        told.push((format!("sealing store: {}", damage.words()), outcome));
    }
    fs::rename(&whole, &store)?;
    house.start_worker().await?;
    house
        .until("every thread to have its sector again", SOON, async || {
            Ok((jobs(house).await? == before).then_some(()))
        })
        .await?;
    Ok(told)
}

async fn jobs(house: &House) -> Result<Vec<Option<String>>> {
    Ok(house
        .threads()
        .await?
        .into_iter()
        .map(|t| t.job_id)
        .collect())
}

/// Thread 0 says what is wrong and works on no other sector.
async fn stands(house: &House, job: &Option<String>) -> Result<String> {
    let thread = house
        .until("the thread to say what is wrong", SOON, async || {
            let thread = house.threads().await?.into_iter().next().context("one")?;
            let said = thread.last_error.is_some() || thread.job_id.is_some();
            Ok(said.then_some(thread))
        })
        .await?;
    ensure!(
        thread.job_id.is_none() || thread.job_id == *job,
        "it began another sector: {thread:#?}"
    );
    ensure!(thread.hint.is_some(), "what to do: {thread:#?}");
    Ok(format!(
        "the thread stands: {}",
        thread.last_error.unwrap_or_default()
    ))
}
