//! `make demo` itself: what it leaves on success and on Ctrl-C, and that what it tells people
//! to try with KEEP=1 works.

use anyhow::{Context, Result, bail, ensure};
use damocles_api::{sealer_cli::SealerCliClient, worker::WorkerClient};
use damocles_e2e::{house::checkout, process, rpc::Rpc, scenario::turn, usage, wait};
use damocles_node::method;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

/// With KEEP, so that one sealed sector serves for both: what a demo leaves, and what it says
/// can be done with a house that stays up.
#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "one thread; the lock keeps scenarios apart"
)]
async fn one_sector_from_nothing_to_proven() -> Result<()> {
    let _turn = turn();
    let out = tempfile::tempdir()?;
    let mut demo = demo(out.path(), "whole", "1")?;
    let mut output = BufReader::new(demo.stdout.take().context("piped")?);
    let mut lines = String::new();
    let commands = loop {
        if let Some(commands) = three_commands(&lines) {
            break commands;
        }
        if output.read_line(&mut lines)? == 0 {
            bail!("it ended with {}:\n{lines}", demo.wait()?);
        }
    };
    let sector = summed_up(out.path())?;
    ensure!(lines.contains("s-t01000-1"), "a table:\n{lines}");
    doors_open(&lines).await?;
    let [state, list, posts] = &commands;
    let precommit = sector["precommit_cid"].as_str().context("a CID")?;
    let shown = typed(state)?;
    ensure!(
        state.ends_with("util sealer sectors state 1000 1"),
        "{state}"
    );
    ensure!(
        shown.contains("s-t01000-1") && shown.contains(precommit),
        "{shown}"
    );
    let shown = typed(list)?;
    ensure!(
        shown.contains("sealer") && shown.contains("threads"),
        "{shown}"
    );
    let shown = typed(posts)?;
    ensure!(
        shown.contains("Landed") || shown.contains("Submitted"),
        "{shown}"
    );

    interrupt(&demo, Signal::INT)?;
    output.read_to_string(&mut lines)?;
    let status = demo.wait()?;
    ensure!(status.success(), "{status}:\n{lines}");
    let left = usage::marked("whole");
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// The commands to try, once all have been said.
fn three_commands(lines: &str) -> Option<[String; 3]> {
    let (_, try_these) = lines.split_once("Try:\n")?;
    let whole = try_these
        .split_inclusive('\n')
        .filter(|l| l.ends_with('\n'));
    let commands: Vec<_> = whole.map(|l| l.trim().to_owned()).take(3).collect();
    commands.try_into().ok()
}

/// Does what a command line says; what it prints.
fn typed(line: &str) -> Result<String> {
    let done = process::typed(line).output()?;
    ensure!(done.status.success(), "{line}\n{done:?}");
    Ok(String::from_utf8(done.stdout)?)
}

/// The addresses and tokens that were printed serve.
async fn doors_open(lines: &str) -> Result<()> {
    let door = |who: &str| {
        let line = lines.lines().find(|l| l.trim().starts_with(who));
        let line = line.with_context(|| format!("a line of {who}:\n{lines}"))?;
        let url = line.split_whitespace().nth(1).context("an address")?;
        let token = line.split_once("token: ").map(|(_, token)| token.trim());
        anyhow::Ok((url, token))
    };
    let (url, token) = door("node ")?;
    let token = token.context("a token")?;
    let node = Rpc::new(url, Some(token))?;
    let allowed: Vec<String> = node.call(method::AUTH_VERIFY, [token.into()]).await?;
    ensure!(allowed.iter().any(|p| p == "admin"), "{allowed:?}");
    let (url, token) = door("manager ")?;
    ensure!(token.is_some(), "a token");
    SealerCliClient::version(Rpc::new(url, token)?.typed()).await?;
    let (url, _) = door("worker ")?;
    Rpc::new(url, None)?.typed().worker_version().await?;
    Ok(())
}

/// The one sector of `summary.json`, with everything that must be there.
fn summed_up(out: &Path) -> Result<serde_json::Value> {
    let summary = fs::read_to_string(out.join("summary.json"))?;
    let summary: serde_json::Value = serde_json::from_str(&summary)?;
    ensure!(summary["ok"] == true, "{summary:#}");
    let sectors = summary["sectors"].as_array().context("a list of sectors")?;
    ensure!(sectors.len() == 1, "{summary:#}");
    let sector = &sectors[0];
    ensure!(sector["id"] == "s-t01000-1", "{sector:#}");
    for cid in ["comm_r", "precommit_cid", "commit_cid"] {
        ensure!(
            sector[cid].as_str().is_some_and(|c| c.starts_with("ba")),
            "{sector:#}"
        );
    }
    let active = sector["activation_epoch"].as_i64().context("active")?;
    let proven = sector["window_post"]["epoch"].as_i64().context("proven")?;
    ensure!(proven > active, "{sector:#}");
    for stage in ["pc1", "pc2", "c1", "c2"] {
        ensure!(
            sector["stages"][stage].as_f64().is_some_and(|s| s >= 0.0),
            "{sector:#}"
        );
    }
    Ok(sector.clone())
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "one thread; the lock keeps scenarios apart"
)]
async fn an_interrupted_demo_leaves_no_process_behind() -> Result<()> {
    let _turn = turn();
    for (signal, name) in [(Signal::INT, "interrupted"), (Signal::KILL, "killed")] {
        let out = tempfile::tempdir()?;
        let mut demo = demo(out.path(), name, "")?;
        let mut output = BufReader::new(demo.stdout.take().context("piped")?);
        let mut line = String::new();
        while !line.contains("PC1") && !line.contains("C2") {
            line.clear();
            ensure!(output.read_line(&mut line)? > 0, "the demo ended by itself");
        }
        ensure!(usage::marked(name).len() > 3, "the house is up");
        interrupt(&demo, signal)?;
        let status = demo.wait()?;
        ensure!(!status.success());
        if signal == Signal::INT {
            ensure!(status.code() == Some(130), "{status}");
        }
        wait::until(
            "every process to end",
            Duration::from_secs(30),
            async || Ok(usage::marked(name).is_empty().then_some(())),
        )
        .await
        .with_context(|| format!("left behind: {:?}", usage::marked(name)))?;
    }
    Ok(())
}

fn interrupt(demo: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(demo.id() as i32).context("a pid")?;
    Ok(kill_process(pid, signal)?)
}

/// Starts a demo of one sector that writes into `out`, and marks all its processes. `keep` as
/// make hands it over.
fn demo(out: &Path, mark: &str, keep: &str) -> Result<Child> {
    let child = process::command("damocles-demo")?
        .args(["run", "--sectors", "1", "--checkout"])
        .arg(checkout())
        .arg("--out")
        .arg(out)
        .env(usage::MARK, mark)
        .env("KEEP", keep)
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}
