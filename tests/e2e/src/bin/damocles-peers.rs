//! The house beside foreign programs, as `make test-lotus` and `make test-upstream` run it.

use clap::Parser;
use damocles_e2e::peers::{lotus, upstream};
use std::{path::PathBuf, process::ExitCode};

/// Plays scenarios with real Lotus nodes and with upstream's daemons; their programs are yours to
/// bring.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Seal and prove on a private network of real Lotus nodes, and disturb it
    Lotus {
        /// Folder with `lotus`, `lotus-miner` and `lotus-seed` of a 2k build
        #[arg(long, env = "LOTUS", default_value = "")]
        programs: String,
        /// Folder for the network, logs and report.json
        #[arg(long, default_value = "target/lotus")]
        out: PathBuf,
    },
    /// Our daemons with upstream's, each in the place of the other
    Upstream {
        /// Folder with `damocles-manager` and `damocles-worker` 0.13.1; either may be missing
        #[arg(long, env = "UPSTREAM", default_value = "")]
        programs: String,
        /// Folder for homes, logs and report.json
        #[arg(long, default_value = "target/upstream")]
        out: PathBuf,
    },
}

/// Nothing was tried: the exit code that test harnesses have for a test that was left out.
const LEFT_OUT: u8 = 77;

// one thread, and it lasts: daemons die with the thread that started them
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ran = match Cli::parse().command {
        Command::Lotus { programs, out } => match lotus::Programs::find(&programs) {
            Ok(programs) => lotus::run(&programs, &out).await,
            Err(missing) => return left_out("LOTUS", &missing),
        },
        Command::Upstream { programs, out } => match upstream::Programs::find(&programs) {
            Ok(programs) => upstream::run(&programs, &out).await,
            Err(missing) => return left_out("UPSTREAM", &missing),
        },
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn left_out(name: &str, missing: &str) -> ExitCode {
    eprintln!(
        "nothing was tried: {missing}. hint: make test-{} {name}=DIR",
        name.to_lowercase()
    );
    ExitCode::from(LEFT_OUT)
}
