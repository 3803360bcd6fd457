//! `make demo` itself: what it leaves on success and on Ctrl-C.

use anyhow::{Context, Result, ensure};
use damocles_e2e::{house::checkout, process, scenario::turn, usage, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

#[test]
fn one_sector_from_nothing_to_proven() -> Result<()> {
    let _turn = turn();
    let out = tempfile::tempdir()?;
    let mut demo = demo(out.path(), "whole")?;
    let mut lines = String::new();
    demo.stdout
        .take()
        .context("piped")?
        .read_to_string(&mut lines)?;
    let status = demo.wait()?;
    ensure!(status.success(), "{status}:\n{lines}");
    let summary = fs::read_to_string(out.path().join("summary.json"))?;
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
    ensure!(lines.contains("s-t01000-1"), "a table:\n{lines}");
    let left = usage::marked("whole");
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
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
        let mut demo = demo(out.path(), name)?;
        let mut output = BufReader::new(demo.stdout.take().context("piped")?);
        let mut line = String::new();
        while !line.contains("PC1") && !line.contains("C2") {
            line.clear();
            ensure!(output.read_line(&mut line)? > 0, "the demo ended by itself");
        }
        ensure!(usage::marked(name).len() > 3, "the house is up");
        let pid = Pid::from_raw(demo.id() as i32).context("a pid")?;
        kill_process(pid, signal)?;
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

/// Starts a demo of one sector that writes into `out`, and marks all its processes.
fn demo(out: &Path, mark: &str) -> Result<Child> {
    let child = process::command("damocles-demo")?
        .args(["run", "--sectors", "1", "--checkout"])
        .arg(checkout())
        .arg("--out")
        .arg(out)
        .env(usage::MARK, mark)
        .env_remove("KEEP")
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}
