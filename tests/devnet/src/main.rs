//! damocles-devnet: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use damocles_daemon::exit::run_main;
use damocles_devnet::{cli::Cli, daemon};

fn main() -> ExitCode {
    let cli = Cli::parse();
    run_main(|| daemon::execute(cli))
}
