//! `util sealer proving …`.

use super::{blocks, client::Manager, proving, sectors::actor, show};
use clap::{Args, Subcommand};
use damocles_api::{
    damocles::DamoclesClient,
    post::WindowPostRecord,
    proving::{CheckView, DamoclesProvingClient, DeadlineView, DeadlinesView},
};
use damocles_daemon::table::Table;
use damocles_types::{ActorId, SectorId};
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Proving {
    /// WindowPoSts that this manager made, newest first
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving posts 1000 --limit 10")]
    Posts {
        /// The miner, 1000 or t01000
        #[arg(value_parser = actor)]
        miner: ActorId,
        /// At most so many
        #[arg(long, default_value_t = 48)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Blocks that a miner won, newest first: what became of them, and where the time went
    ///
    /// The times are counted from the start of the round: a block is made as soon as it can be, and
    /// sent at its epoch's time.
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving blocks 1000 --json | jq '.Blocks[] | select(.Lost) | .Error'")]
    Blocks {
        #[command(flatten)]
        of: OfMiner,
        /// At most so many
        #[arg(long, default_value_t = 48)]
        limit: u32,
    },
    /// How many sectors a miner has to prove, and how many of them are faulty
    Info(OfMiner),
    /// Faulty sectors of a miner, whether they are declared recovered, and why not
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving faults 1000 --json")]
    Faults(OfMiner),
    /// Deadlines of a miner, and what lies in them
    Deadlines(OfMiner),
    /// Look whether a miner's sectors could be proven now
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving check 1000 --slow")]
    Check {
        #[command(flatten)]
        of: OfMiner,
        /// Only this deadline
        #[arg(long)]
        deadline: Option<u64>,
        /// Read of each sector what a challenge asks for; without it files and sizes are looked at
        #[arg(long)]
        slow: bool,
    },
    /// Make a WindowPoSt of a partition, verify it and send it to nobody
    ///
    /// For any challenge, or one that is given. What is really due goes before it.
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving simulate-wdpost 1000 --ddl-idx 3 --partition-idx 0 --json")]
    SimulateWdpost {
        #[command(flatten)]
        of: OfMiner,
        /// Number of the deadline
        #[arg(long, value_name = "N")]
        ddl_idx: u64,
        /// Number of the partition in it
        #[arg(long, value_name = "N")]
        partition_idx: u64,
        /// Prove the faulty sectors, too
        #[arg(long)]
        include_faulty: bool,
        /// 32 bytes in hexadecimal digits; without it any
        #[arg(long, value_name = "HEX")]
        challenge: Option<String>,
    },
    /// What the chain has of sectors, and where the files are that prove them
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving sector-info 1000 7 8 --json")]
    SectorInfo {
        #[command(flatten)]
        of: OfMiner,
        /// Numbers of the sectors
        #[arg(required = true)]
        sectors: Vec<u64>,
    },
    /// Read of a sector what a WinningPoSt asks for, and check it
    ///
    /// A WinningPoSt must be there within seconds; this says how many of them its reading takes.
    #[command(after_help = "\
Examples:
  damocles-manager util sealer proving winning-vanilla 1000 7
  damocles-manager util sealer proving winning-vanilla 1000 7 --sealed-file /mnt/new/sealed/s-t01000-7 --cache-dir /mnt/new/cache/s-t01000-7 --output winning.json")]
    WinningVanilla {
        #[command(flatten)]
        of: OfMiner,
        /// Number of the sector
        sector: u64,
        /// Its sealed file on the manager's host, if not the one in its store
        #[arg(long, value_name = "FILE", requires = "cache_dir")]
        sealed_file: Option<String>,
        /// Its cache directory, likewise
        #[arg(long, value_name = "DIR", requires = "sealed_file")]
        cache_dir: Option<String>,
        /// Write the outcome to this file, as JSON
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Look at the faulty sectors of a deadline now, and declare those recovered that can be read
    ///
    /// The poster does so by itself before every fault cut-off. In a proving period a deadline is
    /// declared once.
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving recover-faults 1000 --deadline 3")]
    RecoverFaults {
        #[command(flatten)]
        of: OfMiner,
        /// Number of the deadline
        #[arg(long, value_name = "N")]
        deadline: u64,
    },
    /// Dissolve partitions of a deadline: what lives in them moves to the others
    ///
    /// The chain takes it from the end of the time for disputes to a window before the deadline's
    /// next one, and only of partitions without faulty or unproven sectors.
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving compact-partitions 1000 --deadline 3 --partitions 0,2 --really-do-it")]
    CompactPartitions {
        #[command(flatten)]
        of: OfMiner,
        /// Number of the deadline
        #[arg(long, value_name = "N")]
        deadline: u64,
        /// Numbers of the partitions
        #[arg(long, value_name = "N", value_delimiter = ',', required = true)]
        partitions: Vec<u64>,
        /// Without it nothing is sent
        #[arg(long)]
        really_do_it: bool,
    },
    /// A deadline of a miner, and the WindowPoSts that this manager made for it
    Deadline {
        #[command(flatten)]
        of: OfMiner,
        /// Number of the deadline
        deadline: u64,
    },
}

#[derive(Args, Debug)]
pub(super) struct OfMiner {
    /// The miner, 1000 or t01000
    #[arg(value_parser = actor)]
    miner: ActorId,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(manager: &Manager, command: Proving) -> anyhow::Result<()> {
    match command {
        Proving::Posts { miner, limit, json } => posts(manager, miner, limit, json).await,
        Proving::Blocks { of, limit } => blocks::run(manager, of.miner, limit, of.json).await,
        Proving::Info(of) => info(manager, of).await,
        Proving::Faults(of) => faults(manager, of).await,
        Proving::Deadlines(of) => deadlines(manager, of).await,
        Proving::Check { of, deadline, slow } => check(manager, of, deadline, slow).await,
        Proving::Deadline { of, deadline } => one(manager, of, deadline).await,
        Proving::SimulateWdpost {
            of,
            ddl_idx,
            partition_idx,
            include_faulty,
            challenge,
        } => {
            let made = manager.rpc.simulate_window_post(
                of.miner,
                ddl_idx,
                partition_idx,
                include_faulty,
                challenge,
            );
            let view = made.await.map_err(|e| manager.failed(e))?;
            proving::simulated(&view, of.json)
        }
        Proving::SectorInfo { of, sectors } => {
            proving::sectors(manager, of.miner, &sectors, of.json).await
        }
        Proving::WinningVanilla {
            of,
            sector,
            sealed_file,
            cache_dir,
            output,
        } => {
            let sector = SectorId::new(of.miner, sector);
            let read = manager.rpc.winning_vanilla(sector, sealed_file, cache_dir);
            let view = read.await.map_err(|e| manager.failed(e))?;
            proving::winning(&view, output.as_deref(), of.json)
        }
        Proving::RecoverFaults { of, deadline } => {
            let ordered = manager.rpc.recover_faults(of.miner, deadline).await;
            let view = ordered.map_err(|e| manager.failed(e))?;
            proving::recovery(&view, of.json)
        }
        Proving::CompactPartitions {
            of,
            deadline,
            partitions,
            really_do_it,
        } => {
            proving::compact(
                manager,
                of.miner,
                deadline,
                partitions,
                really_do_it,
                of.json,
            )
            .await
        }
    }
}

/// So many WindowPoSts are looked through for those of one deadline.
const LOOKED_THROUGH: u32 = 2000;

async fn asked(manager: &Manager, miner: ActorId) -> anyhow::Result<DeadlinesView> {
    let view = manager.rpc.deadlines(miner).await;
    Ok(view.map_err(|e| manager.failed(e))?)
}

async fn info(manager: &Manager, of: OfMiner) -> anyhow::Result<()> {
    let view = asked(manager, of.miner).await?;
    let sum = |count: fn(&DeadlineView) -> u64| view.deadlines.iter().map(count).sum::<u64>();
    if of.json {
        return show::json(&serde_json::json!({
            "Miner": view.miner, "Height": view.height, "Current": view.current,
            "PeriodStart": view.period_start, "Partitions": sum(|d| d.partitions),
            "Live": sum(|d| d.live), "Faulty": sum(|d| d.faulty),
            "Recovering": sum(|d| d.recovering),
        }));
    }
    println!("miner t0{} at epoch {}", view.miner, view.height);
    println!(
        "deadline {} is open; the proving period began at {}",
        view.current, view.period_start
    );
    println!(
        "{} sectors in {} partitions; {} faulty, of which {} are recovering",
        sum(|d| d.live),
        sum(|d| d.partitions),
        sum(|d| d.faulty),
        sum(|d| d.recovering)
    );
    Ok(())
}

async fn faults(manager: &Manager, of: OfMiner) -> anyhow::Result<()> {
    let view = manager.rpc.faults(of.miner).await;
    let view = view.map_err(|e| manager.failed(e))?;
    if of.json {
        return show::json(&view);
    }
    if view.faults.is_empty() {
        println!("miner t0{} has no faulty sectors", view.miner);
        return Ok(());
    }
    let header = ["sector", "deadline", "partition", "recovering", "why"];
    let mut table = Table::new(&header, &["why"]);
    for fault in &view.faults {
        table.add_row([
            fault.sector.to_string(),
            fault.deadline.to_string(),
            fault.partition.to_string(),
            if fault.recovering { "yes" } else { "no" }.to_owned(),
            show::or_dash(fault.why.as_ref()),
        ]);
    }
    show::print(&table);
    if view.available.starts_with('-') {
        println!(
            "the miner owes {} FIL of fees; until they are paid the chain takes no recovery",
            view.available.trim_start_matches('-')
        );
    }
    Ok(())
}

fn of_deadlines<'a>(deadlines: impl Iterator<Item = &'a DeadlineView>) -> Table {
    let mut table = Table::new(
        &[
            "deadline",
            "open",
            "close",
            "fault cut-off",
            "partitions",
            "proven",
            "sectors",
            "faulty",
            "recovering",
        ],
        &[],
    );
    for d in deadlines {
        table.add_row([
            d.index.to_string(),
            d.open.to_string(),
            d.close.to_string(),
            d.fault_cutoff.to_string(),
            d.partitions.to_string(),
            d.proven.to_string(),
            d.live.to_string(),
            d.faulty.to_string(),
            d.recovering.to_string(),
        ]);
    }
    table
}

async fn deadlines(manager: &Manager, of: OfMiner) -> anyhow::Result<()> {
    let view = asked(manager, of.miner).await?;
    if of.json {
        return show::json(&view);
    }
    show::print(&of_deadlines(view.deadlines.iter()));
    println!("deadline {} is open; epoch {}", view.current, view.height);
    Ok(())
}

/// Partition by partition, so that a person sees how far it is.
async fn check(
    manager: &Manager,
    of: OfMiner,
    deadline: Option<u64>,
    slow: bool,
) -> anyhow::Result<()> {
    let view = asked(manager, of.miner).await?;
    let wanted = |d: &&DeadlineView| deadline.is_none_or(|only| d.index == only);
    let (mut checked, mut bad) = (0, BTreeMap::new());
    for d in view.deadlines.iter().filter(wanted) {
        for partition in 0..d.partitions {
            let found = manager
                .rpc
                .check_partition(of.miner, d.index, partition, slow);
            let found = found.await.map_err(|e| manager.failed(e))?;
            checked += found.checked;
            eprintln!(
                "deadline {} partition {partition}: {} sectors, {} cannot be proven",
                d.index,
                found.checked,
                found.bad.len()
            );
            bad.extend(found.bad);
        }
    }
    if of.json {
        return show::json(&CheckView { checked, bad });
    }
    for (sector, why) in &bad {
        show::say(format!("sector {sector}: {why}"));
    }
    println!(
        "{checked} sectors, of which {} cannot be proven now",
        bad.len()
    );
    Ok(())
}

async fn one(manager: &Manager, of: OfMiner, deadline: u64) -> anyhow::Result<()> {
    let view = asked(manager, of.miner).await?;
    let Some(this) = view.deadlines.iter().find(|d| d.index == deadline) else {
        let count = view.deadlines.len();
        anyhow::bail!(
            "miner t0{} has no deadline {deadline}, only {count}",
            of.miner
        );
    };
    let posts = manager.rpc.window_posts(of.miner, LOOKED_THROUGH).await;
    let mut posts = posts.map_err(|e| manager.failed(e))?;
    posts.retain(|post| post.deadline == deadline);
    if of.json {
        return show::json(&serde_json::json!({"Deadline": this, "Posts": posts}));
    }
    show::print(&of_deadlines(std::iter::once(this)));
    if !posts.is_empty() {
        println!();
        show::print(&of_posts(&posts));
    }
    for post in &posts {
        show::say(way(post));
    }
    for (sector, why) in posts.iter().flat_map(|post| &post.skipped) {
        show::say(format!("sector {sector} was skipped: {why}"));
    }
    Ok(())
}

/// When a WindowPoSt came where it did, in epochs.
fn way(post: &WindowPostRecord) -> String {
    let steps = [
        ("due", post.seen_at),
        ("challenged", post.challenged_at),
        ("read", post.read_at),
        ("proven", post.proven_at),
        ("submitted", post.submitted_at),
        ("on chain", post.landed_at),
    ];
    let steps = steps.map(|(name, at)| format!("{name} {}", show::or_dash(at)));
    let by = show::or_dash(post.by.as_ref());
    format!("window at {}: {}; by {by}", post.open, steps.join(", "))
}

async fn posts(manager: &Manager, miner: ActorId, limit: u32, json: bool) -> anyhow::Result<()> {
    let posts = manager
        .rpc
        .window_posts(miner, limit)
        .await
        .map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&posts);
    }
    if posts.is_empty() {
        println!("no WindowPoSt of this manager for miner {miner} yet");
        return Ok(());
    }
    show::print(&of_posts(&posts));
    Ok(())
}

fn of_posts(posts: &[WindowPostRecord]) -> Table {
    let mut table = Table::new(
        &[
            "deadline",
            "partitions",
            "open",
            "close",
            "state",
            "proving",
            "landed",
            "skipped",
            "message",
            "problem",
        ],
        &["message", "problem"],
    );
    for p in posts {
        let partitions: Vec<String> = p.partitions.iter().map(ToString::to_string).collect();
        table.add_row([
            p.deadline.to_string(),
            partitions.join(","),
            p.open.to_string(),
            p.close.to_string(),
            p.state.clone(),
            show::or_dash(p.proving_ms.map(show::millis)),
            show::or_dash(p.landed_at),
            p.skipped.len().to_string(),
            show::or_dash(p.message.as_ref().map(|c| c.cid)),
            show::or_dash(p.error.as_ref()),
        ]);
    }
    table
}
