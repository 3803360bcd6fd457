//! `damocles-bench`: prints the figures of docs/benchmarks.md as this machine gives them.

use anyhow::Result;
use clap::Parser;
use damocles_e2e::bench::{devnet, idle};
use std::path::{Path, PathBuf};

/// Measures the house on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Folder that holds `config-examples`
    #[arg(long, default_value = ".", global = true)]
    checkout: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Everything below
    All,
    /// Blocks per second and answer times of the devnet
    Devnet,
    /// CPU and memory of idle daemons
    Idle,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let dir = tempfile::tempdir()?;
    if matches!(cli.what, What::All | What::Devnet) {
        run_devnet(dir.path()).await?;
    }
    if matches!(cli.what, What::All | What::Idle) {
        for figure in idle::measure(&dir.path().join("idle"), &cli.checkout).await? {
            println!("{}", figure.line());
        }
    }
    Ok(())
}

async fn run_devnet(dir: &Path) -> Result<()> {
    for line in devnet::measure(dir).await?.lines() {
        println!("{line}");
    }
    Ok(())
}
