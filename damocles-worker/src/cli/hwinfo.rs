//! `hwinfo`: what this machine has that sealing takes.

use super::say;
use crate::hardware::{self, Hardware};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker hwinfo
  damocles-worker hwinfo --toml > machine.toml       for `plan check --machine` on another host")]
pub(super) struct Args {
    /// As TOML, the form that `plan check --machine` reads
    #[arg(long)]
    toml: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let machine = Hardware::here(None, "are /sys and /proc mounted?")?;
    match args.toml {
        true => say(machine.to_toml().trim_end()),
        false => say(hardware::text(&machine)),
    }
}
