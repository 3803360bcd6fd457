//! `util worker …`.

use super::{
    client::Manager,
    show, wdpost,
    worker_orders::{OfWorker, Reached, never_heard},
};
use clap::Subcommand;
use damocles_api::{
    sealer_cli::SealerCliClient,
    show as words,
    worker::{ThreadInfo, WorkerClient},
    workers::WorkerPingInfo,
};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Worker {
    /// Workers by their last ping
    #[command(after_help = "\
Example:
  damocles-manager util worker list --expiration 5m")]
    List {
        /// A worker that did not ping for so long is shown as expired
        #[arg(long, default_value = "10m")]
        expiration: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One worker and its sealing threads; asks the worker itself
    Info {
        /// The worker's name, or its host:port
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Pause a sealing thread of a worker
    #[command(after_help = "\
Example:
  damocles-manager util worker pause sealer-4 0 --token-file sealer-4.token")]
    Pause {
        #[command(flatten)]
        of: OfWorker,
        /// The thread's number
        index: u64,
    },
    /// Let a paused sealing thread of a worker go on, where it stopped or from a state
    #[command(after_help = "\
Example:
  damocles-manager util worker resume sealer-4 0 TreeDBuilt --token-file sealer-4.token")]
    Resume {
        #[command(flatten)]
        of: OfWorker,
        /// The thread's number
        index: u64,
        /// A state of the plan
        state: Option<String>,
    },
    /// Let a worker begin no sector any more
    #[command(after_help = "\
Example:
  damocles-manager util worker drain sealer-4 --to ticket --token-file sealer-4.token")]
    Drain {
        #[command(flatten)]
        of: OfWorker,
        /// How far sectors in work are taken: step, ticket, precommit or end
        #[arg(long, value_name = "POINT")]
        to: Option<String>,
    },
    /// Let a worker that drains begin sectors again
    #[command(after_help = "\
Example:
  damocles-manager util worker undrain sealer-4 --token-file sealer-4.token")]
    Undrain {
        #[command(flatten)]
        of: OfWorker,
    },
    /// WindowPoSts that workers prove
    #[command(subcommand)]
    Wdpost(wdpost::WdPost),
    /// Take a worker that is gone from the list; its sectors stay its own
    #[command(after_help = "\
Example:
  damocles-manager util worker remove sealer-4
One that still runs is back with its next ping. A sector of one that is gone for good:
  damocles-manager util sealer sectors hand-over 1000 7")]
    Remove {
        /// The worker's name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Worker) -> anyhow::Result<()> {
    match command {
        Worker::List { expiration, json } => {
            let limit = crate::config::duration(&expiration)
                .map_err(|what| Fatal::new(Exit::Usage, format!("--expiration: {what}")))?;
            list(manager, limit, json).await
        }
        Worker::Info { name, json } => info(manager, &name, json).await,
        Worker::Pause { of, index } => of.pause(manager, index).await,
        Worker::Resume { of, index, state } => of.resume(manager, index, state).await,
        Worker::Drain { of, to } => of.drain(manager, true, to).await,
        Worker::Undrain { of } => of.drain(manager, false, None).await,
        Worker::Wdpost(command) => wdpost::run(manager, command).await,
        Worker::Remove { name, json } => remove(manager, name, json).await,
    }
}

fn age(info: &WorkerPingInfo) -> u64 {
    u64::try_from(SystemClock.now_seconds() - info.last_ping).unwrap_or(0)
}

async fn list(manager: &Manager, limit: Duration, json: bool) -> anyhow::Result<()> {
    let mut workers = manager
        .rpc
        .worker_ping_info_list()
        .await
        .map_err(|e| manager.failed(e))?;
    workers.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    if json {
        return show::json(&workers);
    }
    if workers.is_empty() {
        println!("no worker has pinged this manager yet");
        return Ok(());
    }
    let mut table = Table::new(
        &[
            "name",
            "address",
            "version",
            "threads",
            "empty",
            "paused",
            "running",
            "waiting",
            "errors",
            "last ping",
        ],
        &["name", "version"],
    );
    for w in &workers {
        let s = w.info.summary;
        let age = age(w);
        let late = match (w.left, age > limit.as_secs()) {
            (true, _) => " (left)",
            (false, true) => " (expired)",
            (false, false) => "",
        };
        // what it said last is not what it does now
        let of = |n: u32| {
            if late.is_empty() {
                n.to_string()
            } else {
                "—".to_owned()
            }
        };
        table.add_row([
            w.info.name.clone(),
            w.info.dest.clone(),
            w.info.version.clone(),
            s.threads.to_string(),
            of(s.empty),
            of(s.paused),
            of(s.running),
            of(s.waiting),
            of(s.errors),
            format!("{} ago{late}", show::millis(age * 1_000)),
        ]);
    }
    show::print(&table);
    for w in &workers {
        if let Some(twin) = &w.twin {
            show::say(format!(
                "{} is the name of two workers, at {} and at {twin}: give one of them another name",
                w.info.name, w.info.dest
            ));
        }
    }
    Ok(())
}

async fn remove(manager: &Manager, name: String, json: bool) -> anyhow::Result<()> {
    let failed = |e| manager.failed(e);
    let known = manager.rpc.worker_get_ping_info(name.clone()).await;
    let known = known.map_err(failed)?.ok_or_else(|| {
        never_heard(&name).hint("`damocles-manager util worker list` shows those it knows")
    })?;
    let gone = manager.rpc.worker_ping_info_remove(name.clone()).await;
    gone.map_err(failed)?;
    if json {
        return show::json(&json!({"Removed": known}));
    }
    println!(
        "{name} is not in the list any more (its last ping was {} ago)",
        show::millis(age(&known) * 1000)
    );
    Ok(())
}

async fn info(manager: &Manager, name: &str, json: bool) -> anyhow::Result<()> {
    let worker = Reached::find(manager, name, None).await?;
    let threads = worker.rpc.worker_list().await;
    let threads = threads.map_err(|e| worker.failed(e))?;
    let known = worker.known;
    if json {
        return show::json(&json!({"worker": known, "threads": threads}));
    }
    if let Some(known) = &known {
        show::say(format!(
            "{} at {}, {}, last ping {} ago",
            known.info.name,
            known.info.dest,
            known.info.version,
            show::millis(age(known) * 1_000)
        ));
        println!();
    }
    print_threads(&threads);
    Ok(())
}

fn print_threads(threads: &[ThreadInfo]) {
    if threads.is_empty() {
        println!("no sealing threads");
        return;
    }
    let mut table = Table::new(&words::THREADS, &["location", "doing", "problem"]);
    for thread in threads {
        table.add_row(words::thread(thread));
    }
    show::print(&table);
    for problem in threads.iter().filter_map(words::problem) {
        println!("\n{problem}");
    }
}
