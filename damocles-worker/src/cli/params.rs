//! `params …`: the Groth parameters that proofs need, in the directory in which the proofs
//! library looks (FIL_PROOFS_PARAMETER_CACHE).

use super::say;
use clap::{Subcommand, ValueEnum};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{
    KernelChoice,
    params::{self, DEFAULT_GATEWAY, ParamsError, show::Terminal},
};
use damocles_types::{ByteSize, SectorSize};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker params generate --sector-size 2KiB         half a minute on 2 cores, once
  damocles-worker params generate --sector-size 2KiB --snap  for snap upgrades too
  damocles-worker params generate --sector-size 2KiB --aggregate  for aggregated proofs too
  damocles-worker params fetch --sector-size 32GiB           about 100 GiB; may be interrupted
  damocles-worker params check --sector-size 2KiB
  damocles-worker params convert --sector-size 2KiB          what the first proof would do otherwise")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make missing parameters of a test network
    Generate {
        #[command(flatten)]
        which: Which,
        /// What makes them: our own arithmetic, or the proofs library's generator (minutes)
        #[arg(long, default_value = "auto", value_name = "CHOICE")]
        kernel: Maker,
        /// The reference string of aggregates too, which serves sectors of every test size
        #[arg(long)]
        aggregate: bool,
    },
    /// Download the official parameters, and the reference string of aggregates
    Fetch {
        #[command(flatten)]
        which: Which,
        /// URL to which a CID is appended
        #[arg(long, default_value = DEFAULT_GATEWAY, value_name = "URL")]
        gateway: String,
    },
    /// Compare the files with their digests
    Check {
        #[command(flatten)]
        which: Which,
        /// The reference string of aggregates too; always, where one is fetched
        #[arg(long)]
        aggregate: bool,
    },
    /// Decode parameters for our prover, into files beside them
    Convert {
        /// 2KiB, 8MiB or 512MiB; several may be given
        #[arg(short, long, required = true, num_args = 1.., value_name = "SIZE")]
        sector_size: Vec<SectorSize>,
        /// That of snap upgrades too
        #[arg(long)]
        snap: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Maker {
    Auto,
    Bellperson,
}

impl From<Maker> for KernelChoice {
    fn from(maker: Maker) -> Self {
        match maker {
            Maker::Auto => Self::Auto,
            Maker::Bellperson => Self::FilecoinProofs,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Which {
    /// 2KiB, 8MiB, 512MiB, 32GiB or 64GiB; several may be given
    #[arg(short, long, required = true, num_args = 1.., value_name = "SIZE")]
    sector_size: Vec<SectorSize>,
    /// The parameters of snap upgrades too
    #[arg(long)]
    snap: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let watcher = Terminal::default();
    match &args.command {
        Command::Generate {
            which,
            kernel,
            aggregate,
        } => {
            let (sizes, kernel) = (&which.sector_size, (*kernel).into());
            let program = std::env::current_exe()?;
            let made =
                params::generate(sizes, which.snap, kernel, &program, &watcher).map_err(fatal)?;
            let string = *aggregate && params::generate_srs(&program, &watcher).map_err(fatal)?;
            let where_ = params::directory();
            match made.len() + usize::from(string) {
                0 => say(format_args!("nothing was missing in {}", where_.display()))?,
                n => say(format_args!(
                    "{n} sets of parameters made in {}",
                    where_.display()
                ))?,
            }
        }
        Command::Fetch { which, gateway } => {
            let got =
                params::fetch(&which.sector_size, which.snap, gateway, &watcher).map_err(fatal)?;
            let where_ = params::directory();
            match got.len() {
                0 => say(format_args!("nothing was missing in {}", where_.display()))?,
                n => say(format_args!("{n} files fetched into {}", where_.display()))?,
            }
        }
        Command::Check { which, aggregate } => check(which, *aggregate, &watcher)?,
        Command::Convert { sector_size, snap } => {
            for file in params::convert_all(sector_size, *snap, &watcher).map_err(fatal)? {
                say(format_args!("{}  {}", ByteSize(file.bytes), file.name))?;
            }
        }
    }
    Ok(())
}

fn check(which: &Which, aggregate: bool, watcher: &Terminal) -> anyhow::Result<()> {
    let mut files = params::check(&which.sector_size, which.snap, watcher).map_err(fatal)?;
    let made_here = which
        .sector_size
        .iter()
        .all(|size| params::is_made_here(*size));
    if aggregate || !made_here {
        files.push(params::check_srs(watcher).map_err(fatal)?);
    }
    let mut bad = Vec::new();
    for file in &files {
        say(format_args!("{}  {}", file.state, file.name))?;
        if !file.state.is_good() {
            bad.push(file.name.as_str());
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let verb = if made_here { "generate" } else { "fetch" };
    let sizes: Vec<_> = which.sector_size.iter().map(ToString::to_string).collect();
    Err(Fatal::new(
        Exit::Parameters,
        format!(
            "{} of {} parameter files in {} are missing or wrong",
            bad.len(),
            files.len(),
            params::directory().display()
        ),
    )
    .hint(format!(
        "remove the wrong ones, then run: damocles-worker params {verb} --sector-size {}{}",
        sizes.join(" "),
        if aggregate && made_here {
            " --aggregate"
        } else {
            ""
        }
    ))
    .into())
}

fn fatal(error: ParamsError) -> Fatal {
    let exit = match &error {
        ParamsError::Missing(_) | ParamsError::ReferenceString { .. } => Exit::Parameters,
        ParamsError::NotMadeHere(_) | ParamsError::NotConverted(_) => Exit::Refused,
        ParamsError::Fetch { .. } => Exit::Unreachable,
        ParamsError::Digest { .. } => Exit::Data,
        ParamsError::Disk(_)
        | ParamsError::Library(_)
        | ParamsError::Make { .. }
        | ParamsError::Convert { .. } => Exit::Unexpected,
    };
    let hint = error.hint();
    let fatal = Fatal::new(exit, &error);
    match hint {
        Some(hint) => fatal.hint(hint),
        None => fatal,
    }
}
