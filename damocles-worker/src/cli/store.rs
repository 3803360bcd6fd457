//! `store …`: preparing directories.

use crate::stores::{SealingStore, StoreError};
use clap::Subcommand;
use damocles_daemon::exit::{Exit, Fatal};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make directories sealing stores, parents included
    #[command(
        after_help = "Example:\n  damocles-worker store sealing-init -l /mnt/nvme0/s1 /mnt/nvme0/s2"
    )]
    SealingInit(Locations),
    /// Make directories for finished sectors
    FileInit(Locations),
}

#[derive(Debug, clap::Args)]
struct Locations {
    /// Directories
    #[arg(short, long = "loc", required = true, num_args = 1.., value_name = "DIR")]
    loc: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let make = |path: &Path| match &args.command {
        Command::SealingInit(_) => sealing(path),
        Command::FileInit(_) => plain(path),
    };
    let (Command::SealingInit(locations) | Command::FileInit(locations)) = &args.command;
    // each is tried; the first failure decides the exit code
    let mut failed: Option<Fatal> = None;
    for path in &locations.loc {
        match make(path) {
            Ok(()) => super::say(format_args!("{}: ready", path.display()))?,
            Err(fatal) if failed.is_none() => failed = Some(fatal),
            Err(fatal) => eprintln!("error: {fatal}"),
        }
    }
    failed.map_or(Ok(()), |fatal| Err(fatal.into()))
}

fn sealing(path: &Path) -> Result<(), Fatal> {
    match SealingStore::init(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let exit = match &error {
                StoreError::Foreign { .. } => Exit::Data,
                _ => Exit::Refused,
            };
            let hint = error.hint();
            Err(Fatal::new(exit, error).hint(hint))
        }
    }
}

fn plain(path: &Path) -> Result<(), Fatal> {
    std::fs::create_dir_all(path).map_err(|e| {
        Fatal::new(
            Exit::Refused,
            format!("{} cannot be made: {e}", path.display()),
        )
        .hint("let this user write to its parent")
    })
}
