//! `config`: the worker's file looked at, and one made for this machine.

use super::say;
use crate::{
    config::{self, Profile, ProfileSource, WantedProfile, show},
    draft,
    hardware::Hardware,
    profiles,
};
use clap::Subcommand;
use damocles_daemon::{
    config::check_json,
    exit::{Exit, Fatal},
    runtime,
};
use damocles_types::SectorSize;
use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

/// What to do where a machine does not show itself.
pub(super) const DESCRIBE: &str = "describe the machine in a file, and give it with --machine";

/// Look at the worker's configuration, or make one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker config check -c worker.toml && systemctl reload damocles-worker
  damocles-worker config show -c worker.toml | grep '# default'      what nobody wrote
  damocles-worker config init --sector-size 32GiB > worker.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the file whole, with the profile that it names, and list all faults
    #[command(after_help = "\
Example:
  damocles-worker config check -c worker.toml --json | jq -r '.Faults[] | \"\\(.Line): \\(.Key): \\(.Message)\"'")]
    Check(FileArgs),
    /// Print every key with the value that holds, and where it comes from: default, profile, file,
    /// thread, or the thread's own config.toml; secrets are left out
    #[command(after_help = "\
Example:
  damocles-worker config show -c worker.toml --json | jq -r '.[] | select(.From == \"profile\") | .Key'")]
    Show(FileArgs),
    /// Print a commented configuration for this machine: threads for its disks, processors for its
    /// cores, NUMA nodes and memory
    #[command(after_help = "\
Examples:
  damocles-worker config init --sector-size 32GiB > worker.toml
  damocles-worker config init --sector-size 32GiB --machine other.toml     for another host (`hwinfo --toml`)")]
    Init(InitArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Configuration file
    #[arg(short, long, env = "DAMOCLES_WORKER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Take the profile that was kept last, and ask no manager
    #[arg(long)]
    offline: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct InitArgs {
    /// Size of the sectors: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB; asked for when left out
    #[arg(short, long, value_name = "SIZE")]
    sector_size: Option<SectorSize>,
    /// Where the manager is
    #[arg(
        long,
        default_value = "/ip4/127.0.0.1/tcp/1789",
        value_name = "ADDRESS"
    )]
    manager: String,
    /// A machine that is described in a file, instead of this one
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Check(file) => with_profiles(file.offline, |source| check(file, source)),
        Command::Show(file) => with_profiles(file.offline, |source| print(file, source)),
        Command::Init(init) => make(init),
    }
}

/// Profiles as the daemon gets them, or the one that was kept.
pub(super) fn with_profiles<T>(
    offline: bool,
    look: impl FnOnce(ProfileSource<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if offline {
        return look(&config::kept_profiles);
    }
    let runtime = runtime::build(1)?;
    let ask =
        |wanted: &WantedProfile| -> Result<Profile, Fatal> { profiles::ask(&runtime, wanted) };
    look(&ask)
}

fn check(args: &FileArgs, source: ProfileSource<'_>) -> anyhow::Result<()> {
    let path = &args.config;
    let checked = config::examine(path, source)?;
    if args.json {
        let notices = checked.as_ref().map_or(&[][..], |c| &c.notices);
        let json = check_json(path, checked.as_ref().err(), notices);
        say(serde_json::to_string_pretty(&json)?)?;
    }
    let loaded = checked.map_err(Fatal::from)?;
    if args.json {
        return Ok(());
    }
    for notice in &loaded.notices {
        say(format_args!("warning: {notice}"))?;
    }
    for key in &loaded.retired {
        say(format_args!("warning: {key} is retired, ignored"))?;
    }
    let config = &loaded.config;
    let threads = config.threads.len() + config.placeless.len();
    let profile = match &loaded.profile {
        None => String::new(),
        Some((_, profile)) => format!(", over the profile {}", profile.name),
    };
    say(format_args!(
        "# {} is good{profile}; sealing threads: {threads}, attached stores: {}",
        path.display(),
        config.attached.len()
    ))
}

fn print(args: &FileArgs, source: ProfileSource<'_>) -> anyhow::Result<()> {
    let loaded = config::load(&args.config, source)?;
    let settings = show::settings(&loaded);
    match args.json {
        true => say(serde_json::to_string_pretty(&show::json(&settings))?),
        false => say(show::toml(&settings).trim_end()),
    }
}

fn make(args: &InitArgs) -> anyhow::Result<()> {
    let size = match args.sector_size {
        Some(size) => size,
        None => asked_size()?,
    };
    let machine = match &args.machine {
        Some(file) => Hardware::described(file)?,
        None => Hardware::here(None, DESCRIBE)?,
    };
    say(draft::draft(&machine, size, &args.manager).trim_end())
}

/// Asks on the terminal; the file itself goes to stdout.
fn asked_size() -> Result<SectorSize, Fatal> {
    let unsaid = |what: String| {
        Fatal::new(Exit::Usage, what).hint("say it with --sector-size, for example 32GiB")
    };
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(unsaid("the size of the sectors is not said".to_owned()));
    }
    eprint!("Size of the sectors (2KiB, 8MiB, 512MiB, 32GiB, 64GiB): ");
    let mut line = String::new();
    let read = io::stderr()
        .flush()
        .and_then(|()| stdin.lock().read_line(&mut line));
    read.map_err(|e| unsaid(e.to_string()))?;
    line.trim().parse().map_err(unsaid)
}
