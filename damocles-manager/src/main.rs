//! Entry point of damocles-manager: parse, run, exit code.

use clap::{CommandFactory, Parser};
use damocles_daemon::{build, exit, log, runtime};
use damocles_manager::{
    cli::{self, Cli, Command, DaemonCommand},
    daemon,
};
use std::process::ExitCode;

/// The daemon mostly waits: for the chain, for workers, for its disk.
const DAEMON_THREADS: usize = 4;
/// The proofs library tells every step of a verification.
const DAEMON_LOG: &str = "info,filecoin_proofs=warn,storage_proofs_core=warn,storage_proofs_porep=warn,storage_proofs_post=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::run_main(|| run(cli))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Version => {
            println!("{}", build::version());
            Ok(())
        }
        Command::Completions(args) => args.run(Cli::command()),
        Command::Man(args) => args.run(Cli::command()),
        Command::Processor { stage, kernel } => daemon::processor(&stage, kernel),
        Command::Daemon(DaemonCommand::Init) => cli::init(&cli::home(cli.home.as_deref())?),
        Command::Daemon(DaemonCommand::Run(args)) => {
            runtime::frugal_memory();
            log::init(&cli.log, DAEMON_LOG)?;
            let home = cli::home(cli.home.as_deref())?;
            runtime::build(DAEMON_THREADS)?.block_on(daemon::run(home, args))
        }
        Command::Config(args) => {
            log::init(&cli.log, "warn")?;
            let home = cli::home(cli.home.as_deref())?;
            runtime::build(1)?.block_on(cli::config(home, args))
        }
        Command::Db(args) => {
            log::init(&cli.log, "warn")?;
            let home = cli::home(cli.home.as_deref())?;
            runtime::build(1)?.block_on(cli::db(home, args))
        }
        Command::Util(util) => {
            log::init(&cli.log, "warn")?;
            let home = cli::home(cli.home.as_deref())?;
            runtime::build(1)?.block_on(cli::util(home, util))
        }
    }
}
