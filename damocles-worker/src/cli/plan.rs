//! `plan`: a configuration held against a machine, before anything is started.

use super::{
    config::{DESCRIBE, with_profiles},
    say,
};
use crate::{
    config::{self, ProfileSource},
    hardware::Hardware,
    resources::{self, Plan},
};
use clap::Subcommand;
use damocles_daemon::exit::Fatal;
use std::path::{Path, PathBuf};

/// Hold a configuration against a machine: disks, cores, memory, GPUs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what the configuration plans for and what the machine has; the daemon does the same at
    /// every start, and does not start with a fault
    #[command(after_help = "\
Examples:
  damocles-worker plan check -c worker.toml
  damocles-worker plan check -c worker.toml --json | jq -r '.Findings[].Message'
  damocles-worker hwinfo --toml > machine.toml       on the other host
  damocles-worker plan check -c worker.toml --machine machine.toml")]
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Configuration file
    #[arg(short, long, env = "DAMOCLES_WORKER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// A machine that is described in a file, instead of this one
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Check(check) = &args.command;
    let (loaded, plan) = with_profiles(false, |source| {
        Ok(match &check.machine {
            Some(machine) => elsewhere(&check.config, machine, source)?,
            None => here(&check.config, source)?,
        })
    })?;
    let allowed = &loaded.config.oversubscription;
    if check.json {
        let json = resources::json(&plan, allowed);
        say(serde_json::to_string_pretty(&json)?)?;
    } else {
        say(resources::text(&plan, allowed))?;
    }
    match resources::refusal(&plan, allowed, &check.config) {
        None => Ok(()),
        Some(fatal) => Err(fatal.into()),
    }
}

fn elsewhere(
    file: &Path,
    machine: &Path,
    source: ProfileSource<'_>,
) -> Result<(config::Loaded, Plan), Fatal> {
    let loaded = config::load_for_elsewhere(file, source)?;
    let machine = Hardware::described(machine)?;
    let threads = resources::threads(&loaded, &machine, Path::to_owned);
    let synthetic = resources::synthetic(&loaded.config);
    let plan = Plan::of(&loaded.config, &threads, &machine, synthetic);
    Ok((loaded, plan))
}

fn here(file: &Path, source: ProfileSource<'_>) -> Result<(config::Loaded, Plan), Fatal> {
    let loaded = config::check(file, source)?;
    let machine = Hardware::here(Some(&loaded.config.locations()), DESCRIBE)?;
    let plan = resources::here(&loaded, &machine);
    Ok((loaded, plan))
}
