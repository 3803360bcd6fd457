//! `processor <stage>`: the child's side of the line protocol.

use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{Stage, stage, transfer::DISABLE_LINK_ENV};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon starts these by itself; by hand it is good for trying a stage:
  echo '{\"id\":1,\"task\":{…}}' | damocles-worker processor pc1
First comes the line \"pc1 processor ready\", then one line of JSON per task. Logs go to stderr.")]
pub(super) struct Args {
    /// add_pieces, tree_d, pc1, pc2, synth_proof, c1, c2, snap_encode, snap_prove, unseal, transfer, window_post, winning_post
    stage: Stage,
    /// transfer: copy even where a link would do
    #[arg(long, alias = "disable_link")]
    disable_link: bool,
    /// pc1: upstream's memory files; not used by this version
    #[arg(
        long,
        alias = "hugepage_files_path",
        env = "HUGEPAGE_FILES_PATH",
        value_name = "DIR",
        hide = true
    )]
    hugepage_files_path: Option<PathBuf>,
    /// pc1: the same as a pattern
    #[arg(
        long,
        alias = "hugepage_files_path_pattern",
        env = "HUGEPAGE_FILES_PATH_PATTERN",
        value_name = "PATTERN",
        hide = true
    )]
    hugepage_files_path_pattern: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if args.disable_link && std::env::var_os(DISABLE_LINK_ENV).is_none() {
        return Err(Fatal::new(
            Exit::Usage,
            "--disable-link works through the environment in this version",
        )
        .hint(format!(
            "set envs = {{ {DISABLE_LINK_ENV} = \"1\" }} in [[processors.transfer]] instead"
        ))
        .into());
    }
    if args.hugepage_files_path.is_some() || args.hugepage_files_path_pattern.is_some() {
        tracing::warn!("memory files on huge pages are not used by this version");
    }
    stage::run_processor(args.stage)
}
