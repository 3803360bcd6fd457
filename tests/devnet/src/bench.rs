//! `damocles-devnet bench`: how fast blocks are made, and how long state calls take over HTTP.
//! Figures, not limits: nothing here passes or fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use damocles_daemon::{net, runtime};
use damocles_types::SectorSize;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::HttpClient;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::{Bench, Genesis};
use crate::network::BlockTime;
use crate::rpc;

/// The calls that a manager makes most.
const CALLS: [(&str, &str); 10] = [
    ("ChainHead", "[]"),
    ("StateMinerProvingDeadline", "[\"t01000\",[]]"),
    ("StateMinerInfo", "[\"t01000\",[]]"),
    ("StateMinerPartitions", "[\"t01000\",0,[]]"),
    ("StateMinerSectors", "[\"t01000\",null,[]]"),
    ("StateSectorGetInfo", "[\"t01000\",1,[]]"),
    ("StateSectorPreCommitInfo", "[\"t01000\",1,[]]"),
    ("StateMinerAvailableBalance", "[\"t01000\",[]]"),
    ("StateGetRandomnessFromBeacon", "[6,1,null,[]]"),
    ("StateMinerDeadlines", "[\"t01000\",[]]"),
];

struct Latency {
    method: &'static str,
    min: Duration,
    median: Duration,
    max: Duration,
}

/// Measures and prints.
pub fn run(args: &Bench) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let genesis = Genesis {
        sector_size: SectorSize::KiB2,
        preseal: args.preseal,
        miners: 1,
        seed: None,
        policy: None,
        proving_period_deadlines: None,
        challenge_window: None,
    };
    let start = Instant::now();
    let node = crate::start::open(dir.path(), &genesis, BlockTime::Manual, String::new())?;
    let birth = start.elapsed();
    let start = Instant::now();
    node.network.mine(args.blocks)?;
    let mined = start.elapsed();
    let start = Instant::now();
    node.network.save()?;
    let saved = start.elapsed();
    let rate = args.blocks as f64 / mined.as_secs_f64();
    let latencies = runtime::build(2)?.block_on(measure(Arc::new(node), args.calls.max(1)))?;

    if args.json {
        let calls = latencies.iter().map(|l| {
            json!({"method": l.method, "min_us": micros(l.min), "median_us": micros(l.median), "max_us": micros(l.max)})
        });
        let all = json!({
            "presealed_sectors": args.preseal, "genesis_seconds": birth.as_secs_f64(),
            "blocks": args.blocks, "blocks_per_second": rate,
            "snapshot_seconds": saved.as_secs_f64(), "calls": calls.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "{} presealed sectors: genesis {:.1} s, {} blocks at {rate:.0} blocks/s, snapshot {:.2} s",
        args.preseal,
        birth.as_secs_f64(),
        args.blocks,
        saved.as_secs_f64()
    );
    println!(
        "\n| state call over HTTP ({} each) | min ms | median ms | max ms |\n|---|---|---|---|",
        args.calls
    );
    for l in &latencies {
        let ms = |d: Duration| micros(d) as f64 / 1000.0;
        println!(
            "| {} | {:.2} | {:.2} | {:.2} |",
            l.method,
            ms(l.min),
            ms(l.median),
            ms(l.max)
        );
    }
    Ok(())
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

async fn measure(node: Arc<rpc::Node>, calls: usize) -> anyhow::Result<Vec<Latency>> {
    let (listener, address) = net::bind("127.0.0.1:0".parse()?).await?;
    let stop = CancellationToken::new();
    let server = tokio::spawn(rpc::serve(listener, node, stop.clone()));
    let client = HttpClient::builder().build(format!("http://{address}/rpc/v1"))?;
    let mut out = Vec::new();
    for (method, params) in CALLS {
        let name = format!("Filecoin.{method}");
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let mut array = ArrayParams::new();
            for param in serde_json::from_str::<Vec<Value>>(params)? {
                array.insert(param)?;
            }
            let start = Instant::now();
            client.request::<Value, _>(&name, array).await?;
            times.push(start.elapsed());
        }
        times.sort();
        out.push(Latency {
            method,
            min: times[0],
            median: times[calls / 2],
            max: times[calls - 1],
        });
    }
    stop.cancel();
    server.await??;
    Ok(out)
}
