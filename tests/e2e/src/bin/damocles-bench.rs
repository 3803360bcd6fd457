//! `damocles-bench manager` measures a manager under the load of a fleet, for docs/benchmarks.md.

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use damocles_e2e::bench::{self, Wish};
use std::{path::PathBuf, process::ExitCode};

/// Measures daemons under load.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Rocksdb,
    Postgres,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A manager with many finished sectors, and thousands of sealing threads that ask
    #[command(after_help = "\
Examples:
  damocles-bench manager --engine rocksdb --sectors 100000
  damocles-bench manager --engine postgres --dsn 'host=/tmp user=damocles dbname=postgres' --sectors 10000 --json")]
    Manager {
        #[arg(long, value_enum, default_value = "rocksdb")]
        engine: Engine,
        /// Address of an empty PostgreSQL, for --engine postgres
        #[arg(long, required_if_eq("engine", "postgres"))]
        dsn: Option<String>,
        /// Finished sectors in the database
        #[arg(long, default_value_t = 10_000)]
        sectors: u64,
        /// Sealing threads, each with a sector in work
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        threads: u64,
        /// Calls a second
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
        pace: u64,
        /// For so long
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// Folder that holds `config-examples`
        #[arg(long, default_value = ".")]
        checkout: PathBuf,
        /// Folder for the database, removed afterwards; on the disk that is to be measured
        #[arg(long, default_value = "target")]
        out: PathBuf,
        /// Leave the folder, and say where it is
        #[arg(long)]
        keep: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

async fn run(command: Command) -> Result<()> {
    let Command::Manager {
        engine,
        dsn,
        sectors,
        threads,
        pace,
        seconds,
        checkout,
        out,
        keep,
        json,
    } = command;
    let wish = Wish {
        dsn: dsn.filter(|_| matches!(engine, Engine::Postgres)),
        sectors,
        threads,
        pace,
        seconds,
    };
    std::fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(&out)?;
    let report = bench::measure(dir.path(), &checkout, &wish).await?;
    if keep {
        eprintln!("left: {}", dir.keep().display());
    }
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

// one thread, and it lasts: daemons die with the thread that started them
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
