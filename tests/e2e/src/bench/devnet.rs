//! How fast the devnet makes blocks and answers, with presealed sectors on its chain.

use crate::{house::MINER, node::Node, process, process::Daemon, rpc, rpc::Rpc, wait};
use anyhow::{Context, Result};
use damocles_node::method;
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Sectors that are active at genesis.
const PRESEALED: u32 = 100;
/// Blocks made at once for the block figure.
const BLOCKS: u64 = 2_000;
/// Calls per method for the answer figures.
const CALLS: usize = 500;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    pub blocks_per_second: f64,
    /// Method, median and 99th percentile.
    pub answers: Vec<(&'static str, Duration, Duration)>,
}

/// Runs a devnet of its own in `dir` and measures it.
pub async fn measure(dir: &Path) -> Result<Figures> {
    let repo = dir.join("devnet");
    let mut command = process::command("damocles-devnet")?;
    command
        .args(["run", "--block-time", "manual", "--sector-size", "2KiB"])
        .args(["--preseal", &PRESEALED.to_string()])
        .args(["--listen", "127.0.0.1:0", "--repo"])
        .arg(&repo);
    let mut devnet = Daemon::start("damocles-devnet", "bench", command, &dir.join("devnet.log"))?;
    let limit = Duration::from_secs(300);
    let address = wait::until("the devnet to preseal its sectors", limit, async || {
        if let Err(dead) = devnet.check_alive() {
            return Ok(Some(Err(dead)));
        }
        Ok(rpc::read_api(&repo.join("api")).map(Ok))
    })
    .await??;
    let token = std::fs::read_to_string(repo.join("token")).context("the devnet has no token")?;
    let url = format!("http://{address}/rpc/v1");
    let node = Node {
        rpc: Rpc::new(&url, Some(token.trim()))?,
    };
    wait::until("the devnet to answer", limit, async || {
        node.epoch().await.map(Some)
    })
    .await?;

    let start = Instant::now();
    let _: Value = node.rpc.call(method::DEVNET_MINE, [json!(BLOCKS)]).await?;
    let blocks_per_second = BLOCKS as f64 / start.elapsed().as_secs_f64();

    let miner = json!(format!("t0{MINER}"));
    let mut answers = Vec::new();
    for (name, params) in [
        (method::CHAIN_HEAD, vec![]),
        (
            method::STATE_MINER_PROVING_DEADLINE,
            vec![miner.clone(), Value::Null],
        ),
        (
            method::STATE_SECTOR_GET_INFO,
            vec![miner.clone(), json!(1), Value::Null],
        ),
        (
            method::STATE_MINER_PARTITIONS,
            vec![miner.clone(), json!(0), Value::Null],
        ),
        (
            method::STATE_MINER_SECTORS,
            vec![miner.clone(), Value::Null, Value::Null],
        ),
    ] {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            let _: Value = node.rpc.call(name, params.clone()).await?;
            times.push(start.elapsed());
        }
        times.sort();
        answers.push((name, times[CALLS / 2], times[CALLS * 99 / 100]));
    }
    Ok(Figures {
        blocks_per_second,
        answers,
    })
}

impl Figures {
    /// Lines for the table of docs/benchmarks.md.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "devnet, {PRESEALED} presealed sectors: {:.0} blocks/s",
            self.blocks_per_second
        )];
        for (name, median, worst) in &self.answers {
            lines.push(format!(
                "  {name}: median {:.2} ms, 99th percentile {:.2} ms",
                median.as_secs_f64() * 1e3,
                worst.as_secs_f64() * 1e3
            ));
        }
        lines
    }
}
