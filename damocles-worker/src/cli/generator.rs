//! `generator tree-d`: the tree-d of a sector without data, which all such sectors share.

use crate::stores::sealing::TREE_D;
use anyhow::Context;
use clap::Subcommand;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{Cancel, Pool, Processors, Stage, StartOptions, disk, task::TreeD};
use damocles_types::{SealProof, SectorSize};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write DIR/sc-02-data-tree-d.dat of an all-zero sector
    #[command(after_help = "\
Example:
  damocles-worker generator tree-d -s 32GiB -p /mnt/nvme0
  then in the config: [processors.static_tree_d] 32GiB = \"/mnt/nvme0/sc-02-data-tree-d.dat\"")]
    TreeD {
        /// 2KiB, 8MiB, 512MiB, 32GiB or 64GiB
        #[arg(short, long, value_name = "SIZE")]
        sector_size: SectorSize,
        /// Directory for the file
        #[arg(short, long, value_name = "DIR")]
        path: PathBuf,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let Command::TreeD { sector_size, path } = &args.command;
    let dir = path.canonicalize().map_err(|e| {
        Fatal::new(
            Exit::NotFound,
            format!("{} cannot be used: {e}", path.display()),
        )
        .hint("make the directory first")
    })?;
    // in a directory of its own, beside: the tree appears whole or not at all
    let work = dir.join(format!(".tree-d-{}", std::process::id()));
    let made = make(*sector_size, &work, &dir);
    // best effort: what is left would only be in the way of people
    let _ = std::fs::remove_dir_all(&work);
    super::say(made?.display())
}

fn make(size: SectorSize, work: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
    // sparse: zeros that need no space
    let zeros = work.join("zeros");
    std::fs::create_dir(work)
        .and_then(|()| std::fs::File::create(&zeros))
        .and_then(|file| file.set_len(size.bytes()))
        .with_context(|| format!("{} cannot be written", dir.display()))?;
    let pool = Pool::start(
        &[Stage::TreeD],
        &Processors::default(),
        &StartOptions::own_executable()?,
    )?;
    let task = TreeD {
        registered_proof: SealProof::interactive(size),
        staged_file: zeros,
        cache_dir: work.to_owned(),
    };
    pool.run(&task, &Cancel::new(), &mut |_| ())?;
    let tree = dir.join(TREE_D);
    // the stage has synced the file itself
    disk::put(&work.join(TREE_D), &tree)?;
    Ok(tree)
}
