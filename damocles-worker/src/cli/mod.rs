//! The command line. Commands about a running worker go through its RPC; the others need no
//! worker.

mod bench;
mod config;
mod generator;
mod hwinfo;
mod kernels;
mod params;
mod plan;
mod processor;
mod say;
mod sealcalc;
mod store;
mod top;
mod drain;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};
use damocles_daemon::{build, exit, log, pages, shell};
use say::say;
use std::{path::PathBuf, process::ExitCode};

/// Seals sectors on this machine; the manager (damocles-manager) gives the work.
#[derive(Debug, Parser)]
#[command(name = "damocles-worker", version = build::VERSION, after_help = format!("{EXAMPLES}{}", exit::Exit::table()), max_term_width = 100)]
struct Args {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  damocles-worker params generate --sector-size 2KiB    make what proofs of a test network need
  damocles-worker daemon -c worker.toml --config-check  look for faults in a config file
  damocles-worker plan check -c worker.toml             does this machine have what it plans for?
  damocles-worker daemon -c worker.toml                 seal
  damocles-worker worker list                           what the threads do, and what they wait for
  damocles-worker worker pause -i 0                     let thread 0 rest after its present step

";

#[derive(Debug, Subcommand)]
enum Command {
    /// Seal sectors until told to stop
    Daemon(DaemonArgs),
    /// Look at the configuration, or make one for this machine
    Config(config::Args),
    /// Hold a configuration against this machine, or a described one
    Plan(plan::Args),
    /// What this machine has: CPUs, caches, NUMA nodes, memory, disks, GPUs
    Hwinfo(hwinfo::Args),
    /// Prepare directories
    Store(store::Args),
    /// Look at a running worker and command its threads
    Worker(worker::Args),
    /// Proof parameters: make, fetch, check
    Params(params::Args),
    /// How many sectors a machine seals, from stage times and how many run at once
    Sealcalc(sealcalc::Args),
    /// Make files that several sectors share
    Generator(generator::Args),
    /// What computes each stage on this machine's CPU, and why
    Kernels(kernels::Args),
    /// Measure our kernels against the proofs library, byte for byte
    Bench(bench::Args),
    /// Compute one stage for a daemon, over stdin and stdout (started by the daemon itself)
    Processor(processor::Args),
    /// Print what a shell reads to complete the command line
    #[command(after_help = "\
Example:
  damocles-worker completions bash > /etc/bash_completion.d/damocles-worker")]
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of all commands
    #[command(after_help = "\
Example:
  damocles-worker man /usr/local/share/man/man1 && man damocles-worker-plan-check")]
    Man(shell::ManArgs),
    /// Show the version
    Version,
}

#[derive(Debug, clap::Args)]
struct DaemonArgs {
    /// Configuration file
    #[arg(short, long, env = "DAMOCLES_WORKER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, say what is wrong, and start nothing
    #[arg(long)]
    config_check: bool,
}

/// The reference page `docs/cli-worker.md`: what `--help` says, for every command.
pub fn reference_page() -> String {
    pages::commands(
        Args::command(),
        "UPDATE_DOCS=1 cargo test -p damocles-worker --test pages",
    )
}

/// Parses, runs, and says how it went.
pub fn main() -> ExitCode {
    let args = Args::parse();
    exit::run_main(|| run(args))
}

fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Daemon(daemon) => {
            log::init(&args.log, "info")?;
            crate::daemon::run(&daemon.config, daemon.config_check)
        }
        Command::Processor(processor) => {
            log::init(&args.log, "info")?;
            processor::run(&processor)
        }
        Command::Config(args) => config::run(&args),
        Command::Plan(plan) => plan::run(&plan),
        Command::Hwinfo(hwinfo) => hwinfo::run(&hwinfo),
        Command::Store(store) => store::run(&store),
        Command::Worker(worker) => worker::run(&worker),
        Command::Params(params) => {
            log::init(&args.log, "warn")?;
            params::run(&params)
        }
        Command::Generator(generator) => {
            log::init(&args.log, "warn")?;
            generator::run(&generator)
        }
        Command::Sealcalc(args) => sealcalc::run(&args),
        Command::Kernels(kernels) => kernels::run(&kernels),
        Command::Bench(bench) => {
            log::init(&args.log, "warn")?;
            bench::run(&bench)
        }
        Command::Completions(args) => args.run(Args::command()),
        Command::Man(args) => args.run(Args::command()),
        Command::Version => say(format_args!("damocles-worker {}", build::version())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
