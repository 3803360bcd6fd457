//! `damocles-demo run` is what `make demo` runs; `damocles-demo idle` measures daemons with
//! nothing to do, for docs/benchmarks.md.

use anyhow::Result;
use clap::{Parser, builder::FalseyValueParser};
use damocles_e2e::{
    demo::run::{End, Options, run},
    idle,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Seals sectors on a private chain and shows how, from sector number to WindowPoSt.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start everything, seal, prove, sum up, stop everything
    Run {
        /// How many sectors
        #[arg(long, env = "SECTORS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
        sectors: u64,
        /// Stay up after the end, until Ctrl-C
        #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new())]
        keep: bool,
        /// Folder that holds `config-examples`
        #[arg(long, default_value = ".")]
        checkout: PathBuf,
        /// Folder for logs, sectors and summary.json
        #[arg(long, default_value = "target/demo")]
        out: PathBuf,
    },
    /// Print what manager and worker use while there is nothing to seal
    Idle {
        /// Folder that holds `config-examples`
        #[arg(long, default_value = ".")]
        checkout: PathBuf,
    },
}

// one thread, and it lasts: daemons die with the thread that started them
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run {
            sectors,
            keep,
            checkout,
            out,
        } => {
            let options = Options {
                sectors,
                keep,
                checkout,
                out,
            };
            code(run(&options).await)
        }
        Command::Idle { checkout } => code(print_idle(&checkout).await.map(|()| End::Proven)),
    }
}

fn code(end: Result<End>) -> ExitCode {
    match end {
        Ok(End::Proven) => ExitCode::SUCCESS,
        // as shells have it for a program ended by Ctrl-C
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn print_idle(checkout: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for figure in idle::measure(&dir.path().join("house"), checkout).await? {
        println!("{}", figure.line());
    }
    Ok(())
}
