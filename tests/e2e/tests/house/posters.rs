//! Workers prove: the one that is at a WindowPoSt is killed in the middle, another one takes over,
//! and the deadline is met by one message.

use crate::{mounts, road::SOON};
use anyhow::{Context, Result, ensure};
use damocles_api::{damocles::DamoclesClient, wdpost::WdPoStClient};
use damocles_e2e::{
    house::{Files, House, MINER, Role, manager_at},
    process,
    scenario::{Gate, scenario},
};
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
