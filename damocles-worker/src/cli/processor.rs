//! `processor <stage>`: the child's side of the line protocol.

use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{KernelChoice, Stage, memory_files::MemoryFiles, stage};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon starts these by itself; by hand it is good for trying a stage:
  echo '{\"id\":1,\"task\":{…}}' | damocles-worker processor pc1
First comes the line \"pc1 processor ready\", then one line of JSON per task. Logs go to stderr.")]
pub(super) struct Args {
    /// add_pieces, tree_d, pc1, pc2, synth_proof, c1, c2, snap_encode, snap_prove, unseal, transfer, window_post, winning_post
    stage: Stage,
    /// What computes: auto (our own kernels, where the stage has one) or filecoin-proofs
    #[arg(long, default_value_t, value_name = "CHOICE")]
    kernel: KernelChoice,
    /// transfer: copy even where a link would do
    #[arg(long, alias = "disable_link")]
    disable_link: bool,
    /// pc1: use the files in DIR/numa_N as memory (see store hugepage-file-init)
    #[arg(
        long,
        alias = "hugepage_files_path",
        env = "HUGEPAGE_FILES_PATH",
        value_name = "DIR"
    )]
    hugepage_files_path: Option<PathBuf>,
    /// pc1: the same by a pattern with $NUMA_NODE_INDEX in it; goes before the directory
    #[arg(
        long,
        alias = "hugepage_files_path_pattern",
        env = "HUGEPAGE_FILES_PATH_PATTERN",
        value_name = "PATTERN"
    )]
    hugepage_files_path_pattern: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let settings = stage::Settings {
        kernel: args.kernel,
        memory_files: memory_files(args)?,
        no_links: args.disable_link,
        ..stage::Settings::default()
    };
    stage::run_processor(args.stage, settings)
}

fn memory_files(args: &Args) -> Result<Option<MemoryFiles>, Fatal> {
    // an environment variable that is set to nothing means nothing
    let pattern = args.hugepage_files_path_pattern.as_deref();
    if let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) {
        return MemoryFiles::by_pattern(pattern)
            .map(Some)
            .map_err(|error| {
                Fatal::new(Exit::Usage, error).hint(
                    "write for example --hugepage-files-path-pattern '/mnt/huge/numa_$NUMA_NODE_INDEX/*'",
                )
            });
    }
    let dir = args.hugepage_files_path.as_deref();
    Ok(dir
        .filter(|dir| !dir.as_os_str().is_empty())
        .map(MemoryFiles::in_directory))
}
