//! Workers prove: the one that is at a WindowPoSt is killed in the middle, another one takes over,
//! and the deadline is met by one message. And a manager that only proves, by a program of its own
//! and for another one that seals.

use crate::{mounts, road::SOON};
use anyhow::{Context, Result, ensure};
use damocles_api::{damocles::DamoclesClient, sealer_cli::SealerCliClient, wdpost::WdPoStClient};
use damocles_e2e::{
    house::{Files, House, MINER, Role, manager_at},
    process, rpc,
    scenario::{Gate, scenario},
};
use damocles_test_postgres::Server;
use damocles_types::SectorId;
use serde_json::Value;
use std::{fs, time::Duration};

/// SubmitWindowedPoSt.
const SUBMIT: u64 = 5;
const SECTORS: u64 = 2;

#[test]
fn a_killed_workers_windowpost_is_proven_by_another_in_the_same_window() {
    let limit = Duration::from_secs(600);
    scenario("posters", Files::posters(), 0, limit, async |house| {
        let gate = Gate::of(house, "window_post");
        gate.shut("before")?;
        let opens = chain(house).await?;
        house.manager_with(&["--worker-prover"]);
        house.start_manager().await?;
        house.start_worker().await?;
        house
            .until("the first worker to prove", SOON, async || {
                Ok(gate.holds().then_some(()))
            })
            .await?;
        let manager = house.manager()?;
        let job = manager.typed().wd_post_all_jobs().await?.jobs.remove(0);
        ensure!(
            (job.state.as_str(), job.worker_name.as_str()) == ("running", "first"),
            "{job:#?}"
        );
        ensure!((job.open, job.sectors) == (opens, 2), "{job:#?}");
        shown(house, &job.id).await?;

        house.kill9(Role::Worker)?;
        let mut second = start_second(house)?;
        let landed = house
            .until("the WindowPoSt to land", SOON, async || {
                let posts = manager.typed().window_posts(MINER, 10).await?;
                Ok(posts.into_iter().find(|post| post.state == "Landed"))
            })
            .await?;
        ensure!(
            landed.open == opens && landed.skipped.is_empty(),
            "in its window, with every sector: {landed:#?}"
        );
        let jobs = manager.typed().wd_post_all_jobs().await?.jobs;
        ensure!(jobs.len() == 1, "one job: {jobs:#?}");
        ensure!(
            (jobs[0].worker_name.as_str(), jobs[0].try_num) == ("second", 2),
            "{jobs:#?}"
        );
        ensure!(gate.calls().1 == 0, "the first one never answered");
        let node = house.node()?;
        let sent = node.all_messages(MINER, SUBMIT).await?;
        ensure!(
            sent.len() == 1 && sent[0].exit_code == 0,
            "one message: {sent:#?}"
        );
        ensure!(node.faults(MINER).await?.is_empty(), "nothing is faulty");
        second.stop(Duration::from_secs(30))?;
        Ok(())
    });
}

#[test]
fn a_manager_that_only_proves_asks_the_one_that_seals() {
    let limit = Duration::from_secs(600);
    scenario("proxy", Files::posters(), 0, limit, async |house| {
        let opens = chain(house).await?;
        // the one that seals, and has found what lies in the store
        start_sealer(house).await?;
        let address = house.manager_address()?;
        let prove = ["--ext-prover", "--roles", "post,messages,stores"];
        let mut poster = start_poster(house, &[&prove[..], &["--proxy", &address]].concat())?;
        let node = house.node()?;
        let landed = house.until("a WindowPoSt on chain", SOON, async || {
            let sent = node.all_messages(MINER, SUBMIT).await?;
            Ok((!sent.is_empty()).then_some(sent))
        });
        let sent = landed.await?;
        ensure!(
            sent.len() == 1 && sent[0].exit_code == 0 && sent[0].epoch >= opens,
            "one message in its window: {sent:#?}"
        );
        let proven = node.posts(MINER).await?;
        ensure!(
            proven.len() == 1 && proven[0].sectors.len() as u64 == SECTORS,
            "with every sector: {proven:#?}"
        );
        let page = rpc::get(&house.manager_address()?, "/metrics").await?.1;
        let asked = page.lines().find(|line| {
            line.contains("duration_ms_count") && line.contains("Venus.SectorIndexerFind")
        });
        let asked = asked.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        ensure!(
            asked.is_some_and(|asked| asked > SECTORS),
            "the poster asked as well: {asked:?}"
        );
        poster.stop(Duration::from_secs(30))?;
        Ok(())
    });
}

#[test]
fn on_a_shared_database_one_manager_proves_what_another_one_seals() {
    let Some(server) = Server::start("") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder for the config");
    let mut files = Files::posters();
    let config = fs::read_to_string(&files.manager).expect("the config is read");
    let database = format!(
        "\n[Common.DB]\nDriver = \"postgres\"\n\n[Common.DB.Postgres]\nDSN = {:?}\n",
        server.dsn()
    );
    files.manager = dir.path().join("manager.cfg");
    fs::write(&files.manager, config + &database).expect("the config is written");
    let limit = Duration::from_secs(600);
    scenario("only-proves", files, 0, limit, async |house| {
        let opens = chain(house).await?;
        start_sealer(house).await?;
        let mut poster = start_poster(house, &["--roles", "post,stores"])?;
        let manager = house.manager()?;
        let landed = house.until("the WindowPoSt to land", SOON, async || {
            let posts = manager.typed().window_posts(MINER, 10).await?;
            Ok(posts.into_iter().find(|post| post.state == "Landed"))
        });
        let landed = landed.await?;
        ensure!(
            landed.open == opens && landed.skipped.is_empty(),
            "in its window, with every sector: {landed:#?}"
        );
        // proven there, sent by the one that sends
        let by = async |role: &str| -> Result<String> {
            let roles = manager.typed().roles().await?;
            let held = roles.into_iter().find(|held| held.role == role);
            held.and_then(|held| held.by).context("the role is held")
        };
        let (proves, sends) = (by("post").await?, by("messages").await?);
        ensure!(proves != sends, "{proves} and {sends}");
        poster.stop(Duration::from_secs(30))?;
        Ok(())
    });
}

/// The manager that seals and proves nothing; it has found what lies in the store.
async fn start_sealer(house: &House) -> Result<()> {
    house.manager_with(&["--roles", "rpc,commit,messages,stores"]);
    house.start_manager().await?;
    let manager = house.manager()?;
    for number in 0..SECTORS {
        let sector = SectorId::new(MINER, number);
        let found = house.until("the sealing manager's index", SOON, async || {
            let kind = "normal".to_owned();
            let found = manager.typed().sector_indexer_find(kind, sector).await?;
            Ok(found.found.then_some(()))
        });
        found.await?;
    }
    Ok(())
}

/// A manager with a home of its own that only proves; there is a program by which it may.
fn start_poster(house: &House, words: &[&str]) -> Result<process::Daemon> {
    let home = house.path("poster");
    let init = manager_at(&home)?.args(["daemon", "init"]).output()?;
    ensure!(init.status.success(), "{init:?}");
    let sealing = fs::read_to_string(house.path("manager/sector-manager.cfg"))?;
    let ours: Vec<_> = sealing
        .lines()
        .filter(|l| !l.contains("damocles.attach"))
        .collect();
    fs::write(home.join("sector-manager.cfg"), ours.join("\n"))?;
    let prover = process::program(Role::Worker.program())?;
    let programs = format!(
        "[[WdPost]]\nBin = {:?}\nArgs = [\"processor\", \"window_post\"]\nReadyTimeoutSecs = 60\n",
        prover.display().to_string()
    );
    fs::write(home.join("ext-prover.cfg"), programs)?;
    let mut command = manager_at(&home)?;
    command
        .args(["daemon", "run", "--listen", "127.0.0.1:0", "--poster"])
        .args(words);
    house.start_beside("poster", command)
}

/// A chain whose miner has sectors in a store, shortly before their window; when that opens.
async fn chain(house: &House) -> Result<i64> {
    house.devnet_with(&["--preseal", &SECTORS.to_string()]);
    house.start_devnet().await?;
    let node = house.node()?;
    let store = house.path("persist");
    for dir in ["sealed", "cache"] {
        fs::create_dir_all(store.join(dir))?;
    }
    for number in 0..SECTORS {
        for dir in ["sealed", "cache"] {
            let place = format!("{dir}/{}", SectorId::new(MINER, number));
            let from = house.path("devnet/presealed").join(&place);
            fs::rename(from, store.join(&place))?;
        }
    }
    mounts::mark(&store)?;
    let opens = node.next_opening(MINER, 0).await?;
    let lookback = node.deadline(MINER).await?.wpost_challenge_lookback;
    let far = opens - lookback - 5 - node.epoch().await?;
    node.mine(u64::try_from(far).unwrap_or(0)).await?;
    node.set_block_time(Duration::from_secs(1)).await?;
    Ok(opens)
}

/// What a person sees of the job, at the manager and at the worker.
async fn shown(house: &House, job: &str) -> Result<()> {
    let out = manager_at(&house.path("manager"))?
        .args(["util", "worker", "wdpost", "list", "--json"])
        .output()?;
    let list: Value = serde_json::from_slice(&out.stdout).context("the list is JSON")?;
    ensure!(list["Jobs"][0]["Id"] == job, "{list:#}");
    let thread = house.threads().await?.remove(0);
    ensure!(
        (thread.plan.as_str(), thread.job_id.as_deref()) == ("wdpost", Some(job)),
        "{thread:#?}"
    );
    Ok(())
}

/// Another worker, whose processor no gate stands before.
fn start_second(house: &House) -> Result<process::Daemon> {
    let first = fs::read_to_string(house.path("worker.toml"))?;
    let (ours, _gate) = first
        .split_once("[[processors.window_post]]")
        .context("the gate is at the end")?;
    let port = damocles_test_ports::port();
    let ours = ours.replace("\"first\"", "\"second\"").replace(
        &house.worker_address().replace("127.0.0.1:", ""),
        &port.to_string(),
    );
    let config = house.path("second.toml");
    fs::write(&config, ours)?;
    let mut command = process::command(Role::Worker.program())?;
    command.args(["daemon", "-c"]).arg(&config);
    house.start_beside("second-worker", command)
}
