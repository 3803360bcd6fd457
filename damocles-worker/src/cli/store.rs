//! `store …`: preparing directories.

use crate::stores::{AttachedStore, Mark, SealingStore, StoreError};
use clap::Subcommand;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{disk, memory_files::MemoryFiles};
use damocles_types::ByteSize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::enum_variant_names,
    reason = "the commands' names are upstream's"
)]
enum Command {
    /// Make directories sealing stores, parents included
    #[command(
        after_help = "Example:\n  damocles-worker store sealing-init -l /mnt/nvme0/s1 /mnt/nvme0/s2"
    )]
    SealingInit(Locations),
    /// Make directories for finished sectors, and mark them
    #[command(after_help = "\
Example:
  damocles-worker store file-init -l /mnt/hdd1 --name hdd-1

The mark is a small file with an id. A worker that has seen a store with its mark moves nothing
into the directory while the mark is not there, since then its disk is not mounted. A directory
that holds sectors already can be marked as well.")]
    FileInit(Files),
    /// Make files on huge pages that PC1 uses as memory, for one NUMA node
    #[command(after_help = "\
Examples:
  mount -t hugetlbfs -o pagesize=1G none /mnt/huge
  damocles-worker store hugepage-file-init --node 0 --size 32GiB --num 4 --path /mnt/huge
  then in the config: [[processors.pc1]] envs = { HUGEPAGE_FILES_PATH = \"/mnt/huge\" }

PC1 takes two files for each sector that it labels, each of exactly the sector's size; where it
labels sixteen in step, two for all of them, of sixteen times that size.")]
    HugepageFileInit(Hugepages),
}

#[derive(Debug, clap::Args)]
struct Hugepages {
    /// NUMA node whose memory it is
    #[arg(short, long, alias = "numa_node_index", value_name = "N")]
    node: u32,
    /// Size of each file: that of the sectors, or sixteen times that
    #[arg(short, long, value_name = "SIZE")]
    size: ByteSize,
    /// How many files
    #[arg(short = 'c', long, alias = "number_of_files", value_name = "N")]
    num: usize,
    /// Directory; the files go to DIR/numa_N
    #[arg(long, required_unless_present = "path_pattern", value_name = "DIR")]
    path: Option<PathBuf>,
    /// Directory of the files, with $NUMA_NODE_INDEX for the node; goes before --path
    #[arg(long, alias = "path_pattern", value_name = "PATTERN")]
    path_pattern: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Locations {
    /// Directories
    #[arg(short, long = "loc", required = true, num_args = 1.., value_name = "DIR")]
    loc: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Files {
    #[command(flatten)]
    locations: Locations,
    /// What the store is called, for whoever reads the mark
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Make it another store than the one that the workers have seen here
    #[arg(long)]
    anew: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::SealingInit(locations) => prepare(locations, sealing),
        Command::FileInit(files) => prepare(&files.locations, |path| mark(path, files)),
        Command::HugepageFileInit(hugepages) => huge(hugepages),
    }
}

fn prepare(locations: &Locations, make: impl Fn(&Path) -> Result<(), Fatal>) -> anyhow::Result<()> {
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

fn huge(args: &Hugepages) -> anyhow::Result<()> {
    let files = match (&args.path_pattern, &args.path) {
        (Some(pattern), _) => MemoryFiles::by_pattern(pattern).map_err(|e| {
            Fatal::new(Exit::Usage, e)
                .hint("write for example --path-pattern '/mnt/huge/numa_$NUMA_NODE_INDEX'")
        })?,
        (None, Some(dir)) => MemoryFiles::in_directory(dir),
        (None, None) => {
            return Err(Fatal::new(Exit::Usage, "neither --path nor --path-pattern").into());
        }
    };
    let made = files.make(args.node, args.size, args.num).map_err(|e| {
        Fatal::new(Exit::Refused, format!("the memory files cannot be made: {e}"))
            .hint("are there enough free huge pages on that node (/sys/devices/system/node/node*/hugepages), and may this user write there?")
    })?;
    if !files.on_huge_pages(args.node) {
        eprintln!(
            "warning: that is not on a hugetlbfs; files elsewhere are no faster than ordinary memory"
        );
    }
    for path in made {
        super::say(path.display())?;
    }
    Ok(())
}

fn sealing(path: &Path) -> Result<(), Fatal> {
    match SealingStore::init(path) {
        Ok(_) => {
            warn_of_root(path);
            Ok(())
        }
        Err(error) => Err(fatal(error)),
    }
}

fn mark(path: &Path, files: &Files) -> Result<(), Fatal> {
    disk::make_dirs(path).map_err(|e| {
        Fatal::new(
            Exit::Refused,
            format!("{} cannot be made: {e}", path.display()),
        )
        .hint("let this user write to its parent")
    })?;
    if path.join(".holder").exists() {
        return Err(Fatal::new(
            Exit::Data,
            format!(
                "{} is the sealing store of a thread, which is cleared after every sector",
                path.display()
            ),
        )
        .hint("choose another directory for finished sectors"));
    }
    Mark::put(path, files.name.as_deref(), files.anew).map_err(fatal)?;
    warn_of_root(path);
    Ok(())
}

fn fatal(error: StoreError) -> Fatal {
    let exit = match &error {
        StoreError::Foreign { .. } | StoreError::Description { .. } => Exit::Data,
        _ => Exit::Refused,
    };
    let hint = error.hint();
    Fatal::new(exit, error).hint(hint)
}

/// Wanted on a small machine; on a large one a disk is not mounted.
fn warn_of_root(path: &Path) {
    if AttachedStore::open(None, path, false).on_root_device() {
        eprintln!(
            "warning: {} lies on the root file system; is its disk mounted?",
            path.display()
        );
    }
}
